"""The kernel's reading of envelopes against the Python contract: shared cases, then mutated and random records."""

from __future__ import annotations

import base64
import json
from typing import Annotated, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock import (
    EVENT_TIME,
    PII_HASH,
    AsDecimal,
    At,
    CloudEvents,
    Debezium,
    Entity,
    InEnvelope,
    Model,
    Pipeline,
    Source,
    View,
    count,
)
from schemas.codec import Decoder, Rejection, decode_event, event_row
from schemas.contract import ENTITY as KEYED
from schemas.contract import Contract, field_with_role
from schemas.envelopes import STRUCTURED, Ignored
from schemas.registry import RegistrySchemas
from streams.inprocess.kernel import Kernel
from streams.plan.compiler import compile_plan
from streams.plan.model import PipelinePlan
from tests.schemas.envelope_samples import CASES, CONTRACTS, ENVELOPES, Case, cases, framed_cases
from tests.schemas.fake_registry import fake_registry

NOW_MS = CASES["kafka_timestamp_ms"]
KEY = b"a key of the tests"
ALL = cases()


def plan_of(contract: type[Contract], envelope: Debezium | CloudEvents) -> PipelinePlan:
    key = field_with_role(contract, KEYED)
    entity = Entity(name="entity", key=key)
    view = View(name="v", version=1, entity=entity, aggregates=(count(over="1h"),))
    return compile_plan(
        Pipeline(
            name="p",
            source=Source(topic="t", contract=contract, key=key, max_bytes=CASES["max_bytes"], envelope=envelope),
            entities=(entity,),
            views=(view,),
            model=Model(name="m", inputs=view.inputs(), threshold=0.5, positive="p", negative="n"),
        )
    )


PLANS = {kind: plan_of(CONTRACTS[kind], envelope) for kind, envelope in ENVELOPES.items()}


def by_kernel(kernel: Kernel, *records: Case, registry: str | None = None) -> list[dict[str, Any]]:
    kind = records[0].kind
    writers = [json.dumps(writer) for writer in records[0].writers]
    return kernel.decode(
        PLANS[kind].model_dump(mode="json"),
        writers,
        base64.b64encode(KEY).decode(),
        [
            {"value": _base64(each.value), "timestamp": NOW_MS, "headers": [[n, _base64(v)] for n, v in each.headers]}
            for each in records
        ],
        registry=registry,
    )


def _base64(value: bytes | None) -> str | None:
    return None if value is None else base64.b64encode(value).decode()


def by_oracle(record: Case, registry: RegistrySchemas | None = None) -> dict[str, Any]:
    decoded = decode_event(
        record.value,
        record.contract,
        Decoder(*record.writers),
        kafka_timestamp_ms=NOW_MS,
        max_future_ms=CASES["max_future_ms"],
        max_bytes=CASES["max_bytes"],
        headers=record.headers,
        envelope=record.envelope,
        registry=registry,
    )
    if isinstance(decoded, Ignored):
        return {"ignored": True}
    if isinstance(decoded, Rejection):
        return {"reason": decoded.reason}
    return {"columns": event_row(decoded, record.contract, KEY)}


def agree(kernel: Kernel, record: Case) -> None:
    (answer,) = by_kernel(kernel, record)
    answer.pop("message", None)
    assert answer == by_oracle(record), record


@pytest.fixture(scope="module")
def answers(kernel: Kernel) -> dict[str, dict[str, Any]]:
    """The kernel's answer to each shared case, by name."""
    found = {}
    for kind in ENVELOPES:
        names = [name for name, case in ALL.items() if case.kind == kind]
        found |= dict(zip(names, by_kernel(kernel, *(ALL[name] for name in names)), strict=True))
    return found


@pytest.mark.parametrize("name", ALL)
def test_the_kernel_reads_each_shared_case_in_an_envelope_as_the_contract_does(
    answers: dict[str, dict[str, Any]], name: str
) -> None:
    is_what_it_states(answers[name], ALL[name], by_oracle(ALL[name]))


@pytest.mark.parametrize("kind", ENVELOPES)
def test_the_kernel_reads_each_shared_case_with_a_schema_of_the_registry_as_the_contract_does(
    kernel: Kernel, kind: str
) -> None:
    records = [case for case in framed_cases().values() if case.kind == kind]
    with fake_registry() as server:
        server.schemas += CASES["framed"]["schemas"]
        registry = RegistrySchemas(server.url, sleep=lambda _: None)
        for answer, record in zip(by_kernel(kernel, *records, registry=server.url), records, strict=True):
            is_what_it_states(answer, record, by_oracle(record, registry))


def is_what_it_states(answer: dict[str, Any], record: Case, of_oracle: dict[str, Any]) -> None:
    message, expected = answer.get("message", ""), record.expected
    assert {name: value for name, value in answer.items() if name != "message"} == of_oracle, expected["name"]
    assert message.startswith(f"{expected['field']}: " if "field" in expected else "")
    assert expected.get("says", "") in message


class Rows(Contract, name="rows", version=1):
    """Lists of one array, of the row and of the row before."""

    at: Annotated[int, EVENT_TIME]
    card: Annotated[str, KEYED, PII_HASH]
    skus: Annotated[list[str], At("items[].sku"), PII_HASH]
    prices: Annotated[list[float | None], At("items[].price"), AsDecimal(scale=2)]
    skus_before: Annotated[list[str] | None, InEnvelope("before.items[].sku")] = None
    tables: Annotated[list[str] | None, InEnvelope("source.tables")] = None


@pytest.mark.parametrize("way", ["{}", '{{"payload": {}}}'])
def test_lists_of_one_array_are_read_out_of_a_change(kernel: Kernel, way: str) -> None:
    items = [{"sku": "a", "price": "1.50"}, {"sku": "b"}]
    row = {"at": NOW_MS, "card": "c", "items": items}
    change = {"op": "u", "before": row | {"items": items[:1]}, "after": row, "source": {"tables": ["t"]}}
    value = way.format(json.dumps(change)).encode()
    plan = plan_of(Rows, Debezium()).model_dump(mode="json")
    record = {"value": _base64(value), "timestamp": NOW_MS}
    (answer,) = kernel.decode(plan, [], base64.b64encode(KEY).decode(), [record])
    limits = {"kafka_timestamp_ms": NOW_MS, "max_future_ms": 0, "max_bytes": CASES["max_bytes"]}
    event = decode_event(value, Rows, Decoder(), envelope=Debezium(), **limits)
    assert isinstance(event, Rows)
    assert (event.skus, event.prices, event.skus_before, event.tables) == (["a", "b"], [1.5], ["a"], ["t"])
    assert answer == {"columns": event_row(event, Rows, KEY)}


FUZZ = settings(
    max_examples=60, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["c", "u", "d", "r", "t", "x", "1.0", "12.50", "2023-11-14T22:13:20Z", "e30=", "\ud800", NOW_MS]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["", "after", "op", "total", "card", "payload", "x"]), inner, max_size=3)
    ),
    max_leaves=4,
)
WAYS = {
    "debezium": [
        "op",
        "before",
        "after",
        "source",
        "payload",
        "schema",
        "after.total",
        "before.total",
        "after.address",
        "after.address.city",
        "source.ts_ms",
        "source.lsn",
        "after.customer",
        "after.",
        "payload.after",
        "payload.op",
    ],
    "cloudevents": [
        "specversion",
        "id",
        "source",
        "type",
        "time",
        "shard",
        "datacontenttype",
        "data",
        "data_base64",
        "source_and_id",
        "data.card",
        "data.amount",
        "data.extra",
        "data.extra.note",
        "data.$envelope",
    ],
}
TEXTS = {
    kind: [case for case in ALL.values() if case.kind == kind and case.value and case.value[:1] == b"{"]
    for kind in ENVELOPES
}


@pytest.mark.parametrize("kind", ENVELOPES)
@FUZZ
@given(st.data(), st.booleans())
def test_they_agree_on_envelopes_with_anything_in_some_places(
    kernel: Kernel, kind: str, data: st.DataObject, twice: bool
) -> None:
    base = data.draw(st.sampled_from(TEXTS[kind][:6]))
    assert base.value is not None
    document = json.loads(base.value)
    for way, value in data.draw(st.lists(st.tuples(st.sampled_from(WAYS[kind]), ANY), min_size=1, max_size=3)):
        node: Any = document
        *names, last = way.split(".")
        for name in names:
            node = node.setdefault(name, {}) if isinstance(node, dict) else {}
        if isinstance(node, dict):
            node[last] = value
    text = json.dumps(document)
    if twice:
        # Of repeated names the last counts, at each depth.
        text = base.value.decode()[:-1] + ", " + text[1:]
    agree(kernel, base._replace(value=text.encode("utf-8", "surrogatepass")))


NAMES = st.sampled_from(
    (
        "content-type Content-Type ce_id ce_source ce_type ce_time ce_specversion ce_shard ce_X ce_datacontenttype ce_ "
        f"id ce_\u0131 ce_{'a' * 64} ce_{'a' * 65}"
    ).split()
)
HEADER_VALUES = (
    st.none()
    | st.binary(max_size=6)
    | st.sampled_from([b"1.0", b"/shop", b"paid", b"2023-11-14T22:13:20Z", "\u2003x".encode()])
    | st.sampled_from([b"application/cloudevents", b"\tApplication/CloudEvents+json ; x", STRUCTURED.encode()])
)


@FUZZ
@given(
    st.sampled_from([case for case in ALL.values() if case.kind == "cloudevents" and case.headers]),
    st.lists(st.tuples(st.integers(0, 7), st.booleans(), NAMES, HEADER_VALUES), max_size=2),
)
def test_they_agree_on_cloudevents_with_some_headers_changed(
    kernel: Kernel, record: Case, changes: list[tuple[int, bool, str, bytes | None]]
) -> None:
    headers = list(record.headers)
    for position, replaces, name, value in changes:
        at = position % (len(headers) + 1)
        headers[at : at + replaces] = [(name, value)]
    agree(kernel, record._replace(headers=tuple(headers)))


@FUZZ
@given(
    st.sampled_from([case for case in ALL.values() if case.value]),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 127)), max_size=2),
    st.integers(0, 3),
)
def test_they_agree_on_records_in_envelopes_with_some_bytes_changed(
    kernel: Kernel, record: Case, changes: list[tuple[int, int]], cut: int
) -> None:
    assert record.value is not None
    value = bytearray(record.value)
    is_avro = value[:2] == b"\xc3\x01"
    for position, byte in changes:
        # Not above 127 in Avro: fastavro takes negative numbers of union branches, and Java's library does not.
        value[position % len(value)] = byte & 0x7E if is_avro else byte
    agree(kernel, record._replace(value=bytes(value[: len(value) - cut])))


@pytest.mark.parametrize("kind", ENVELOPES)
def test_a_refusal_of_an_envelope_never_quotes_a_value(kernel: Kernel, kind: str) -> None:
    secret, records = "4111-SECRET", []
    for base in TEXTS[kind][:6]:
        assert base.value is not None
        for way in WAYS[kind]:
            document = node = json.loads(base.value)
            *names, last = way.split(".")
            for name in names:
                node = node.get(name) if isinstance(node, dict) else None
            if isinstance(node, dict):
                node[last] = secret
                records.append(base._replace(value=json.dumps(document).encode()))
    messages = [answer["message"] for answer in by_kernel(kernel, *records) if "message" in answer]
    assert messages
    assert not [message for message in messages if "SECRET" in message]
