from __future__ import annotations

import json
from typing import Annotated, Any

import pytest

from penstock import EVENT_TIME, CloudEvents, Contract, Debezium
from penstock.errors import PenstockError
from schemas.codec import Decoder, decode_event
from schemas.producer import InvalidEvent, serializer, validated
from schemas.sealing import headers_around, sealed
from tests.schemas.envelope_samples import ENVELOPES, Case, Paid, cases
from tests.schemas.samples import NOW_MS, SAMPLE_EVENT, Sample

EVENTS = {name: case for name, case in cases().items() if "event" in case.expected}


def read(value: bytes, contract: type[Contract], envelope: Debezium | CloudEvents) -> Any:
    return decode_event(
        value,
        contract,
        Decoder(),
        kafka_timestamp_ms=NOW_MS,
        max_future_ms=60_000,
        max_bytes=1 << 20,
        headers=headers_around(envelope),
        envelope=envelope,
    )


@pytest.mark.parametrize("case", [case for case in EVENTS.values() if case.kind == "cloudevents"])
def test_a_cloud_event_that_is_sent_is_read_again_as_it_was(case: Case) -> None:
    event = Paid.model_validate(case.event)
    value = serializer(Paid, "t", "avro", None, CloudEvents())(event)
    assert read(value, Paid, CloudEvents()) == event
    assert validated(json.loads(value), Paid, "t", CloudEvents()) == event


@pytest.mark.parametrize("operations", [("insert",), ("update",), ("delete",), ("snapshot",)])
def test_a_row_that_a_test_seals_is_an_event_of_the_declared_operation(operations: Any) -> None:
    envelope = Debezium(operations=operations)
    document = {"customer": "c", "total": "1.00", "$envelope": {"source": {"ts_ms": NOW_MS}}}
    event = read(
        json.dumps(sealed(document, envelope, "row", None)).encode(), cases()["debezium: an insert"].contract, envelope
    )
    assert (event.customer, event.operation) == (
        "c",
        {"insert": "c", "update": "u", "delete": "d", "snapshot": "r"}[operations[0]],
    )


def test_a_cloud_event_of_a_contract_without_attributes_has_those_that_each_must_have() -> None:
    value = serializer(Sample, "t", "json", None, CloudEvents())(Sample(**SAMPLE_EVENT))
    document = json.loads(value)
    assert {name: document[name] for name in ("specversion", "id", "type")} == {
        "specversion": "1.0",
        "id": SAMPLE_EVENT["event_id"],
        "type": "sample",
    }
    assert document["data"] == SAMPLE_EVENT


class Nameless(Contract, name="nameless", version=1):
    """An event without an id."""

    at: Annotated[int, EVENT_TIME]


@pytest.mark.parametrize(
    ("contract", "envelope", "problem"),
    [
        (Sample, Debezium(), "only Debezium writes"),
        (Paid, None, "none is given"),
        (Nameless, CloudEvents(), "has an id"),
    ],
)
def test_what_cannot_be_written_is_refused_before_anything_is_sent(
    contract: type[Contract], envelope: Debezium | CloudEvents | None, problem: str
) -> None:
    with pytest.raises(PenstockError, match=problem) as refused:
        serializer(contract, "t", "json", None, envelope)
    assert refused.value.safe == "nothing was sent"
    assert refused.value.next


def test_an_event_whose_attributes_no_cloud_event_can_have_is_not_sent() -> None:
    event = Paid.model_validate(EVENTS["cloudevents: binary"].event | {"event_id": "4111-SECRET"})
    with pytest.raises(InvalidEvent, match="id is missing, empty") as refused:
        serializer(Paid, "t", "json", None, CloudEvents())(event)
    assert "SECRET" not in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [({"specversion": "0.3"}, "specversion is not 1.0"), ({"data_base64": "e30="}, "data_base64")],
)
def test_a_mapping_that_is_no_cloud_event_is_not_sent(changes: dict[str, Any], problem: str) -> None:
    document = json.loads(EVENTS["cloudevents: structured"].value or b"") | changes
    with pytest.raises(InvalidEvent, match=problem):
        validated(document, Paid, "t", CloudEvents())


def test_only_cloudevents_have_headers_around_them() -> None:
    assert headers_around(None) == headers_around(ENVELOPES["debezium"]) == []
    assert headers_around(CloudEvents()) == [("content-type", b"application/cloudevents+json")]
