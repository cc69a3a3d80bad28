"""The kernel and the Python codec take the same schemas from a registry."""

from __future__ import annotations

import base64
import io
import json
from typing import Annotated, Any

import pytest
from fastavro import schemaless_writer

from penstock import ENTITY, EVENT_ID, EVENT_TIME, AsDecimal, At, Contract
from schemas.avro import contract_schema, parse_avro
from schemas.codec import Decoder, Encoder, Rejection, decode_event, event_row
from schemas.registry import RegistrySchemas
from streams.inprocess.kernel import Kernel
from streams.plan.compiler import compile_plan
from streams.plan.model import PipelinePlan
from tests.schemas.fake_registry import fake_registry
from tests.schemas.imported.protobufs import CHANNELS, ENUM, REPEATED, file, message
from tests.schemas.samples import NOW_MS, SAMPLE_EVENT, Sample
from tests.schemas.test_codec import FRAMED, FRAMED_CASES, FRAMED_PARTS
from tests.schemas.test_registry import CHAIN, NODE
from tests.streams.kernel.test_decode import KEY, PIPELINE, PLAN

SCHEMA = contract_schema(Sample)
DATUM = Encoder(SCHEMA).encode(SAMPLE_EVENT)[10:]


class Priced(Contract, name="priced", version=1):
    """An event with a decimal."""

    id: Annotated[str, EVENT_ID]
    t: Annotated[int, EVENT_TIME]
    card: Annotated[str, ENTITY]
    fee: Annotated[str, AsDecimal(scale=3)]


def plan_of(contract: type[Contract]) -> PipelinePlan:
    return compile_plan(
        PIPELINE.model_copy(update={"source": PIPELINE.source.model_copy(update={"contract": contract})})
    )


@pytest.mark.parametrize(
    ("schema", "datum", "reason"),
    [
        (SCHEMA, DATUM, None),
        (SCHEMA, DATUM[:-1], "penstock.Undecodable"),
        (NODE, b"\x02" * 100_000 + b"\x00", "penstock.UnknownSchema"),
        (CHAIN, DATUM, "penstock.UnknownSchema"),
        ({"type": "nothing"}, DATUM, "penstock.UnknownSchema"),
        (None, DATUM, "penstock.UnknownSchema"),
    ],
    ids=["valid", "truncated", "recursive", "deep", "not Avro", "unknown"],
)
def test_they_agree_on_an_event_of_a_schema_in_the_registry(
    kernel: Kernel, schema: dict[str, Any] | None, datum: bytes, reason: str | None
) -> None:
    with fake_registry() as registry:
        if schema is not None:
            registry.register({"schema": json.dumps(schema), "schemaType": "AVRO"})
        value = b"\x00\x00\x00\x00\x01" + datum
        plan = PLAN.model_dump(mode="json")
        plan["source"]["max_bytes"] = 1 << 20
        records = [{"value": base64.b64encode(value).decode(), "timestamp": NOW_MS}]
        (answer,) = kernel.decode(plan, [], base64.b64encode(b"key").decode(), records, registry=registry.url)
        decoded = decode_event(
            value,
            Sample,
            Decoder(),
            kafka_timestamp_ms=NOW_MS,
            max_future_ms=0,
            max_bytes=1 << 20,
            registry=RegistrySchemas(registry.url, sleep=lambda _: None),
        )
    assert answer.get("reason") == reason
    assert (decoded.reason if isinstance(decoded, Rejection) else None) == reason


@pytest.mark.parametrize("scale", [2, 2.7, 2**32 + 2, 2**64 + 2, 1e300, -1, True, "2", None])
def test_they_agree_on_the_scale_of_a_decimal(kernel: Kernel, scale: Any) -> None:
    decimal = {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": scale}
    fields = {"id": "string", "t": "long", "card": "string", "fee": decimal}
    schema = {
        "type": "record",
        "name": "priced",
        "fields": [{"name": name, "type": kind} for name, kind in fields.items()],
    }
    datum = io.BytesIO()
    plain = parse_avro(schema | {"fields": [*schema["fields"][:3], {"name": "fee", "type": "bytes"}]})
    schemaless_writer(datum, plain, {"id": "e", "t": NOW_MS, "card": "c", "fee": b"\x04\xe2"})
    value = b"\x00\x00\x00\x00\x01" + datum.getvalue()
    with fake_registry() as registry:
        registry.register({"schema": json.dumps(schema), "schemaType": "AVRO"})
        records = [{"value": base64.b64encode(value).decode(), "timestamp": NOW_MS}]
        plan = plan_of(Priced).model_dump(mode="json")
        (answer,) = kernel.decode(plan, [], base64.b64encode(KEY).decode(), records, registry=registry.url)
        decoded = decode_event(
            value,
            Priced,
            Decoder(),
            kafka_timestamp_ms=NOW_MS,
            max_future_ms=0,
            max_bytes=1000,
            registry=RegistrySchemas(registry.url),
        )
    if isinstance(decoded, Rejection):
        assert answer["reason"] == decoded.reason
    else:
        assert isinstance(decoded, Priced)
        assert answer == {"columns": event_row(decoded, Priced, KEY)}


@pytest.fixture(scope="module")
def framed_answers(kernel: Kernel) -> dict[str, dict[str, Any]]:
    """The kernel's answer to each case in Confluent's framing, by name."""
    found = {}
    with fake_registry() as registry:
        registry.schemas += FRAMED["schemas"]
        for of, part in FRAMED_PARTS:
            values = [bytes.fromhex(case["hex"]) for case in part["cases"]]
            records = [{"value": base64.b64encode(value).decode(), "timestamp": NOW_MS} for value in values]
            plan = plan_of(of).model_dump(mode="json")
            answers = kernel.decode(plan, [], base64.b64encode(KEY).decode(), records, registry=registry.url)
            found |= {case["name"]: answer for case, answer in zip(part["cases"], answers, strict=True)}
    return found


@pytest.mark.parametrize(("of", "part", "case"), FRAMED_CASES)
def test_the_kernel_reads_what_confluent_frames_as_each_shared_case_states(
    framed_answers: dict[str, dict[str, Any]], of: type[Contract], part: dict[str, Any], case: dict[str, Any]
) -> None:
    answer = framed_answers[case["name"]]
    message = answer.get("message", "")
    assert answer.get("reason") == case.get("reason"), answer
    assert message.startswith(f"{case['field']}: " if case.get("field") else "")
    assert case.get("says", "") in message
    if "event" in case:
        event = of.model_construct(**part["event"] | case["event"])
        assert answer["columns"] == event_row(event, of, KEY)


class Labelled(Contract, name="labelled", version=1):
    """An event with a map of an enum's values."""

    id: Annotated[str, EVENT_ID]
    t: Annotated[int, EVENT_TIME]
    card: Annotated[str, ENTITY]
    kind: Annotated[str | None, At("kinds.a")] = None


@pytest.mark.parametrize(
    ("entries", "kind"),
    [
        ([b"\x0a\x01a\x10\x01"], "CHIP"),
        ([b"\x0a\x01a\x10\x09"], None),
        ([b"\x0a\x01a\x10\x01", b"\x0a\x01a\x10\x09"], "CHIP"),
        ([b"\x0a\x01a"], "UNKNOWN"),
    ],
    ids=["known", "unknown", "first known", "default"],
)
def test_an_entry_of_a_map_whose_closed_enum_lacks_the_value_is_none(
    kernel: Kernel, entries: list[bytes], kind: str | None
) -> None:
    entry = message("KindsEntry", ("key", "string"), ("value", ".shop.Channel", ENUM), options={"map_entry": True})
    event = message(
        "Event",
        *(("id", "string"), ("t", "int64"), ("card", "string"), ("kinds", ".shop.Event.KindsEntry", REPEATED)),
        nested_type=[entry],
    )
    schema = base64.b64encode(file(event, syntax="proto2", enum_type=[CHANNELS]).SerializeToString()).decode()
    fields = b"\x0a\x01e\x10" + varint(NOW_MS) + b"\x1a\x01c"
    value = b"\x00\x00\x00\x00\x01\x00" + fields + b"".join(b"\x22" + varint(len(one)) + one for one in entries)
    with fake_registry() as registry:
        registry.register({"schema": schema, "schemaType": "PROTOBUF"})
        records = [{"value": base64.b64encode(value).decode(), "timestamp": NOW_MS}]
        plan = plan_of(Labelled).model_dump(mode="json")
        (answer,) = kernel.decode(plan, [], base64.b64encode(KEY).decode(), records, registry=registry.url)
        decoded = decode_event(
            value,
            Labelled,
            Decoder(),
            kafka_timestamp_ms=NOW_MS,
            max_future_ms=0,
            max_bytes=1000,
            registry=RegistrySchemas(registry.url),
        )
    assert isinstance(decoded, Labelled)
    assert decoded.kind == kind
    assert answer == {"columns": event_row(decoded, Labelled, KEY)}


def varint(number: int) -> bytes:
    """A number as Protobuf writes it."""
    head = bytes([number & 0x7F | (0x80 if number > 0x7F else 0)])
    return head + varint(number >> 7) if number > 0x7F else head


def test_json_that_nests_very_deep_is_refused_by_both(kernel: Kernel) -> None:
    value = b'{"a":' * 200_000 + b"1" + b"}" * 200_000
    plan = PLAN.model_dump(mode="json")
    plan["source"]["max_bytes"] = 1 << 21
    records = [{"value": base64.b64encode(value).decode(), "timestamp": NOW_MS}]
    (answer,) = kernel.decode(plan, [], base64.b64encode(b"key").decode(), records)
    decoded = decode_event(value, Sample, Decoder(), kafka_timestamp_ms=NOW_MS, max_future_ms=0, max_bytes=1 << 21)
    assert isinstance(decoded, Rejection)
    assert answer["reason"] == decoded.reason == "penstock.Undecodable"
