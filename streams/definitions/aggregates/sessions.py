"""Sessions: runs of events without a pause longer than the gap."""

from __future__ import annotations

from itertools import accumulate

from streams.definitions.aggregates.signatures import of_rows_and_gap
from streams.definitions.aggregates.spec import AggregateSpec
from streams.definitions.aggregates.window_contents import WindowContents


def _sessions(window: WindowContents) -> list[list[int]]:
    """The sorted event times, split into sessions."""
    assert window.feature.gap_ms is not None
    sessions: list[list[int]] = []
    for time in sorted(window.times):
        if sessions and time - sessions[-1][-1] <= window.feature.gap_ms:
            sessions[-1].append(time)
        else:
            sessions.append([time])
    return sessions


def _session_count_error(window: WindowContents) -> float:
    # A tile can change only its newest 1,000 sessions. A late event before them may make the count wrong by one.
    if len(_sessions(window)) <= 1_000:
        return 0.0
    return float(sum(time < newest for time, newest in zip(window.times, accumulate(window.times, max), strict=True)))


def _session_length(window: WindowContents) -> float:
    newest = _sessions(window)[-1]
    return (newest[-1] - newest[0]) / 1000.0


session_count = AggregateSpec(
    name="session_count",
    signature=of_rows_and_gap,
    type="long",
    empty=0,
    oracle=lambda window: len(_sessions(window)),
    tolerance=_session_count_error,
    summary="sessions: events of which each is at most G later than the one before",
    agreement="exact²",
)
session_length = AggregateSpec(
    name="session_length",
    signature=of_rows_and_gap,
    type="double",
    oracle=_session_length,
    summary="seconds from the first to the last event of the newest session",
)
