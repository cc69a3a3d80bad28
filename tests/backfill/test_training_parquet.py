"""Rows of a training set from backfills, and backfills that do not fit the model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest

from backfill.parquet import Backfill
from backfill.training_parquet import VectorReader, feature_rows, read_training_set, require_fit
from penstock import ENTITY, EVENT_ID, EVENT_TIME, Contract, Entity, Model, Pipeline, Source, View, count, mean
from penstock.errors import PenstockError
from scoring.training_set import FeatureRow, view_versions
from scoring.vectors import Vectorizer
from streams.plan.compiler import compile_plan
from streams.plan.project import Project
from tests.backfill.training_sets.worlds import OPINIONS, Event, Label, World
from tests.backfills import write_backfill


class Tap(Contract, name="tap_for_training", version=1):
    """A tap."""

    id: Annotated[str, EVENT_ID]
    time: Annotated[int, EVENT_TIME]
    card: Annotated[str, ENTITY]
    amount: float | None
    at_night: bool
    weight: float | None = None


CARD = Entity(name="card", key="card")
INPUTS = ("taps.amount_mean_1h", "event.amount", "event.at_night", "taps.count_1h")


def project_of(definition: Pipeline) -> Project:
    return Project.of(definition, Path("nothing is committed"))


def pipeline(version: int = 1, name: str = "taps", inputs: tuple[str, ...] = INPUTS) -> Pipeline:
    taps = View(name="taps", version=version, entity=CARD, aggregates=(count(over="1h"), mean("amount", over="1h")))
    other = View(name="other", version=1, entity=CARD, aggregates=(count(over="1d"),))
    return Pipeline(
        name=name,
        source=Source(topic="events.taps", contract=Tap, key="card"),
        entities=(CARD,),
        views=(taps, other),
        model=Model(name="taps", inputs=inputs, threshold=0.5, positive="block", negative="pass"),
    )


def features(**changes: Any) -> dict[str, Any]:
    view = {"entity": "c", "epoch": 1, "seq": 1, "as_of": 1_200, "late": False}
    body = {
        "event_id": "t1",
        "event_time": 1_000,
        "trigger": "event",
        "attempt": 0,
        "source": {"topic": "events.taps", "partition": 3, "offset": 5, "timestamp": 90},
        "event": {"amount": 2.5, "at_night": True},
        "taps": view | {"count_1h": 3, "amount_mean_1h": None},
        "other": view | {"as_of": 9_999, "count_1d": 3},
    }
    return body | changes


def rows(backfill: Backfill) -> list[FeatureRow]:
    views = view_versions(compile_plan(pipeline()), INPUTS)
    return list(feature_rows(VectorReader(INPUTS), views, backfill.batches()))


def test_a_row_becomes_its_vector_in_the_order_of_the_models_inputs(tmp_path: Path) -> None:
    (row,) = rows(write_backfill(pipeline(), tmp_path, [features()]))
    assert row.event_id == "t1"
    np.testing.assert_array_equal(row.vector, np.array([np.nan, 2.5, 1, 3], dtype=np.float32))
    assert (row.event_time_ms, row.position) == (1_000, (90, 3, 5))


def test_a_row_has_its_source_partition(tmp_path: Path) -> None:
    (row,) = rows(write_backfill(pipeline(), tmp_path, [features()]))
    assert row.partition == 3


def test_known_at_is_the_latest_as_of_of_the_models_views(tmp_path: Path) -> None:
    (row,) = rows(write_backfill(pipeline(), tmp_path, [features()]))
    assert row.known_at_ms == 1_200


def test_an_event_without_the_entity_of_a_view_has_nulls_for_its_features(tmp_path: Path) -> None:
    (row,) = rows(write_backfill(pipeline(), tmp_path, [features(taps=None)]))
    np.testing.assert_array_equal(row.vector, np.array([np.nan, 2.5, 1, np.nan], dtype=np.float32))
    assert row.known_at_ms == row.event_time_ms


@pytest.mark.parametrize("amount", [None, 0.1, -0.0, 1e300, 16_777_217.0, 5e-324])
@pytest.mark.parametrize("number", [0, 2**53 + 1, -(2**62)])
def test_vectors_equal_those_of_the_scorer(tmp_path: Path, amount: float | None, number: int) -> None:
    view = {"entity": "c", "epoch": 1, "seq": 1, "as_of": 1, "late": False}
    record = features(
        event={"amount": amount, "at_night": False}, taps=view | {"count_1h": number, "amount_mean_1h": amount}
    )
    (row,) = rows(write_backfill(pipeline(), tmp_path, [record]))
    (expected,) = Vectorizer(INPUTS).vectors([record])
    assert row.vector.tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("definition", "views", "says"),
    [
        (pipeline(name="another"), (), "it is of pipeline taps"),
        (pipeline(version=2), (), "view taps is 1:"),
        (pipeline(), ("other",), "it has no view taps"),
        (pipeline(inputs=(*INPUTS, "event.weight")), (), "it has no column event.weight"),
    ],
)
def test_a_backfill_that_does_not_fit_the_model_is_refused(
    tmp_path: Path, definition: Pipeline, views: tuple[str, ...], says: str
) -> None:
    backfill = write_backfill(pipeline(), tmp_path, [features()], views)
    with pytest.raises(PenstockError, match=says):
        require_fit(project_of(definition), view_versions(compile_plan(definition), definition.model.inputs), backfill)


def test_a_backfill_with_only_the_models_views_fits(tmp_path: Path) -> None:
    backfill = write_backfill(pipeline(), tmp_path, [features()], ("taps",))
    require_fit(project_of(pipeline()), view_versions(compile_plan(pipeline()), INPUTS), backfill)


def test_a_pipeline_without_labels_is_refused(tmp_path: Path) -> None:
    backfill = write_backfill(pipeline(), tmp_path, [features()])
    with pytest.raises(PenstockError, match="declares no labels"):
        read_training_set(project_of(pipeline()), lambda _: iter(()), backfill)


def test_labels_of_several_sources_are_read_and_those_that_count_are_counted_by_topic(tmp_path: Path) -> None:
    labels = [Label("a", 7, True), Label("a", 8, False, source=1), Label("b", 9, False, source=1)]
    world = World([Event("a", 5, 5), Event("b", 6, 6)], labels, {"otherwise": (OPINIONS,)})
    found = read_training_set(world.project(), world.records, world.backfill(tmp_path / "backfill"))
    assert found.y.tolist() == [1, 0]
    assert found.label_sources == {"labels.taps": 1, "labels.opinions": 1}
    assert found.recipe is not None
    assert {topic: of.records for topic, of in found.recipe.topics.items()} == {"labels.taps": 1, "labels.opinions": 2}
