from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from google.protobuf import any_pb2
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto

from penstock.errors import PenstockError
from schemas.avro import contract_schema
from schemas.codec import Decoder, Encoder, Rejection, UnknownSchema, decode_event
from schemas.protobuf import ProtobufSchema
from schemas.registry import RegistrySchemas
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
        registry=RegistrySchemas(registry.url, timeout_s=2, sleep=lambda _: None),
    )


def test_an_event_is_read_with_the_schema_behind_its_id(registry: FakeRegistry) -> None:
    registry.register({"schema": '"string"', "schemaType": "AVRO"})
    number = registry.register({"schema": json.dumps(contract_schema(Sample)), "schemaType": "AVRO"})
    assert decode(registry, number) == Sample(**SAMPLE_EVENT)


def test_each_id_is_fetched_once(registry: FakeRegistry) -> None:
    number = registry.register({"schema": json.dumps(contract_schema(Sample)), "schemaType": "AVRO"})
    lookup = RegistrySchemas(registry.url)
    assert lookup(number) is lookup(number)
    assert len(registry.requests) == 1


NODE = {"type": "record", "name": "node", "fields": [{"name": "next", "type": ["null", "node"]}]}
DEEP = '{"type": "array", "items": ' * 100_000 + '"long"' + "}" * 100_000
CHAIN = {
    "type": "record",
    "name": "r",
    "fields": [
        {
            "name": f"f{n}",
            "type": {
                "type": "record",
                "name": f"r{n}",
                "fields": [{"name": "a", "type": f"r{n - 1}" if n else "long"}],
            },
        }
        for n in range(200)
    ],
}


NULLS = {"type": "record", "name": "e", "fields": [{"name": "x", "type": {"type": "array", "items": "null"}}]}

LISTS = {"type": "array", "items": ["null", {"type": "array", "items": "null"}]}
NULLS_WITHIN = {"type": "record", "name": "e", "fields": [{"name": "x", "type": LISTS}]}


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"schema": json.dumps(NULLS), "schemaType": "AVRO"}, "an array whose items take no bytes"),
        ({"schema": json.dumps(NULLS_WITHIN), "schemaType": "AVRO"}, "an array whose items take no bytes"),
        ({"schema": json.dumps(NODE), "schemaType": "AVRO"}, "contains itself"),
        ({"schema": json.dumps(CHAIN), "schemaType": "AVRO"}, "nests too deep"),
        ({"schema": DEEP, "schemaType": "AVRO"}, "not valid Avro"),
        (
            {"schema": '"long"', "schemaType": "AVRO", "references": [{"name": "a", "subject": "a", "version": 1}]},
            "refers",
        ),
        (None, "no schema with id 1"),
        ({"schema": "message A {}", "schemaType": "PROTOBUF"}, "is not a Protobuf schema that can be read"),
        ({"schema": "struct A {}", "schemaType": "THRIFT"}, "is THRIFT, not Avro, JSON or Protobuf"),
        ({"schema": '{"type": "record"}', "schemaType": "AVRO"}, "not valid Avro"),
    ],
)
def test_an_id_without_a_schema_that_can_be_read_refuses_the_event(
    registry: FakeRegistry, schema: dict[str, str] | None, says: str
) -> None:
    if schema:
        registry.register(schema)
    result = decode(registry, 1)
    assert isinstance(result, Rejection)
    assert result.reason == "penstock.UnknownSchema"
    assert says in result.message


def test_a_protobuf_schema_may_bring_files_that_every_reader_has() -> None:
    imported = FileDescriptorProto.FromString(any_pb2.DESCRIPTOR.serialized_pb)
    message = DescriptorProto(name="Event", field=[{"name": "t", "number": 1, "type": 3, "label": 1}])
    file = FileDescriptorProto(name="event.proto", syntax="proto3", dependency=[imported.name], message_type=[message])
    # type.proto, which every reader has as well, imports this file.
    assert ProtobufSchema([imported, file]).message("Event").full_name == "Event"


def test_an_id_that_a_follower_does_not_know_yet_is_asked_for_again(registry: FakeRegistry) -> None:
    def register(_: float) -> None:
        registry.register({"schema": '"string"', "schemaType": "AVRO"})

    assert RegistrySchemas(registry.url, sleep=register)(1) == "string"
    assert len(registry.requests) == 2


def test_an_unknown_id_is_unknown_for_half_a_minute(registry: FakeRegistry) -> None:
    now = [0.0]
    lookup = RegistrySchemas(registry.url, clock=lambda: now[0], sleep=lambda _: None)
    for _ in range(2):
        with pytest.raises(UnknownSchema):
            lookup(1)
    assert len(registry.requests) == 4
    registry.register({"schema": '"string"', "schemaType": "AVRO"})
    now[0] = 31.0
    assert lookup(1) == "string"


def test_a_flood_of_unknown_ids_is_neither_waited_for_each_time_nor_kept(registry: FakeRegistry) -> None:
    pauses: list[float] = []
    lookup = RegistrySchemas(registry.url, clock=lambda: 0.0, sleep=pauses.append)
    for number in range(1, 1_202):
        with pytest.raises(UnknownSchema):
            lookup(number)
    assert len(pauses) == 20
    assert len(lookup._unknown) == 1_000


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
