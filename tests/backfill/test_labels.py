"""Label rows read from encoded records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field, ValidationError

from backfill.labels import LabelReader
from penstock import EVENT_ID, EVENT_TIME, Contract, Labels, LabelSource
from penstock.kafka.reading import Record
from schemas.avro import contract_schema, parse_avro
from schemas.codec import Encoder

SCHEMAS = Path("nothing is committed")


class Verdict(Contract, name="verdict_for_training", version=1):
    """What a tap turned out to be; null takes a verdict back."""

    tap: Annotated[str, EVENT_ID]
    known_at: Annotated[int, EVENT_TIME, Field(ge=-(2**63))]
    fraud: bool | None


class Points(Contract, name="points_for_training", version=1):
    """A verdict as a number."""

    tap: Annotated[str, EVENT_ID]
    known_at: Annotated[int, EVENT_TIME, Field(ge=-(2**63))]
    fraud: float


class Prose(Contract, name="prose_for_training", version=1):
    """A verdict in words."""

    tap: Annotated[str, EVENT_ID]
    known_at: Annotated[int, EVENT_TIME, Field(ge=-(2**63))]
    fraud: str


def record(value: bytes | None, offset: int = 0, timestamp: int = 100) -> Record:
    return Record(partition=1, offset=offset, timestamp=timestamp, key=None, value=value, headers=())


def labels(*values: bytes | None, contract: type[Contract] = Verdict, **task: Any) -> tuple[list[Any], LabelReader]:
    reader = LabelReader(Labels(topic="labels.taps", contract=contract, value="fraud", **task), SCHEMAS)
    records = [record(value, offset) for offset, value in enumerate(values)]
    return list(reader.rows({"labels.taps": records}.__getitem__)), reader


def verdict(value: Any, known_at: int = 2_000) -> bytes:
    return json.dumps({"tap": "t1", "known_at": known_at, "fraud": value}).encode()


def test_labels_are_read_from_json_and_from_single_object_avro():
    avro = Encoder(contract_schema(Verdict)).encode({"tap": "t1", "known_at": 2_000, "fraud": True})
    rows, _ = labels(verdict(True), avro)
    assert [(row.event_id, row.known_at_ms, row.value) for row in rows] == [("t1", 2_000, True)] * 2
    assert [row.position for row in rows] == [(100, 1, 0), (100, 1, 1)]


def test_a_null_label_is_read_as_taken_back():
    rows, reader = labels(verdict(None))
    assert rows[0].value is None
    assert reader.refusals == 0


def test_labels_that_break_their_contract_are_left_out_counted_and_logged_without_values(caplog):
    rows, reader = labels(b"{", None, verdict("secret"), verdict(True, known_at="yesterday"), verdict(False))
    assert [row.value for row in rows] == [False]
    assert reader.refusals == 4
    assert "labels.taps[1]@2: fraud" in caplog.text
    assert "secret" not in caplog.text


def test_a_number_is_a_label_if_it_is_0_or_1():
    rows, reader = labels(verdict(1.0), verdict(0.0), verdict(0.5), contract=Points)
    assert [row.value for row in rows] == [True, False]
    assert reader.refusals == 1


def test_labels_that_are_left_out_for_their_value_are_counted_apart():
    _, reader = labels(b"{", verdict(12.5), verdict(1.0), contract=Points)
    assert (reader.refusals, reader.refused["labels.taps"].values) == (2, 1)


def test_a_regression_takes_any_finite_number(caplog):
    infinite = Encoder(contract_schema(Points)).encode({"tap": "t1", "known_at": 2_000, "fraud": float("inf")})
    rows, reader = labels(verdict(-2.5), infinite, verdict(0), contract=Points, task="regression")
    assert [row.value for row in rows] == [-2.5, 0.0]
    assert reader.refusals == 1


def test_a_class_is_its_text():
    rows, reader = labels(verdict("stolen"), verdict(""), contract=Prose, task="multiclass", positive="stolen")
    assert [row.value for row in rows] == ["stolen", ""]
    assert reader.refusals == 0


def test_many_refusals_are_counted_and_few_are_logged(caplog):
    _, reader = labels(*[b"{"] * 100)
    assert reader.refusals == 100
    assert len(caplog.records) == 5


def test_a_text_label_is_refused_by_the_definition():
    with pytest.raises(ValidationError, match="cannot be joined"):
        Labels(topic="labels.taps", contract=Prose, value="fraud")


def test_a_label_field_that_does_not_exist_is_refused_with_the_fields_that_do():
    with pytest.raises(ValidationError, match=r"a field .guilt.*the contract has .*fraud"):
        Labels(topic="labels.taps", contract=Verdict, value="guilt")


def test_a_label_in_confluents_framing_is_read_with_the_registrys_schema():
    schema = contract_schema(Verdict)
    datum = Encoder(schema).encode({"tap": "t1", "known_at": 2_000, "fraud": True})[10:]
    ids = {7: parse_avro(schema)}
    reader = LabelReader(Labels(topic="labels.taps", contract=Verdict, value="fraud"), SCHEMAS, ids.__getitem__)
    rows = list(reader.rows(lambda _: [record(b"\x00\x00\x00\x00\x07" + datum)]))
    assert [(row.event_id, row.value) for row in rows] == [("t1", True)]


def test_of_several_sources_each_is_read_by_its_own_contract_and_counted_apart():
    more = LabelSource(topic="labels.points", contract=Points, value="fraud")
    reader = LabelReader(Labels(topic="labels.taps", contract=Verdict, value="fraud", otherwise=(more,)), SCHEMAS)
    records = {"labels.points": [record(verdict(1.0)), record(b"{", 1)], "labels.taps": [record(verdict(False))]}
    assert [(row.source, row.value) for row in reader.rows(records.__getitem__)] == [(0, False), (1, True)]
    assert {topic: of.count for topic, of in reader.refused.items()} == {"labels.taps": 0, "labels.points": 1}
