"""Which scored events may be put into the review queue."""

from __future__ import annotations

from typing import Any

from loop.review_queue import candidates
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
