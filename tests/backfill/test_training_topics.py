"""Records of the features and labels topics to rows, from real bytes."""

from __future__ import annotations

import json
from typing import Annotated, Any

import numpy as np
import pytest

from backfill.topics import Record
from backfill.training_topics import FeatureReader, LabelReader, training_set_from_topics
from penstock import ENTITY, EVENT_ID, EVENT_TIME, Contract, Entity, Labels, Model, Pipeline, Source, View, count, mean
from penstock.errors import PenstockError
from schemas.avro import contract_schema
from schemas.codec import Encoder
from schemas.records import features_schema
from streams.plan import plan


class Tap(Contract, name="tap_for_training", version=1):
    """A tap."""

    id: Annotated[str, EVENT_ID]
    time: Annotated[int, EVENT_TIME]
    card: Annotated[str, ENTITY]
    amount: float | None
    at_night: bool


class Verdict(Contract, name="verdict_for_training", version=1):
    """What a tap turned out to be; null takes a verdict back."""

    tap: Annotated[str, EVENT_ID]
    known_at: Annotated[int, EVENT_TIME]
    fraud: bool | None


class Points(Contract, name="points_for_training", version=1):
    """A verdict as a number."""

    tap: Annotated[str, EVENT_ID]
    known_at: Annotated[int, EVENT_TIME]
    fraud: float


class Prose(Contract, name="prose_for_training", version=1):
    """A verdict in words."""

    tap: Annotated[str, EVENT_ID]
    known_at: Annotated[int, EVENT_TIME]
    fraud: str


CARD = Entity(name="card", key="card")


def view(version: int = 1) -> View:
    return View(name="taps", version=version, entity=CARD, aggregates=(count(over="1h"), mean("amount", over="1h")))


def pipeline(labels: type[Contract] | None = Verdict, version: int = 1, extra: tuple[View, ...] = ()) -> Pipeline:
    return Pipeline(
        name="taps",
        source=Source(topic="events.taps", contract=Tap, key="card"),
        entities=(CARD,),
        views=(view(version), *extra),
        model=Model(
            name="taps",
            inputs=("taps.amount_mean_1h", "event.amount", "event.at_night", "taps.count_1h"),
            threshold=0.5,
            positive="block",
            negative="pass",
        ),
        labels=Labels(topic="labels.taps", contract=labels, value="fraud") if labels else None,
    )


def record(value: bytes | None, offset: int = 0, timestamp: int = 100) -> Record:
    return Record(partition=1, offset=offset, timestamp=timestamp, key=None, value=value, headers=())


def features(definition: Pipeline, **changes: Any) -> bytes:
    body = {
        "event_id": "t1",
        "event_time": 1_000,
        "trigger": "event",
        "attempt": 0,
        "source": {"topic": "events.taps", "partition": 1, "offset": 5, "timestamp": 90},
        "event": {"amount": 2.5, "at_night": True},
        "taps": {
            "entity": "c",
            "epoch": 1,
            "seq": 1,
            "as_of": 1_200,
            "late": False,
            "count_1h": 3,
            "amount_mean_1h": None,
        },
    }
    return Encoder(features_schema(plan(definition))).encode(body | changes)


def labels(*values: bytes | None, contract: type[Contract] = Verdict) -> tuple[list[Any], LabelReader]:
    reader = LabelReader(Labels(topic="labels.taps", contract=contract, value="fraud"))
    return list(reader.rows(record(value, offset) for offset, value in enumerate(values))), reader


def verdict(value: Any, known_at: int = 2_000) -> bytes:
    return json.dumps({"tap": "t1", "known_at": known_at, "fraud": value}).encode()


def test_a_feature_record_becomes_its_vector_in_the_order_of_the_models_inputs():
    reader = FeatureReader(pipeline())
    (row,) = reader.rows([record(features(pipeline()), offset=7)])
    assert row.event_id == "t1"
    np.testing.assert_array_equal(row.vector, np.array([np.nan, 2.5, 1, 3], dtype=np.float32))
    assert (row.event_time_ms, row.known_at_ms) == (1_000, 1_200)
    assert row.position == (90, 1, 7)


def test_an_event_without_the_entity_of_a_view_has_nulls_for_its_features():
    (row,) = FeatureReader(pipeline()).rows([record(features(pipeline(), taps=None))])
    np.testing.assert_array_equal(row.vector, np.array([np.nan, 2.5, 1, np.nan], dtype=np.float32))
    assert row.known_at_ms == row.event_time_ms


def test_a_record_that_a_timer_triggered_is_no_event():
    reader = FeatureReader(pipeline())
    assert list(reader.rows([record(features(pipeline(), trigger="timer"))])) == []
    assert reader.refused.count == 0


def test_more_records_than_a_batch_all_come_out_in_order():
    values = [record(features(pipeline(), event_id=f"t{i}"), offset=i) for i in range(2_500)]
    assert [row.event_id for row in FeatureReader(pipeline()).rows(values)] == [f"t{i}" for i in range(2_500)]


def test_a_record_of_another_view_version_is_left_out_and_counted(caplog):
    reader = FeatureReader(pipeline(version=2))
    rows = list(reader.rows([record(features(pipeline(version=1)), offset=3), record(features(pipeline(version=2)))]))
    assert len(rows) == 1
    assert reader.refused.count == 1
    assert "features.taps[1]@3: written with other view versions" in caplog.text


@pytest.mark.parametrize("value", [None, b"", b"garbage", b"\xc3\x01short"])
def test_a_record_that_cannot_be_read_is_left_out_and_counted(value):
    reader = FeatureReader(pipeline())
    assert list(reader.rows([record(value)])) == []
    assert reader.refused.count == 1


def test_labels_are_read_from_json_and_from_single_object_avro():
    avro = Encoder(contract_schema(Verdict)).encode({"tap": "t1", "known_at": 2_000, "fraud": True})
    rows, _ = labels(verdict(True), avro)
    assert [(row.event_id, row.known_at_ms, row.value) for row in rows] == [("t1", 2_000, True)] * 2
    assert [row.position for row in rows] == [(100, 1, 0), (100, 1, 1)]


def test_a_null_label_is_read_as_taken_back():
    rows, reader = labels(verdict(None))
    assert rows[0].value is None
    assert reader.refused.count == 0


def test_labels_that_break_their_contract_are_left_out_counted_and_logged_without_values(caplog):
    rows, reader = labels(b"{", None, verdict("secret"), verdict(True, known_at="yesterday"), verdict(False))
    assert [row.value for row in rows] == [False]
    assert reader.refused.count == 4
    assert "labels.taps[1]@2: fraud" in caplog.text
    assert "secret" not in caplog.text


def test_a_number_is_a_label_if_it_is_0_or_1():
    rows, reader = labels(verdict(1.0), verdict(0.0), verdict(0.5), contract=Points)
    assert [row.value for row in rows] == [True, False]
    assert reader.refused.count == 1


def test_many_refusals_are_counted_and_few_are_logged(caplog):
    _, reader = labels(*[b"{"] * 100)
    assert reader.refused.count == 100
    assert len(caplog.records) == 5


def test_a_label_in_words_is_refused_before_anything_is_read():
    with pytest.raises(PenstockError, match="cannot be joined"):
        LabelReader(Labels(topic="labels.taps", contract=Prose, value="fraud"))


def test_a_label_field_that_does_not_exist_is_refused():
    with pytest.raises(PenstockError, match="a field 'guilt'"):
        LabelReader(Labels(topic="labels.taps", contract=Verdict, value="guilt"))


def test_a_pipeline_without_labels_is_a_clear_error():
    with pytest.raises(PenstockError, match="declares no labels"):
        training_set_from_topics(pipeline(labels=None), "127.0.0.1:1")


def test_a_record_from_before_an_unrelated_view_was_added_still_serves(monkeypatch):
    grown = pipeline(extra=(View(name="other", version=1, entity=CARD, aggregates=(count(over="1d"),)),))
    both = [features_schema(plan(pipeline())), features_schema(plan(grown))]
    monkeypatch.setattr("backfill.training_topics.features_writer_schemas", lambda _: both)
    assert len(list(FeatureReader(grown).rows([record(features(pipeline()))]))) == 1
