from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from penstock.errors import PenstockError
from schemas.avro import contract_schema
from schemas.codec import Decoder, Encoder, Rejection, UnknownSchema, decode_event
from schemas.registry import registry_schemas
from tests.schemas.fake_registry import FakeRegistry, fake_registry
from tests.schemas.samples import NOW_MS, SAMPLE_EVENT, Sample

DATUM = Encoder(contract_schema(Sample)).encode(SAMPLE_EVENT)[10:]


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with fake_registry() as registry:
        yield registry


def decode(registry: FakeRegistry, schema_id: int) -> object:
    return decode_event(
        b"\x00" + schema_id.to_bytes(4, "big") + DATUM,
        Sample,
        Decoder(),
        kafka_timestamp_ms=NOW_MS,
        max_future_ms=0,
        max_bytes=1000,
        registry=registry_schemas(registry.url, timeout_s=2),
    )


def test_an_event_is_read_with_the_schema_behind_its_id(registry: FakeRegistry) -> None:
    registry.register({"schema": '"string"', "schemaType": "AVRO"})
    number = registry.register({"schema": json.dumps(contract_schema(Sample)), "schemaType": "AVRO"})
    assert decode(registry, number) == Sample(**SAMPLE_EVENT)


def test_each_id_is_fetched_once(registry: FakeRegistry) -> None:
    number = registry.register({"schema": json.dumps(contract_schema(Sample)), "schemaType": "AVRO"})
    lookup = registry_schemas(registry.url)
    assert lookup(number) is lookup(number)
    assert len(registry.requests) == 1


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        (None, "no schema with id 1"),
        ({"schema": "message A {}", "schemaType": "PROTOBUF"}, "is PROTOBUF, not Avro"),
        ({"schema": '{"type": "record"}', "schemaType": "AVRO"}, "not valid Avro"),
    ],
)
def test_an_id_without_an_avro_schema_refuses_the_event(
    registry: FakeRegistry, schema: dict[str, str] | None, says: str
) -> None:
    if schema:
        registry.register(schema)
    result = decode(registry, 1)
    assert isinstance(result, Rejection)
    assert result.reason == "penstock.UnknownSchema"
    assert says in result.message


def test_a_registry_that_fails_raises_instead_of_refusing_the_event(registry: FakeRegistry) -> None:
    registry.broken = True
    with pytest.raises(PenstockError, match="cannot be reached") as error:
        decode(registry, 1)
    assert not isinstance(error.value, UnknownSchema)
    assert error.value.where == registry.url


def test_an_absent_registry_raises_instead_of_refusing_the_event() -> None:
    with fake_registry() as gone:
        pass
    with pytest.raises(PenstockError, match="cannot be reached"):
        decode(gone, 1)
