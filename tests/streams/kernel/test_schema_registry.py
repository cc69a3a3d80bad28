"""The kernel and the Python codec take the same schemas from a registry."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from schemas.avro import contract_schema
from schemas.codec import Decoder, Encoder, Rejection, decode_event, event_row
from schemas.contract import Contract
from schemas.registry import RegistrySchemas
from streams.inprocess.kernel import Kernel
from streams.plan.compiler import compile_plan
from tests.schemas.fake_registry import fake_registry
from tests.schemas.samples import NOW_MS, SAMPLE_EVENT, Sample
from tests.schemas.test_codec import FRAMED, FRAMED_CASES, FRAMED_PARTS
from tests.schemas.test_registry import CHAIN, NODE
from tests.streams.kernel.test_decode import KEY, PIPELINE, PLAN

SCHEMA = contract_schema(Sample)
FRAMED_PLANS = {
    of: compile_plan(PIPELINE.model_copy(update={"source": PIPELINE.source.model_copy(update={"contract": of})}))
    for of, _ in FRAMED_PARTS
}
DATUM = Encoder(SCHEMA).encode(SAMPLE_EVENT)[10:]


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


@pytest.fixture(scope="module")
def framed_answers(kernel: Kernel) -> dict[str, dict[str, Any]]:
    """The kernel's answer to each case in Confluent's framing, by name."""
    found = {}
    with fake_registry() as registry:
        registry.schemas += FRAMED["schemas"]
        for of, part in FRAMED_PARTS:
            values = [bytes.fromhex(case["hex"]) for case in part["cases"]]
            records = [{"value": base64.b64encode(value).decode(), "timestamp": NOW_MS} for value in values]
            plan = FRAMED_PLANS[of].model_dump(mode="json")
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


def test_json_that_nests_very_deep_is_refused_by_both(kernel: Kernel) -> None:
    value = b'{"a":' * 200_000 + b"1" + b"}" * 200_000
    plan = PLAN.model_dump(mode="json")
    plan["source"]["max_bytes"] = 1 << 21
    records = [{"value": base64.b64encode(value).decode(), "timestamp": NOW_MS}]
    (answer,) = kernel.decode(plan, [], base64.b64encode(b"key").decode(), records)
    decoded = decode_event(value, Sample, Decoder(), kafka_timestamp_ms=NOW_MS, max_future_ms=0, max_bytes=1 << 21)
    assert isinstance(decoded, Rejection)
    assert answer["reason"] == decoded.reason == "penstock.Undecodable"
