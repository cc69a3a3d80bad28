"""Which scored events may be put into the review queue."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from loop.review_queue import candidates
from tests.backfill.training_sets.worlds import OPINIONS, Event, Label, World
from tests.loop.taps import BEGIN_MS, HORIZON_MS, STEP_MS, FakeTopics, Taps, define

_ALL = (0, 2**62)


def test_only_events_whose_label_would_still_count_are_asked_for(tmp_path):
    taps = Taps(define(tmp_path))
    taps.write(HORIZON_MS // STEP_MS + 500)
    topics: Any = FakeTopics(taps)
    found = candidates(taps.project, topics, *_ALL, None)
    newest = BEGIN_MS + (taps.written - 1) * STEP_MS
    assert len(found) == HORIZON_MS // STEP_MS
    assert min(one.event_time for one in found) == newest - HORIZON_MS + STEP_MS


def test_events_of_the_range_are_candidates_and_labelled_ones_are_known(tmp_path):
    taps = Taps(define(tmp_path))
    taps.write(400)
    taps.publish_labels()
    topics: Any = FakeTopics(taps)
    found = candidates(taps.project, topics, BEGIN_MS + 100 * STEP_MS, BEGIN_MS + 200 * STEP_MS, None)
    assert len(found) == 100
    assert 0 < sum(one.is_labelled for one in found) < 100
    assert found[0].place == "events.taps_x[0]@100"


def test_an_event_has_a_label_if_any_source_says_something():
    labels = [Label("a", 7, True), Label("a", 9, None, source=1), Label("b", 7, None), Label("b", 1, False, source=1)]
    labels += [Label("c", 7, None), Label("c", 3, True), Label("d", 9, None, source=1)]
    world = World([Event(name, n, n) for n, name in enumerate("abcd")], labels, {"otherwise": (OPINIONS,)})
    topics: Any = SimpleNamespace(
        starts=lambda *_: None, read=lambda topic, **_: () if "shadow" in topic else world.records(topic)
    )
    found = candidates(world.project(), topics, *_ALL, None)
    assert {one.event_id for one in found if one.is_labelled} == {"a", "b"}
