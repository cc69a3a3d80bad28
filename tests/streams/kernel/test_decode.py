"""The kernel's decoding and validation against the Python contract: shared cases, then mutated and random events."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock import (
    ENTITY,
    EVENT_ID,
    EVENT_TIME,
    PII_HASH,
    Contract,
    Entity,
    Model,
    Pipeline,
    Source,
    View,
    count,
)
from schemas.avro import contract_schema
from schemas.codec import MARKER, Decoder, Encoder, Rejection, decode_event, event_row
from schemas.contract import contract_fields, pii_hash
from streams.inprocess.kernel import Kernel
from streams.plan.compiler import compile_plan
from streams.plan.model import PipelinePlan
from tests.schemas.samples import NOW_MS, SAMPLE_EVENT, Basket, Foreign, Sample

SHARED = json.loads((Path(__file__).parents[2] / "schemas" / "decode_cases.json").read_text(encoding="utf-8"))
KEY = b"a key of the tests"
CARD = Entity(name="card", key="card")
VIEW = View(name="v", version=1, entity=CARD, aggregates=(count(over="1h"),))
PIPELINE = Pipeline(
    name="p",
    source=Source(topic="events", contract=Sample, key="card", max_bytes=SHARED["max_bytes"]),
    entities=(CARD,),
    views=(VIEW,),
    model=Model(name="m", inputs=VIEW.inputs(), threshold=0.5, positive="p", negative="n"),
)
PLAN = compile_plan(PIPELINE)
FOREIGN, LISTS = SHARED["foreign"], SHARED["lists"]
FOREIGN_PLAN, LISTS_PLAN = (
    compile_plan(PIPELINE.model_copy(update={"source": PIPELINE.source.model_copy(update={"contract": contract})}))
    for contract in (Foreign, Basket)
)
ENCODER = Encoder(contract_schema(Sample))


class Click(Contract, name="click", version=1):
    """Another event of the same card."""

    click: Annotated[str, EVENT_ID]
    clicked: Annotated[int, EVENT_TIME]
    card: Annotated[str, ENTITY, PII_HASH]
    position: int


def by_kernel(
    kernel: Kernel,
    value: bytes | None,
    writers: list[Any],
    headers: Sequence[str] = (),
    clock_ms: int | None = None,
    plan: PipelinePlan = PLAN,
) -> dict[str, Any]:
    encoded = None if value is None else base64.b64encode(value).decode()
    record = {"value": encoded, "timestamp": NOW_MS, "headers": list(headers)}
    texts = [json.dumps(writer) for writer in writers]
    (answer,) = kernel.decode(
        plan.model_dump(mode="json"), texts, base64.b64encode(KEY).decode(), [record], clock=clock_ms
    )
    return answer


def by_oracle(
    value: bytes | None, writers: list[Any], clock_ms: int | None = None, contract: type[Contract] = Sample
) -> dict[str, Any]:
    decoded = decode_event(
        value,
        contract,
        Decoder(*writers),
        kafka_timestamp_ms=NOW_MS,
        max_future_ms=PLAN.source.max_future_ms,
        max_bytes=PLAN.source.max_bytes,
        clock_ms=clock_ms,
    )
    if isinstance(decoded, Rejection):
        return {"reason": decoded.reason}
    return {"columns": event_row(decoded, contract, KEY)}


def agree(kernel: Kernel, value: bytes | None, writers: list[Any], clock_ms: int | None = None) -> None:
    got, expected = by_kernel(kernel, value, writers, clock_ms=clock_ms), by_oracle(value, writers, clock_ms)
    got.pop("message", None)
    if value is not None and value.startswith(MARKER):
        # For a boolean byte that is neither 0 nor 1, fastavro reads true and Avro's Java library false.
        for side in (got, expected):
            side.get("columns", {}).pop("flag", None)
    assert got == expected, repr(value)


@pytest.mark.parametrize("case", SHARED["cases"], ids=lambda case: case["name"])
def test_the_kernel_decides_the_shared_cases_as_the_contract_does(kernel: Kernel, case: dict[str, Any]) -> None:
    value = bytes.fromhex(case["hex"]) if "hex" in case else case["text"].encode() if "text" in case else None
    agree(kernel, value, SHARED["writer_schemas"], case.get("clock_ms"))
    answer = by_kernel(kernel, value, SHARED["writer_schemas"], case.get("headers", ()), case.get("clock_ms"))
    assert case.get("says", "") in answer.get("message", "")


@pytest.mark.parametrize(
    ("section", "case"),
    [pytest.param(name, case, id=case["name"]) for name in ("foreign", "lists") for case in SHARED[name]["cases"]],
)
def test_the_kernel_reads_what_others_write_as_the_contract_does(
    answers: dict[tuple[str, str], dict[str, Any]], section: str, case: dict[str, Any]
) -> None:
    value = bytes.fromhex(case["hex"]) if "hex" in case else case["text"].encode()
    answer = dict(answers[section, case["name"]])
    message = answer.pop("message", "")
    contract = Foreign if section == "foreign" else Basket
    assert answer == by_oracle(value, SHARED[section]["writer_schemas"], contract=contract)
    assert message.startswith(f"{case['field']}: " if case.get("field") else "")
    assert case.get("says", "") in message


@pytest.fixture(scope="module")
def answers(kernel: Kernel) -> dict[tuple[str, str], dict[str, Any]]:
    """The kernel's answer to each case, by section and name."""
    found = {}
    for name, plan in (("foreign", FOREIGN_PLAN), ("lists", LISTS_PLAN)):
        cases = SHARED[name]["cases"]
        values = [bytes.fromhex(case["hex"]) if "hex" in case else case["text"].encode() for case in cases]
        records = [{"value": base64.b64encode(value).decode(), "timestamp": NOW_MS} for value in values]
        writers = [json.dumps(writer) for writer in SHARED[name]["writer_schemas"]]
        answers = kernel.decode(plan.model_dump(mode="json"), writers, base64.b64encode(KEY).decode(), records)
        found |= {(name, case["name"]): answer for case, answer in zip(cases, answers, strict=True)}
    return found


def nested_agree(kernel: Kernel, value: bytes, *, lists: bool = False) -> None:
    writers = (LISTS if lists else FOREIGN)["writer_schemas"]
    answer = by_kernel(kernel, value, writers, plan=LISTS_PLAN if lists else FOREIGN_PLAN)
    answer.pop("message", None)
    expected = by_oracle(value, writers, contract=Basket if lists else Foreign)
    if lists and value.startswith(MARKER):
        for side in (answer, expected):  # as in `agree`
            side.get("columns", {}).pop("gifts", None)
    assert answer == expected, repr(value)


def test_a_refusal_names_the_field_and_never_its_value(kernel: Kernel) -> None:
    answer = by_kernel(kernel, json.dumps(SAMPLE_EVENT | {"amount": 98765.4}).encode(), [])
    assert "amount" in answer["message"]
    assert "98765" not in answer["message"]


def test_an_event_of_another_source_is_checked_by_its_own_contract_and_null_in_columns_of_others(
    kernel: Kernel,
) -> None:
    also = Source(topic="clicks", contract=Click, key="card", triggers=False)
    plan = compile_plan(PIPELINE.model_copy(update={"additional_sources": (also,)})).model_dump(mode="json")
    click = {"click": "c1", "clicked": NOW_MS, "card": "4111", "position": 3}
    values = [
        json.dumps(click).encode(),
        Encoder(contract_schema(Click)).encode(click),
        json.dumps(SAMPLE_EVENT).encode(),
        ENCODER.encode(SAMPLE_EVENT),
    ]
    records = [{"value": base64.b64encode(value).decode(), "timestamp": NOW_MS} for value in values]
    writers = [json.dumps(contract_schema(Click))]
    answers = kernel.decode(plan, writers, base64.b64encode(KEY).decode(), records, source=1)
    assert [answer.get("reason") for answer in answers] == [
        None,
        None,
        "penstock.InvalidField",
        "penstock.UnknownSchema",
    ]
    row = answers[0]["columns"]
    assert row == answers[1]["columns"]
    assert {name: value for name, value in row.items() if value is not None} == click | {
        "card": pii_hash(KEY, "4111"),
        "event__type": "click",
    }
    assert set(row) == {*SAMPLE_EVENT, *click, "event__type"} | set(by_kernel(kernel, values[2], [])["columns"])


@pytest.mark.parametrize(
    ("event_id", "is_refused"), [("click:1", True), ("click:", True), ("click", False), ("clicks:1", False)]
)
def test_an_id_that_could_be_one_of_another_contract_is_refused(
    kernel: Kernel, event_id: str, is_refused: bool
) -> None:
    """Events of the other one are named so: ``click:1`` may be the click 1."""
    also = Source(topic="clicks", contract=Click, key="card")
    plan = compile_plan(PIPELINE.model_copy(update={"additional_sources": (also,)}))
    # Also too far ahead: both say the same of it.
    late = {"event_id": event_id} | ({"event_time": NOW_MS + 10**7} if is_refused else {})
    value = json.dumps(SAMPLE_EVENT | late).encode()
    answer = by_kernel(kernel, value, [], plan=plan)
    decoded = decode_event(
        value,
        Sample,
        Decoder(),
        kafka_timestamp_ms=NOW_MS,
        max_future_ms=0,
        max_bytes=1 << 20,
        reserved_ids=plan.reserved_ids(0),
    )
    assert isinstance(decoded, Rejection) == is_refused
    if isinstance(decoded, Rejection):
        assert (answer["reason"], answer["message"]) == (decoded.reason, decoded.message)
        assert decoded.message == "event_id: begins with click:, as the ids of another source do"
    assert answer.get("reason") == ("penstock.InvalidField" if is_refused else None)


class Pair(Contract, name="pair", version=1):
    """An event with two numbers."""

    time: Annotated[int, EVENT_TIME]
    card: Annotated[str, ENTITY]
    one: float
    other: float


def test_a_number_after_an_integer_of_more_than_64_bits_keeps_its_value(kernel: Kernel) -> None:
    event = {"time": NOW_MS, "card": "a", "one": 2**70, "other": 39.129}
    source = PIPELINE.source.model_copy(update={"contract": Pair})
    plan = compile_plan(PIPELINE.model_copy(update={"source": source}))
    assert by_kernel(kernel, json.dumps(event).encode(), [], plan=plan) == {"columns": event | {"one": 2.0**70}}


@pytest.mark.parametrize(("key", "published"), [("card", pii_hash(KEY, "4111")), ("channel", "web")])
def test_no_raw_key_is_published_if_the_contract_has_personal_data(kernel: Kernel, key: str, published: str) -> None:
    """The raw key is a card number, whatever the source says that it is keyed by."""
    source = PIPELINE.source.model_copy(update={"key": key})
    plan = compile_plan(PIPELINE.model_copy(update={"source": source})).model_dump(mode="json")
    value = json.dumps({**SAMPLE_EVENT, "card": "4111", "channel": "web"}).encode()
    record = {"value": base64.b64encode(value).decode(), "key": base64.b64encode(b"4111").decode(), "timestamp": NOW_MS}
    (answer,) = kernel.decode(plan, [], base64.b64encode(KEY).decode(), [record])
    assert base64.b64decode(answer["key"]).decode() == published


class Visit(Contract, name="visit", version=1):
    """An event without personal data."""

    visited: Annotated[int, EVENT_TIME]
    channel: str


def test_no_raw_key_of_a_source_without_personal_data_is_published_beside_one_that_has_some(kernel: Kernel) -> None:
    """Topics are partitioned alike, so this one's keys are card numbers too."""
    source = PIPELINE.source.model_copy(update={"key": "channel"})
    also = Source(topic="visits", contract=Visit, key="channel", triggers=False)
    changed = PIPELINE.model_copy(update={"source": source, "additional_sources": (also,)})
    value = json.dumps({"visited": NOW_MS, "channel": "web"}).encode()
    record = {"value": base64.b64encode(value).decode(), "key": base64.b64encode(b"4111").decode(), "timestamp": NOW_MS}
    plan = compile_plan(changed).model_dump(mode="json")
    (answer,) = kernel.decode(plan, [], base64.b64encode(KEY).decode(), [record], source=1)
    assert base64.b64decode(answer["key"]).decode() == "web"


CASES = settings(
    max_examples=600,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=10)
    | st.sampled_from(["FR", "fr", "web", "e" * 9, NOW_MS + 60_000, NOW_MS + 60_001, 1e400, 5e-324, "\ud800", "é" * 8]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=3,
)


@CASES
@given(st.dictionaries(st.sampled_from([*SAMPLE_EVENT, "other"]), JSON_VALUES, max_size=3), st.booleans())
def test_they_agree_on_events_with_any_json_in_some_fields(
    kernel: Kernel, changes: dict[str, Any], ascii_only: bool
) -> None:
    text = json.dumps(SAMPLE_EVENT | changes, ensure_ascii=ascii_only)
    agree(kernel, text.encode("utf-8", "surrogatepass"), [])


@CASES
@given(
    st.booleans(),
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), min_size=1, max_size=3),
    st.integers(0, 4),
)
def test_they_agree_on_events_with_some_bytes_changed(
    kernel: Kernel, avro: bool, changes: list[tuple[int, int]], cut: int
) -> None:
    value = bytearray(ENCODER.encode(SAMPLE_EVENT) if avro else json.dumps(SAMPLE_EVENT).encode())
    for position, byte in changes:
        value[position % len(value)] = byte
    agree(kernel, bytes(value[: len(value) - cut]), [contract_schema(Sample)])


# Each is at every place of some field's form: times, numbers, dates, base64, UUIDs, and what is almost one.
FORMS = st.from_regex(
    r"\A(20[0-9]{2}-[01][0-9]-[0-3][0-9]([T ][0-2][0-9]:[0-6][0-9](:[0-6][0-9]([.,][0-9]{1,10})?)?"
    r"(Z|[+-][0-2][0-9](:?[0-6][0-9])?)?)?"
    r"|[+-]?[0-9]{1,12}(\.[0-9]{0,5})?|[A-Za-z0-9+/]{2,5}={0,2}|[0-9a-fA-F]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})\n?\Z"
)
FEWER_CASES = settings(CASES, max_examples=300)
PLACES = [field.place for field in contract_fields(Foreign)]


@FEWER_CASES
@given(
    st.lists(
        st.tuples(st.sampled_from(PLACES), st.integers(1, 3), FORMS | JSON_VALUES | st.integers(-(2**64), 2**64)),
        min_size=1,
        max_size=3,
    ),
    st.booleans(),
)
def test_they_agree_on_nested_events_with_anything_in_some_places(
    kernel: Kernel, changes: list[tuple[tuple[str, ...], int, Any]], twice: bool
) -> None:
    event: dict[str, Any] = json.loads(FOREIGN["cases"][0]["text"])
    for place, depth, value in changes:
        node: Any = event
        *way, last = place[:depth]
        for name in way:
            node = node.setdefault(name, {}) if isinstance(node, dict) else {}
        if isinstance(node, dict):
            node[last] = value
    text = json.dumps(event)
    if twice:
        # Of repeated names the last counts, at each depth.
        text = FOREIGN["cases"][0]["text"][:-1] + ", " + text[1:]
    nested_agree(kernel, text.encode("utf-8", "surrogatepass"))


# What may stand in place of a part of an event with lists: at each depth, and where arrays and objects are.
LIST_PARTS = st.recursive(
    JSON_VALUES | st.sampled_from([{"amount": "1.50"}, {"w": 1}, "2023-11-14T22:13:20Z", "AB", "a"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["sku", "price", "amount", "gift", "at", "banner", "w", "items", "scores"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=6,
)
LIST_NAMES = ["tags", "codes", "kinds", "mails", "imp", "order", "user"]


@FEWER_CASES
@given(
    st.dictionaries(st.sampled_from(LIST_NAMES), LIST_PARTS, min_size=1, max_size=2),
    st.lists(LIST_PARTS),
    st.booleans(),
)
def test_they_agree_on_events_with_anything_in_lists(
    kernel: Kernel, changes: dict[str, Any], items: list[Any], twice: bool
) -> None:
    first = LISTS["cases"][0]["text"]
    event = json.loads(first)
    event["order"]["items"] += items
    text = json.dumps(event | changes)
    nested_agree(
        kernel, ((first[:-1] + ", " + text[1:]) if twice else text).encode("utf-8", "surrogatepass"), lists=True
    )


AVRO = [
    (bytes.fromhex(case["hex"]), section is LISTS)
    for section in (FOREIGN, LISTS)
    for case in section["cases"]
    if "hex" in case
]


@CASES
@given(
    st.sampled_from(AVRO),
    st.lists(st.tuples(st.integers(10, 200), st.integers(0, 127)), min_size=1, max_size=2),
)
def test_they_agree_on_nested_avro_with_some_bytes_changed(
    kernel: Kernel, written: tuple[bytes, bool], changes: list[tuple[int, int]]
) -> None:
    value, lists = written
    changed = bytearray(value)
    for position, byte in changes:
        # Not above 127: fastavro takes negative numbers of union branches, and Java's library does not.
        changed[10 + (position - 10) % (len(changed) - 10)] = byte & 0x7E
    nested_agree(kernel, bytes(changed), lists=lists)


@CASES
@given(st.binary(max_size=40))
def test_they_agree_on_garbage(kernel: Kernel, value: bytes) -> None:
    agree(kernel, value, [contract_schema(Sample)])


LIST = {"name": "more", "type": {"type": "array", "items": "long"}}
MAP = {"name": "more", "type": {"type": "map", "values": "long"}}


@pytest.mark.parametrize("more", [LIST, MAP], ids=["array", "map"])
def test_an_array_or_map_that_claims_two_billion_items_costs_no_memory(kernel: Kernel, more: dict[str, Any]) -> None:
    writer = contract_schema(Sample)
    writer = writer | {"fields": [*writer["fields"], more]}
    # One item, after a count of 2,147,483,639 in zigzag: what Avro's Java library takes for a length.
    claim = bytes.fromhex("eeffffff0f") + (b"\x02" if more is LIST else b"\x02a\x02")
    value = Encoder(writer).encode(SAMPLE_EVENT | {"more": [] if more is LIST else {}})[:-1] + claim
    agree(kernel, value, [writer])


@pytest.mark.parametrize("extra", [0, 1])
def test_an_avro_text_of_32_mib_is_read_and_a_longer_one_is_refused(kernel: Kernel, extra: int) -> None:
    source = PIPELINE.source.model_copy(update={"max_bytes": 2**26})
    plan = compile_plan(PIPELINE.model_copy(update={"source": source})).model_dump(mode="json")
    writer = contract_schema(Sample)
    writer = writer | {"fields": [*writer["fields"], {"name": "ignored", "type": "string"}]}
    value = Encoder(writer).encode(SAMPLE_EVENT | {"ignored": "x" * (2**25 + extra)})
    record = {"value": base64.b64encode(value).decode(), "timestamp": NOW_MS}
    (answer,) = kernel.decode(plan, [json.dumps(writer)], base64.b64encode(KEY).decode(), [record])
    decoded = decode_event(
        value, Sample, Decoder(writer), kafka_timestamp_ms=NOW_MS, max_future_ms=60_000, max_bytes=2**26
    )
    expected = "penstock.Undecodable" if extra else None
    assert answer.get("reason") == expected
    assert (decoded.reason if isinstance(decoded, Rejection) else None) == expected
