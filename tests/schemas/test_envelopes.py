from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import pytest
from pydantic import ValidationError

from penstock import (
    EVENT_TIME,
    ISO8601,
    SECONDS,
    AsDecimal,
    At,
    CloudEvents,
    Contract,
    Debezium,
    InEnvelope,
    Labels,
)
from schemas.codec import Decoder, Rejection, decode_event
from schemas.envelopes import Ignored, check_envelope
from schemas.registry import RegistrySchemas
from tests.schemas.envelope_samples import CASES, Case, OrderRow, Paid, cases, framed_cases
from tests.schemas.fake_registry import fake_registry
from tests.schemas.samples import Sample


def decode(
    case: Case, envelope: Debezium | CloudEvents | None = None, registry: RegistrySchemas | None = None
) -> Contract | Rejection | Ignored:
    return decode_event(
        case.value,
        case.contract,
        Decoder(*case.writers),
        kafka_timestamp_ms=CASES["kafka_timestamp_ms"],
        max_future_ms=CASES["max_future_ms"],
        max_bytes=CASES["max_bytes"],
        headers=case.headers,
        envelope=envelope or case.envelope,
        registry=registry,
    )


@pytest.mark.parametrize("case", cases().values(), ids=cases())
def test_each_shared_case_in_an_envelope_is_what_it_states(case: Case) -> None:
    is_what_it_states(case, decode(case))


@pytest.fixture(scope="module")
def registry() -> Iterator[RegistrySchemas]:
    with fake_registry() as server:
        server.schemas += CASES["framed"]["schemas"]
        yield RegistrySchemas(server.url, sleep=lambda _: None)


@pytest.mark.parametrize("case", framed_cases().values(), ids=framed_cases())
def test_each_shared_case_in_an_envelope_with_a_schema_of_the_registry_is_what_it_states(
    case: Case, registry: RegistrySchemas
) -> None:
    is_what_it_states(case, decode(case, registry=registry))


def is_what_it_states(case: Case, result: Contract | Rejection | Ignored) -> None:
    expected = case.expected
    if "reason" in expected:
        assert isinstance(result, Rejection), result
        assert result.reason == expected["reason"]
        assert result.message.startswith(f"{expected['field']}: " if "field" in expected else "")
        assert expected.get("says", "") in result.message
    elif "ignored" in expected:
        assert isinstance(result, Ignored)
    else:
        assert isinstance(result, case.contract), result
        assert result.model_dump() == case.event


def test_a_snapshot_is_an_event_where_the_source_says_so() -> None:
    case = cases()["debezium: an operation that is not declared"]
    event = decode(case, Debezium(operations=("snapshot",)))
    assert isinstance(event, OrderRow)
    assert event.operation == "r"
    assert isinstance(decode(cases()["debezium: an insert"], Debezium(operations=("snapshot",))), Ignored)


def test_operations_are_the_same_in_any_order() -> None:
    assert Debezium(operations=("delete", "insert", "delete")) == Debezium(operations=("insert", "delete"))
    for wrong in [(), ("truncate",)]:
        with pytest.raises(ValidationError):
            Debezium(operations=wrong)


TIME = (Annotated[int, EVENT_TIME], ...)
DEBEZIUM, CLOUDEVENTS = Debezium(), CloudEvents()


def with_field(annotation: Any, **others: Any) -> type[Contract]:
    """A contract with a time, decimals of the row, and a field ``around``."""

    class Made(Contract, name="made", version=1):
        at: Annotated[int, EVENT_TIME]
        total: Annotated[float, AsDecimal(scale=2)]
        prices: Annotated[list[float] | None, At("items[].price"), AsDecimal(scale=2)] = None
        around: annotation  # type: ignore[valid-type]

    return Made


@pytest.mark.parametrize(
    ("envelope", "annotation", "problem"),
    [
        (None, Annotated[str, InEnvelope("op")], "none is declared"),
        (CLOUDEVENTS, Annotated[int, InEnvelope("time")], "text"),
        (CLOUDEVENTS, Annotated[int, InEnvelope("time"), SECONDS], "text"),
        (CLOUDEVENTS, Annotated[bool, InEnvelope("sampled")], "text"),
        (CLOUDEVENTS, Annotated[str, InEnvelope("dataSchema")], "no CloudEvent has the attribute"),
        (CLOUDEVENTS, Annotated[str, InEnvelope("trace.id")], "no CloudEvent has the attribute"),
        (CLOUDEVENTS, Annotated[str, InEnvelope("data")], "no CloudEvent has the attribute"),
        (CLOUDEVENTS, Annotated[str, InEnvelope("data_base64")], "no CloudEvent has the attribute"),
        (DEBEZIUM, Annotated[str, InEnvelope("payload.op")], "no value at payload.op"),
        (DEBEZIUM, Annotated[str, InEnvelope("op.code")], "no value at op.code"),
        (DEBEZIUM, Annotated[str, InEnvelope("after")], "no value at after"),
        (DEBEZIUM, Annotated[str | None, InEnvelope("before.total")], "two forms"),
        (DEBEZIUM, Annotated[str | None, InEnvelope("before.total.cents")], "two forms"),
        (DEBEZIUM, Annotated[int, InEnvelope("before.at"), ISO8601], "two forms"),
        (DEBEZIUM, Annotated[int, InEnvelope("before.at")], "two forms"),
        (DEBEZIUM, Annotated[list[str], InEnvelope("op")], "no value at op"),
        (DEBEZIUM, Annotated[list[float], InEnvelope("before.items[].price")], "two forms"),
        (DEBEZIUM, Annotated[list[str], InEnvelope("before.items[].price.amount")], "two forms"),
        (DEBEZIUM, Annotated[list[str], InEnvelope("before.items[]")], "two forms"),
        (DEBEZIUM, Annotated[str, InEnvelope("before.items.name")], "two forms"),
    ],
)
def test_what_cannot_be_read_out_of_an_envelope_is_refused_where_it_is_declared(
    envelope: Debezium | CloudEvents | None, annotation: Any, problem: str
) -> None:
    with pytest.raises(ValueError, match=f"around.*{problem}"):
        check_envelope(envelope, with_field(annotation))


@pytest.mark.parametrize(
    ("envelope", "annotation"),
    [
        (CLOUDEVENTS, Annotated[int, InEnvelope("time"), ISO8601]),
        (CLOUDEVENTS, Annotated[float | None, InEnvelope("fee"), AsDecimal(scale=2)]),
        (CLOUDEVENTS, Annotated[Literal["a", "b"], InEnvelope("type")]),
        (CLOUDEVENTS, Annotated[str, InEnvelope("source_and_id")]),
        (DEBEZIUM, Annotated[float | None, InEnvelope("before.total"), AsDecimal(scale=2)]),
        (DEBEZIUM, Annotated[str | None, InEnvelope("transaction.id")]),
        (DEBEZIUM, Annotated[list[float] | None, InEnvelope("before.items[].price"), AsDecimal(scale=2)]),
        (DEBEZIUM, Annotated[list[str] | None, InEnvelope("before.items[].sku")]),
        (DEBEZIUM, Annotated[str | None, InEnvelope(("source", "a.b"))]),
    ],
)
def test_what_can_be_read_out_of_an_envelope_is_taken(envelope: Debezium | CloudEvents, annotation: Any) -> None:
    check_envelope(envelope, with_field(annotation))


def test_a_contract_without_fields_of_an_envelope_fits_any() -> None:
    for envelope in (None, DEBEZIUM, CLOUDEVENTS):
        check_envelope(envelope, Sample)


def test_labels_are_not_read_out_of_an_envelope() -> None:
    with pytest.raises(ValueError, match="event_id is in an envelope"):
        Labels(topic="labels", contract=Paid, value="amount", task="regression")
