"""Events of a backfill whose model takes inputs of other pipelines: as they were served, else the declared defaults."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from backfill.scores.events import Events, RecomputedEvents
from backfill.served_inputs import defaults_of
from penstock.kafka.reading import Record
from tests.backfill.scores.world import FakeTopics
from tests.backfill.test_served_inputs import OTHERS, PIPELINE, PROJECT, REFERENCE, VECTOR, features, predicted
from tests.backfills import write_backfill

TOPIC = PIPELINE.predictions_topic


def events(folder: Path, *records: Record) -> Events:
    topics = FakeTopics(lambda topic, **_: iter(records if topic == TOPIC else ()), lambda _: {})
    backfill = write_backfill(PIPELINE, folder, [features(5), features(6)])
    source = RecomputedEvents(PROJECT, backfill, topics, {0: (0, 9)}, 0, 2**62, (), folder)
    (found,) = source.events(0, 0)
    return found


def test_an_event_has_the_inputs_that_it_was_served_with_and_another_the_defaults(tmp_path: Path) -> None:
    found = events(tmp_path, predicted(5))
    np.testing.assert_array_equal(found.vectors[0][OTHERS], VECTOR[OTHERS])
    np.testing.assert_array_equal(found.vectors[1][OTHERS], defaults_of(PROJECT))
    assert found.defaulted.tolist() == [False, True]
    assert [one.decision is None for one in found.served] == [False, True]


def test_predictions_of_another_definition_do_not_count(tmp_path: Path) -> None:
    view = REFERENCE | {"view": "cards:by_card@1"}
    found = events(tmp_path, predicted(5, views=[view]), predicted(6, model="earlier"))
    assert found.defaulted.tolist() == [True, True]
    assert found.served[0].decision is None
