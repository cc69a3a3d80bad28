"""Features that saw their future fail the check, and labels that were known too early are counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from backfill.training_sets.manifest import LeakCheck
from tests.backfill.training_sets.worlds import Event, Label, World


def check(folder: Path, *events: Event, served: bool) -> LeakCheck:
    labels = [Label("e", 1, True), Label("other", 9, True)]
    return World(events, labels).build(folder / "set", served=served).manifest.leak_check


# One Kafka time unit is how far events may be ahead of it.
@pytest.mark.parametrize(("as_of", "saw_future"), [(5, 0), (21, 0), (22, 1)])
@pytest.mark.parametrize("served", [False, True])
def test_a_vector_is_no_further_ahead_than_events_were_when_it_was_made(
    tmp_path: Path, as_of: int, saw_future: int, *, served: bool
) -> None:
    before = Event("before", 4, 4, timestamp=20)
    found = check(tmp_path, before, Event("e", 5, as_of, timestamp=3, scored_at=20), served=served)
    assert found.saw_future == saw_future
    assert found.verdict == ("failed" if saw_future else "passed")
    assert found.examples == tuple(
        f"e of 1970-01-01T00:00:00.005Z is as of 1970-01-01T00:00:00.0{as_of}Z" for _ in range(saw_future)
    )


def test_late_events_and_labels_before_their_event_are_counted_and_fail_nothing(tmp_path: Path) -> None:
    found = check(tmp_path, Event("e", 5, 9, timestamp=20), served=False)
    assert (found.verdict, found.late, found.latest_ms, found.labels_before_event) == ("passed", 1, 4, 1)
