from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import PenstockError
from schemas.avro import contract_schema, fields_of, fingerprint, parse_avro
from schemas.codec import Decoder, Encoder, Rejection, Undecodable, UnknownSchema, decode_event, event_row
from schemas.contract import Contract, ContractField, contract_fields, pii_hash
from schemas.documents import place
from schemas.event_time import EARLIEST_MS
from schemas.registry import RegistrySchemas
from tests.schemas.fake_registry import fake_registry
from tests.schemas.samples import NOW_MS, SAMPLE_EVENT, Basket, Foreign, Framed, FramedLists, Sample

CASES = json.loads(Path(__file__).with_name("decode_cases.json").read_text(encoding="utf-8"))
SCHEMA = contract_schema(Sample)

FOUND_BY_HYPOTHESIS = settings(derandomize=True, deadline=None, max_examples=200)

events = st.fixed_dictionaries(
    {
        "event_id": st.text(min_size=1, max_size=8),
        "event_time": st.integers(EARLIEST_MS, NOW_MS),
        "card": st.text(),
        "amount": st.floats(0, 1000, exclude_max=True),
        "items": st.none() | st.integers(1, 10),
        "channel": st.none() | st.sampled_from(["web", "pos"]),
        "country": st.none() | st.from_regex(r"\A[A-Z]{2}\Z"),
        "flag": st.booleans(),
    }
)


def decode(value: bytes | None, *writers: Any, of: type[Contract] = Sample, **options: Any) -> Contract | Rejection:
    limits = {"kafka_timestamp_ms": NOW_MS, "max_future_ms": 60_000, "max_bytes": 1 << 20}
    return decode_event(value, of, Decoder(*writers), **{**limits, **options})


@pytest.mark.parametrize("case", CASES["cases"], ids=[case["name"] for case in CASES["cases"]])
def test_each_shared_case_decodes_as_it_states(case: dict[str, Any]) -> None:
    value = case["text"].encode() if "text" in case else bytes.fromhex(case["hex"]) if "hex" in case else None
    result = decode(
        value,
        *CASES["writer_schemas"],
        kafka_timestamp_ms=CASES["kafka_timestamp_ms"],
        max_future_ms=CASES["max_future_ms"],
        max_bytes=CASES["max_bytes"],
        clock_ms=case.get("clock_ms"),
        headers=[(name, None) for name in case.get("headers", [])],
    )
    if "reason" in case:
        assert isinstance(result, Rejection)
        assert result.reason == case["reason"]
        assert result.message.startswith(case.get("field", ""))
        assert case.get("says", "") in result.message
    else:
        assert isinstance(result, Sample)
        assert result.model_dump() == case["event"]


FOREIGN, LISTS = CASES["foreign"], CASES["lists"]
SECTIONS: list[tuple[dict[str, Any], type[Contract]]] = [(FOREIGN, Foreign), (LISTS, Basket)]
NESTED = [pytest.param(section, of, case, id=case["name"]) for section, of in SECTIONS for case in section["cases"]]


@pytest.mark.parametrize(("section", "of", "case"), NESTED)
def test_what_others_write_decodes_as_each_shared_case_states(
    section: dict[str, Any], of: type[Contract], case: dict[str, Any]
) -> None:
    value = case["text"].encode() if "text" in case else bytes.fromhex(case["hex"])
    result = decode(value, *section["writer_schemas"], of=of)
    if "reason" in case:
        assert isinstance(result, Rejection)
        assert result.reason == case["reason"]
        assert result.message.startswith(f"{case['field']}: " if case.get("field") else "")
        assert case.get("says", "") in result.message
    else:
        assert not isinstance(result, Rejection), result.message
        assert result.model_dump() == section["event"] | case["event"]


FRAMED = json.loads(Path(__file__).with_name("framed_cases.json").read_text(encoding="utf-8"))
FRAMED_PARTS: list[tuple[type[Contract], dict[str, Any]]] = [(Framed, FRAMED), (FramedLists, FRAMED["lists"])]
FRAMED_CASES = [pytest.param(of, part, case, id=case["name"]) for of, part in FRAMED_PARTS for case in part["cases"]]


@pytest.fixture(scope="module")
def framed_registry() -> Iterator[RegistrySchemas]:
    with fake_registry() as registry:
        registry.schemas += FRAMED["schemas"]
        yield RegistrySchemas(registry.url, sleep=lambda _: None)


@pytest.mark.parametrize(("of", "part", "case"), FRAMED_CASES)
def test_what_confluent_frames_decodes_as_each_shared_case_states(
    framed_registry: RegistrySchemas, of: type[Contract], part: dict[str, Any], case: dict[str, Any]
) -> None:
    result = decode(bytes.fromhex(case["hex"]), of=of, registry=framed_registry)
    if "reason" in case:
        assert isinstance(result, Rejection), result
        assert result.reason == case["reason"]
        assert result.message.startswith(f"{case['field']}: " if case.get("field") else "")
        assert case.get("says", "") in result.message
    else:
        assert not isinstance(result, Rejection), result.message
        assert result.model_dump() == part["event"] | case["event"]


@pytest.mark.parametrize(("section", "of"), SECTIONS, ids=["foreign", "lists"])
def test_the_cases_of_others_have_the_fields_and_the_schema_of_their_contract(
    section: dict[str, Any], of: type[Contract]
) -> None:
    fields = contract_fields(of)
    assert section["fields"] == [field.model_dump(mode="json", exclude_defaults=True) for field in fields]
    assert section["writer_schemas"][0] == contract_schema(of)
    assert fields_of(section["writer_schemas"][0]) == fields


def test_the_shared_cases_have_the_fields_of_the_sample_contract() -> None:
    assert CASES["fields"] == [field.model_dump(mode="json") for field in contract_fields(Sample)]
    assert fields_of(CASES["writer_schemas"][1]) == contract_fields(Sample)


@FOUND_BY_HYPOTHESIS
@given(events)
def test_avro_decodes_to_the_encoded_event(event: dict[str, Any]) -> None:
    assert Decoder(SCHEMA).decode(Encoder(SCHEMA).encode(event)) == event


@FOUND_BY_HYPOTHESIS
@given(events)
def test_avro_and_json_of_an_event_are_the_same_event(event: dict[str, Any]) -> None:
    avro = decode(Encoder(SCHEMA).encode(event), SCHEMA)
    assert avro == decode(json.dumps(event).encode()) == Sample(**event)


@FOUND_BY_HYPOTHESIS
@given(
    st.binary(max_size=64), st.sampled_from([b"", b"\x00", b"\x00\x00\x00\x00\x01", b"\xc3\x01" + fingerprint(SCHEMA)])
)
def test_garbage_is_refused_and_never_raises(garbage: bytes, header: bytes) -> None:
    result = decode(header + garbage, SCHEMA, registry=lambda _: parse_avro(SCHEMA))
    assert isinstance(result, Rejection | Sample)


@FOUND_BY_HYPOTHESIS
@given(events, st.data())
def test_a_flipped_bit_never_raises(event: dict[str, Any], data: st.DataObject) -> None:
    value = bytearray(Encoder(SCHEMA).encode(event))
    position = data.draw(st.integers(0, len(value) - 1))
    value[position] ^= 1 << data.draw(st.integers(0, 7))
    assert isinstance(decode(bytes(value), SCHEMA), Rejection | Sample)


@pytest.mark.parametrize("field", ["card", "amount", "channel", "country"])
def test_a_rejection_never_quotes_a_value(field: str) -> None:
    secret = "4111-1111-SECRET"
    bad = json.dumps({**SAMPLE_EVENT, field: [secret]}).encode()
    for value in (bad, bad[:-1], bad.replace(b"SECRET", b"SECR\xffET"), bad + secret.encode()):
        result = decode(value)
        assert isinstance(result, Rejection)
        assert "SECR" not in result.message


@pytest.mark.parametrize("field", contract_fields(Foreign), ids=lambda field: field.name)
def test_a_rejection_of_a_nested_or_converted_value_never_quotes_it(field: ContractField) -> None:
    secret = "4111-1111-SECRET"
    for value in ([secret], {secret: secret}, secret * 3):
        event = json.loads(FOREIGN["cases"][0]["text"])
        for depth in range(1, len(field.place) + 1):
            place(event, field.model_copy(update={"at": field.place[:depth]}), value)
            result = decode(json.dumps(event).encode(), of=Foreign)
            assert "SECR" not in str(result) or not isinstance(result, Rejection)
            event = json.loads(FOREIGN["cases"][0]["text"])


def test_a_row_has_nested_personal_values_hashed_or_dropped() -> None:
    event = Foreign(**FOREIGN["event"] | {"holder": "A Name"})
    row = event_row(event, Foreign, b"key")
    assert (row["card"], row["holder"]) == (pii_hash(b"key", "4111"), None)


def test_an_encoder_writes_marker_fingerprint_and_datum() -> None:
    value = Encoder(SCHEMA).encode(SAMPLE_EVENT)
    assert value.startswith(b"\xc3\x01" + fingerprint(SCHEMA) + b"\x04e1")


def test_an_encoder_drops_the_bytes_of_a_longer_earlier_record() -> None:
    encoder = Encoder(SCHEMA)
    long, short = {**SAMPLE_EVENT, "card": "x" * 1000}, SAMPLE_EVENT
    encoder.encode(long)
    assert encoder.encode(short) == Encoder(SCHEMA).encode(short)


def test_an_encoder_recovers_from_a_record_that_did_not_fit() -> None:
    encoder = Encoder(SCHEMA)
    with pytest.raises(TypeError):
        encoder.encode({**SAMPLE_EVENT, "card": 4111})
    assert encoder.encode(SAMPLE_EVENT) == Encoder(SCHEMA).encode(SAMPLE_EVENT)


def test_a_decoder_uses_the_writers_schema() -> None:
    old = {"type": "record", "name": "r", "fields": [{"name": "a", "type": "long"}]}
    new = {"type": "record", "name": "r", "fields": [{"name": "a", "type": "string"}]}
    decoder = Decoder(old, new)
    assert decoder.decode(Encoder(old).encode({"a": 1})) == {"a": 1}
    assert decoder.decode(Encoder(new).encode({"a": "x"})) == {"a": "x"}


def test_an_unknown_schema_error_names_the_record_and_the_known_fingerprints() -> None:
    value = Encoder(SCHEMA).encode(SAMPLE_EVENT)
    with pytest.raises(UnknownSchema) as error:
        Decoder("long").decode(value, where="features.fraud[2]@17")
    assert error.value.where == "features.fraud[2]@17"
    assert fingerprint(SCHEMA).hex() in error.value.what
    assert fingerprint("long").hex() in error.value.what


def test_an_undecodable_error_names_the_record() -> None:
    with pytest.raises(Undecodable) as error:
        Decoder(SCHEMA).decode(Encoder(SCHEMA).encode(SAMPLE_EVENT)[:-1], where="features.fraud[2]@17")
    assert error.value.where == "features.fraud[2]@17"


def test_times_stay_epoch_milliseconds() -> None:
    assert Decoder(SCHEMA).decode(Encoder(SCHEMA).encode(SAMPLE_EVENT))["event_time"] == NOW_MS


def test_confluent_framing_is_read_with_the_registrys_schema() -> None:
    datum = Encoder(SCHEMA).encode(SAMPLE_EVENT)[10:]
    requested: list[int] = []

    def registry(schema_id: int) -> Any:
        requested.append(schema_id)
        return parse_avro(SCHEMA)

    assert decode(b"\x00\x00\x00\x01\x02" + datum, registry=registry) == Sample(**SAMPLE_EVENT)
    assert requested == [258]


def test_a_confluent_id_that_the_registry_does_not_know_is_an_unknown_schema() -> None:
    def registry(schema_id: int) -> Any:
        raise UnknownSchema("no such id")

    result = decode(b"\x00\x00\x00\x00\x07abc", registry=registry)
    assert result == Rejection("penstock.UnknownSchema", "decode", "no such id")


def test_an_unreachable_registry_raises_instead_of_refusing_the_event() -> None:
    def registry(schema_id: int) -> Any:
        raise PenstockError("the schema registry cannot be reached")

    with pytest.raises(PenstockError, match="cannot be reached"):
        decode(b"\x00\x00\x00\x00\x07abc", registry=registry)


def test_an_event_row_has_personal_values_hashed_or_dropped() -> None:
    row = event_row(Sample(**SAMPLE_EVENT), Sample, b"key")
    assert row == {**SAMPLE_EVENT, "card": pii_hash(b"key", "4111"), "country": None}
    assert row["card"] != event_row(Sample(**SAMPLE_EVENT), Sample, b"other key")["card"]
