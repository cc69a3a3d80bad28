"""By which events a model's quality is judged."""

from __future__ import annotations

import pytest

from verify.measured import Measured


@pytest.mark.parametrize(("time", "is_judged"), [(100, False), (101, True), (10**12, True)])
def test_events_later_than_the_training_are_judged(time: int, is_judged: bool) -> None:
    measured = Measured(events_per_s=1.0, latencies_ms=[], trained_until_ms=100)
    assert measured.is_judged(time) == is_judged


@pytest.mark.parametrize(("time", "is_judged"), [(100, False), (199, True), (200, False)])
def test_events_from_a_rollout_on_are_not_judged_since_other_versions_may_have_scored_them(
    time: int, is_judged: bool
) -> None:
    measured = Measured(events_per_s=1.0, latencies_ms=[], trained_until_ms=100, rollouts_from_ms=200)
    assert measured.is_judged(time) == is_judged
