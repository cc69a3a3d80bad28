"""Firings that belong together are one incident, on a partition and over all of them."""

from __future__ import annotations

import random
from typing import Any

import pytest

from streams.drift.incidents import QUIET_MS, PartitionIncident, fired, incidents_of

WINDOW = 100


def fire(
    latest: PartitionIncident | None, number: int, count: int, event_time: int, *, over: bool = False
) -> PartitionIncident:
    return fired(latest, f"a{number}", "x:psi", WINDOW, count, event_time, stays_over=over)


@pytest.mark.parametrize(
    ("count", "event_time", "joins"),
    [
        (201, QUIET_MS + 1, False),
        (200, QUIET_MS + 1, True),  # within two windows of records
        (201, QUIET_MS, True),  # within a day
        (201, -5, True),
    ],
)
def test_a_firing_after_two_quiet_windows_and_a_quiet_day_begins_another_incident(count, event_time, joins):
    first = fire(None, 0, 0, 0)
    assert first.id == "a0"
    assert fire(first, 1, count, event_time).id == ("a0" if joins else "a1")


def test_an_incident_lasts_as_long_as_something_is_over_its_threshold():
    first = fire(None, 0, 0, 0, over=True)
    assert fire(first, 1, 10**6, 10**12).id == "a0"
    cleared = first.cleared("x:psi", 10**6, 10**12)
    assert fire(cleared, 1, 10**6 + 1, 10**12 + 1).id == "a0"
    assert fire(cleared, 1, 2 * 10**6, 2 * 10**12).id == "a1"
    assert first.cleared("y:psi", 5, 5) == first


def alert(number: int, event_time: int, incident: str | None = None, **changes: Any) -> dict[str, Any]:
    return {
        "alert_id": f"a{number}",
        "incident": incident,
        "event_time": event_time,
        "monitor": "x",
        "detector": "psi",
        "topic": "features.p",
        "partition": 0,
        "offset": number,
        "model": "m",
        "model_version": "1",
    } | changes


def test_incidents_of_several_partitions_that_touch_are_one():
    alerts = [
        alert(0, 0, "a0"),
        alert(1, QUIET_MS, "a1", partition=1, topic="predictions.p", monitor="score"),
        alert(2, 2 * QUIET_MS, "a1", partition=1, topic="predictions.p", monitor="score", detector="adwin"),
        alert(3, 3 * QUIET_MS + 1, "a3"),
    ]
    for seed in range(5):
        shuffled = [*alerts, alerts[1]]  # one is there twice
        random.Random(seed).shuffle(shuffled)
        one, other = incidents_of(shuffled, open_ids=["a3"])
        assert (one.id, one.begin_ms, one.latest_ms, one.alerts, one.ended) == ("a0", 0, 2 * QUIET_MS, 3, True)
        assert one.partitions == (("features.p", 0), ("predictions.p", 1))
        assert one.members == {("x", "psi"): 1, ("score", "psi"): 1, ("score", "adwin"): 1}
        assert (other.id, other.offset, other.ended) == ("a3", 3, False)


def test_an_open_incident_takes_what_comes_later_and_other_model_versions_have_their_own():
    alerts = [alert(0, 0, "a0"), alert(1, 10 * QUIET_MS, "a1", partition=1), alert(2, 0, "a2", model_version="2")]
    assert [one.id for one in incidents_of(alerts)] == ["a0", "a2", "a1"]
    assert [one.id for one in incidents_of(alerts, ["a0"])] == ["a0", "a2"]


def test_alerts_of_an_earlier_release_are_gathered_by_time_alone():
    assert [one.alerts for one in incidents_of([alert(0, 0), alert(1, 5), alert(2, 10**10)])] == [2, 1]
    assert incidents_of([]) == []
