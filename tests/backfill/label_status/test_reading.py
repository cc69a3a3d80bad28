"""Events and labels are read from their topics, each event once, and what cannot be read is counted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from backfill.label_status import reading
from backfill.label_status.reading import EventColumns, read_features, read_labels, read_predictions
from penstock.kafka.reading import Record
from schemas.columns import ColumnReader, Columns
from scoring.rollout.sample import hashes
from tests.backfill.training_sets.worlds import Event, Label, World
from tests.scoring.rollout.rollout_records import BEGIN_MS, Records, canary, change_to, define_rollout

WORLD = World(
    [
        Event("a", 5, 5),
        Event("b", 3, 3, score=0.9),
        Event("a", 9, 9, score=0.7),
        Event("unscored", 1, 1, score=None),
    ],
    [Label("a", 7, True, 90), Label("a", 8, None, 91), Label("b", 4, False, 3), Label("c", 2, 7)],
)


class OfAnotherSchema(ColumnReader):
    """Knows no record."""

    def locate(self, values: Sequence[bytes]) -> Columns:
        columns = super().locate(values)
        columns.plain = np.zeros(len(values), np.bool_)
        return columns


def by_id(events: EventColumns, *ids: str) -> list[tuple[int, bool]]:
    found = {one: (time, hides) for one, time, hides in zip(*(column.tolist() for column in events[:3]), strict=True)}
    return [found[one] for one in hashes("event", ids)[0].tolist()]


@pytest.mark.parametrize("plain", [True, False], ids=["in columns", "of an earlier schema"])
def test_an_event_has_its_earliest_time_and_whether_its_decision_hides_the_outcome(
    *, plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not plain:
        monkeypatch.setattr(reading, "ColumnReader", OfAnotherSchema)
    garbage = [Record(0, 9, 0, None, value, ()) for value in (b"garbage", None)] if plain else []
    events = read_predictions([*WORLD.records("predictions.taps"), *garbage], "block")
    assert len(events.ids) == 2
    assert by_id(events, "a", "b") == [(5, False), (3, True)]
    assert events.refused == len(garbage)


def test_no_records_are_no_events() -> None:
    assert len(read_predictions([], None).ids) == 0


def test_features_say_which_events_there_are_before_anything_is_scored(tmp_path) -> None:
    project = define_rollout(tmp_path, "status", 1)
    records = Records(project, change_to(canary(project, 0.5, 1)))
    values = [*map(records.features, (0, 1, 1)), b"garbage"]
    events = read_features(project, [Record(0, n, 0, None, value, ()) for n, value in enumerate(values)])
    assert by_id(events, "event-0", "event-1") == [(BEGIN_MS, False), (BEGIN_MS + 2_000, False)]
    assert (len(events.ids), events.refused) == (2, 1)


def test_labels_have_their_rank_and_what_they_reach() -> None:
    labels = WORLD.project().pipeline.labels
    assert labels is not None
    found = read_labels(labels, WORLD.project(), WORLD.records)[0]
    assert found.rows["event"].tolist() == hashes("event", ["a", "a", "b"])[0].tolist()
    assert found.rows["time"].tolist() == [7, 8, 4]
    assert found.rows["offset"].tolist() == [0, 1, 2]
    np.testing.assert_array_equal(found.rows["value"], [1, np.nan, 0])
    assert (found.reached_ms, found.refused, found.classes) == (8, 1, ())


def test_classes_are_numbered_as_they_come() -> None:
    declared = {"value": "kind", "task": "multiclass", "positive": "x"}
    world = World([], [Label("a", 1, "y"), Label("b", 1, "x"), Label("c", 1, "y")], declared)
    labels = world.project().pipeline.labels
    assert labels is not None
    found = read_labels(labels, world.project(), world.records)[0]
    assert (found.classes, found.rows["value"].tolist()) == (("y", "x"), [0, 1, 0])
