from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import pytest

from penstock import EVENT_TIME, At
from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from schemas.avro import contract_schema
from schemas.codec import Decoder, decode_event
from schemas.contract import Contract
from schemas.producer import EventProducer, InvalidEvent, serializer, validated
from tests.schemas.fake_registry import fake_registry
from tests.schemas.samples import NOW_MS, SAMPLE_EVENT, Basket, Foreign, Sample

SHARED = json.loads(Path(__file__).with_name("decode_cases.json").read_text(encoding="utf-8"))
CASES, FOREIGN, LISTS = SHARED["cases"], SHARED["foreign"], SHARED["lists"]
INVALID = [case for case in CASES if case.get("reason") == "penstock.InvalidField" and "text" in case]
VALID = [case for case in CASES if "event" in case]
# The producer sends JSON as it is given, and has no clock guard.
NOT_SENT = ("penstock.FutureEvent", "penstock.Undecodable")
NESTED = [(of, section, case) for of, section in ((Foreign, FOREIGN), (Basket, LISTS)) for case in section["cases"]]
SENT = [
    pytest.param(of, section["event"], case, id=case["name"])
    for of, section, case in NESTED
    if "text" in case and case.get("reason") not in NOT_SENT
]
EVENTS = [
    pytest.param(of, section["event"] | case["event"], id=case["name"])
    for of, section, case in NESTED
    if "event" in case and case["name"] != "the greatest times"
]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"config": {"acks": "1"}}, "config may not set acks"),
        ({"config": {"enable.idempotence": False, "partitioner": "random"}}, "enable.idempotence, partitioner"),
        ({"config": {"bootstrap.servers": "elsewhere:9092"}}, "bootstrap.servers"),
        ({"key": "nothing"}, "key 'nothing' is not a field of contract sample"),
        ({"encoding": "json", "registry_url": "http://127.0.0.1:1"}, "encoding='avro'"),
    ],
)
def test_contradictory_options_are_refused_before_the_producer_connects(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        EventProducer(Sample, "events.any", kafka=KafkaAccess(bootstrap="127.0.0.1:1"), **options)


def test_with_a_registry_the_schema_is_registered_before_the_first_event() -> None:
    with fake_registry() as registry:
        serialize = serializer(Sample, "events.any", "avro", registry.url)
        assert len(registry.schemas) == 1
        asked = len(registry.requests)
        assert serialize(Sample(**SAMPLE_EVENT)).startswith(b"\x00\x00\x00\x00\x01")
    assert registry.requests[asked:] == []


@pytest.mark.parametrize(
    ("status", "says"),
    [(409, "refuses the schema: incompatible"), (500, "cannot be reached"), (None, "cannot be reached")],
)
def test_a_registry_that_refuses_the_schema_or_fails_is_an_error_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, status: int | None, says: str
) -> None:
    def answer(*_: object) -> tuple[int, dict[str, Any]]:
        return status or 0, {"error_code": 42, "message": "incompatible"}

    with fake_registry() as registry:
        monkeypatch.setattr(registry, "answer", answer)
        url = registry.url if status else "http://127.0.0.1:1"
        with pytest.raises(PenstockError, match=says) as error:
            serializer(Sample, "events.any", "avro", url)
    assert (error.value.safe, error.value.next is None) == ("nothing was sent", False)


@pytest.mark.parametrize("case", INVALID, ids=lambda case: case["name"])
def test_what_the_job_refuses_is_not_sent(case: dict[str, Any]) -> None:
    with pytest.raises(InvalidEvent) as error:
        validated(json.loads(case["text"]), Sample, "events.any")
    assert case["field"] in str(error.value)
    assert case.get("says", "") in str(error.value)


@pytest.mark.parametrize("case", VALID, ids=lambda case: case["name"])
def test_what_the_job_accepts_is_sent(case: dict[str, Any]) -> None:
    assert validated(case["event"], Sample, "events.any").model_dump() == case["event"]


@pytest.mark.parametrize(("of", "base", "case"), SENT)
def test_what_is_written_nested_and_in_other_forms_is_judged_as_by_the_job(
    of: type[Contract], base: dict[str, Any], case: dict[str, Any]
) -> None:
    if "reason" in case:
        with pytest.raises(InvalidEvent) as error:
            validated(json.loads(case["text"]), of, "events.any")
        assert case["field"] in str(error.value)
        assert case.get("says", "") in str(error.value)
    else:
        event = validated(json.loads(case["text"]), of, "events.any")
        assert event.model_dump() == base | case["event"]


@pytest.mark.parametrize(("of", "columns"), EVENTS)
@pytest.mark.parametrize("encoding", ["json", "avro"])
def test_what_is_sent_is_read_as_the_event_that_it_was(
    of: type[Contract], columns: dict[str, Any], encoding: str
) -> None:
    event = validated(of(**columns), of, "events.any")
    value = serializer(of, "events.any", encoding, None)(event)
    writers = Decoder(contract_schema(of))
    assert event == decode_event(value, of, writers, kafka_timestamp_ms=-1, max_future_ms=0, max_bytes=1 << 20)


class Uneven(Contract, name="uneven", version=1):
    """Two lists of one array, one of them within objects."""

    t: Annotated[int, EVENT_TIME]
    a: Annotated[list[str], At("items[].a")]
    b: Annotated[list[float | None], At("items[].inner.b")]


@pytest.mark.parametrize("encoding", ["json", "avro"])
def test_lists_of_one_array_may_have_different_lengths_if_elements_may_lack_a_value(encoding: str) -> None:
    event = validated(Uneven(t=NOW_MS, a=["x", "y"], b=[1.5]), Uneven, "events.any")
    value = serializer(Uneven, "events.any", encoding, None)(event)
    writers = Decoder(contract_schema(Uneven))
    assert event == decode_event(value, Uneven, writers, kafka_timestamp_ms=-1, max_future_ms=0, max_bytes=1 << 20)
    with pytest.raises(InvalidEvent, match="value in every element") as error:
        validated(Uneven(t=NOW_MS, a=["x"], b=[1.5, 2.5]), Uneven, "events.any")
    assert error.value.where == "field items[].a"


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("local", 10**15, "cannot be written as iso8601"),
        ("opened", "2026-02-30", "cannot be written as date"),
        ("token", "x", "must be bytes"),
        ("in_ns", 2**60, "64 bits"),
        ("amount", 1e300, "9 digits"),
        ("fee", "twelve", "decimal number"),
    ],
)
def test_an_instance_that_cannot_be_written_names_its_field(field: str, value: Any, says: str) -> None:
    event = Foreign(**FOREIGN["event"] | {field: value})
    with pytest.raises(InvalidEvent, match=says) as error:
        validated(event, Foreign, "events.any")
    assert str(error.value.where).endswith(field)


def test_an_instance_that_was_made_without_validation_is_validated() -> None:
    with pytest.raises(InvalidEvent, match="does not fit contract sample"):
        validated(Sample(**SAMPLE_EVENT).model_copy(update={"amount": -1.0}), Sample, "events.any")
