"""A training set has inputs of other pipelines as predictions say that they were served."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest

from backfill.served_inputs import ServedInputs, defaults_of, served_inputs
from backfill.training_parquet import read_training_set
from penstock import EVENT_ID, EVENT_TIME, Contract, Labels
from penstock.errors import PenstockError
from penstock.kafka.reading import Record
from schemas.categories import code_of
from schemas.codec import Encoder
from schemas.records import PREDICTION_SCHEMA
from scoring.training_set import FeatureRow, TrainingSet
from streams.definitions.cascade import Cascade
from streams.plan.compiler import compile_plan
from streams.plan.project import Project
from tests.backfills import write_backfill
from tests.other_pipelines import INPUTS, resolved, taps
from tests.sinks.payments import prediction


class Verdict(Contract, name="verdict_on_tap", version=1):
    """What a tap turned out to be."""

    id: Annotated[str, EVENT_ID]
    known_at: Annotated[int, EVENT_TIME]
    fraud: float


PIPELINE = taps().model_copy(update={"labels": Labels(topic="labels.taps", contract=Verdict, value="fraud")})
PROJECT = Project("taps", PIPELINE, compile_plan(PIPELINE), Path("nothing is committed"), resolved(PIPELINE))
VECTOR = np.arange(len(INPUTS), dtype="<f4")
OTHERS = [place for place, name in enumerate(INPUTS) if ":" in name]
REFERENCE = {"view": "cards:by_card@2", "entity": "c1", "epoch": 1, "seq": 1, "as_of": 70}
NL = code_of(b"NL")


def predicted(offset: int, **changes: Any) -> Record:
    source = {"topic": "events.taps", "partition": 3, "offset": offset, "timestamp": 90}
    value = {"model": "taps", "vector": VECTOR.tobytes(), "views": [REFERENCE], "source": source, **changes}
    return Record(3, offset, 0, b"k", Encoder(PREDICTION_SCHEMA).encode(prediction(**value)), [])


def row(offset: int = 5, known_at_ms: int = 50) -> FeatureRow:
    vector = np.full(len(INPUTS), np.nan, np.float32)
    return FeatureRow("t1", 40, known_at_ms, 3, (90, 3, offset), vector)


def served(*records: Record) -> ServedInputs:
    return served_inputs(PROJECT, records)


def test_a_row_gets_the_inputs_of_other_pipelines_from_its_prediction_and_no_others() -> None:
    (found,) = served(predicted(5)).rows([row()])
    np.testing.assert_array_equal(found.vector[OTHERS], VECTOR[OTHERS])
    assert np.isnan(np.delete(found.vector, OTHERS)).all()


@pytest.mark.parametrize(("known_at_ms", "latest"), [(50, 70), (90, 90)])
def test_a_row_was_known_when_the_latest_vector_that_was_served_was(known_at_ms: int, latest: int) -> None:
    (found,) = served(predicted(5)).rows([row(known_at_ms=known_at_ms)])
    assert found.known_at_ms == latest


def test_a_prediction_to_which_nothing_was_served_has_the_defaults_that_it_was_made_with() -> None:
    defaulted = [{"view": "cards:by_card", "reason": "MISSING"}]
    (found,) = served(predicted(5, views=[], defaulted=defaulted, event_time=40)).rows([row()])
    np.testing.assert_array_equal(found.vector[OTHERS], VECTOR[OTHERS])
    assert found.known_at_ms == 50


def test_a_prediction_by_the_strong_model_of_a_cascade_counts() -> None:
    model = PIPELINE.model.model_copy(update={"cascade": Cascade(strong="big")})
    project = replace(PROJECT, pipeline=PIPELINE.model_copy(update={"model": model}))
    (found,) = served_inputs(project, [predicted(5, model="big")]).rows([row()])
    np.testing.assert_array_equal(found.vector[OTHERS], VECTOR[OTHERS])


@pytest.mark.parametrize(
    "other",
    [
        predicted(6),
        predicted(5, model="earlier"),
        predicted(5, views=[REFERENCE | {"view": "cards:by_card@1"}]),
        Record(3, 5, 0, b"k", b"junk", []),
        Record(3, 5, 0, b"k", None, []),
    ],
)
def test_a_row_without_a_prediction_of_these_inputs_is_left_out_and_counted(other: Record) -> None:
    found = served(other)
    assert list(found.rows([row()])) == []
    assert found.unserved == 1


def test_the_defaults_are_as_the_scorer_makes_them() -> None:
    np.testing.assert_array_equal(defaults_of(PROJECT), np.array([0, code_of(b"??"), np.nan, 0], np.float32))


def features(offset: int) -> dict[str, Any]:
    return {
        "event_id": f"t{offset}",
        "event_time": 40 + offset,
        "trigger": "event",
        "attempt": 0,
        "source": {"topic": "events.taps", "partition": 3, "offset": offset, "timestamp": 90},
        "event": {"card": "c1", "gate": 7},
        "by_gate": None,
    }


@pytest.fixture
def training_set(tmp_path: Path) -> Any:
    backfill = write_backfill(PIPELINE, tmp_path, [features(0), features(1), features(2)])

    def read(*predictions: Record, **options: Any) -> TrainingSet:
        truth = [{"id": f"t{n}", "known_at": 1_800_000_000_000, "fraud": float(n == 0)} for n in range(3)]
        truth.append({"id": "t9", "known_at": 1_800_000_000_000, "fraud": 12.5})
        labels = [Record(0, n, 0, b"k", json.dumps(label).encode(), []) for n, label in enumerate(truth)]
        topics: dict[str, Iterable[Record]] = {"labels.taps": labels, "predictions.taps": predictions}
        return read_training_set(PROJECT, lambda topic: iter(topics[topic]), backfill, None, **options)

    return read


def test_a_training_set_has_the_events_that_were_served_and_counts_the_others(training_set: Any) -> None:
    found = training_set(predicted(0), predicted(2))
    assert found.event_ids == ("t0", "t2")
    np.testing.assert_array_equal(found.X[:, OTHERS], [VECTOR[OTHERS]] * 2)
    np.testing.assert_array_equal(found.X[:, 0], [7, 7])
    assert (found.counts.features_read, found.counts.events_unserved, found.values_refused) == (3, 1, 1)
    assert [*found.views] == ["by_gate", "cards:by_card", "cards:by_pair"]
    assert not found.with_defaults


def test_a_first_training_set_has_the_defaults(training_set: Any) -> None:
    found = training_set(with_defaults=True)
    np.testing.assert_array_equal(found.X[:, OTHERS], [defaults_of(PROJECT)] * 3)
    assert found.with_defaults


def test_without_any_prediction_the_error_says_how_to_make_a_first_version(training_set: Any) -> None:
    with pytest.raises(PenstockError, match="no prediction of model taps has inputs of other pipelines") as refused:
        training_set()
    assert "--with-defaults" in str(refused.value.next)
