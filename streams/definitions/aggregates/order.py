"""Values and times of the first, the last and the previous event."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.feature_types import Value
from streams.definitions.aggregates.signatures import of_column, of_rows
from streams.definitions.aggregates.spec import AggregateSpec
from streams.definitions.aggregates.window_contents import TimedValue, WindowContents


def _first(window: WindowContents) -> Value:
    return min(window.matching, key=lambda pair: pair[0])[1]


def _latest(matching: Sequence[TimedValue]) -> TimedValue | None:
    """The value with the greatest time; of several, the one that arrived last."""
    return max(reversed(matching), key=lambda pair: pair[0], default=None)


def _last(window: WindowContents) -> Value:
    latest = _latest(window.matching)
    return latest and latest[1]


def _changed(window: WindowContents) -> bool | None:
    previous = _latest(window.others)
    return None if window.current is None or previous is None else window.current != previous[1]


def _time_since_previous(window: WindowContents) -> float | None:
    previous = _latest(window.others)
    return None if previous is None else window.seconds_since(previous[0])


first = AggregateSpec(
    name="first",
    signature=of_column,
    type="column",
    oracle=_first,
    summary="value with the least event time; ties: the earlier arrival",
)
last = AggregateSpec(
    name="last",
    signature=of_column,
    type="column",
    oracle=_last,
    summary="value with the greatest event time; ties: the later arrival",
)
changed = AggregateSpec(
    name="changed",
    signature=of_column,
    type="boolean",
    depends_on_event=True,
    oracle=_changed,
    summary="whether this event's x differs from the latest other one in the window",
    when_empty="null, also if this event does not match",
)
time_since_first = AggregateSpec(
    name="time_since_first",
    signature=of_rows,
    type="double",
    oracle=lambda window: window.seconds_since(min(window.times)),
    summary="seconds from the earliest matching event to `as_of`",
)
time_since_last = AggregateSpec(
    name="time_since_last",
    signature=of_rows,
    type="double",
    oracle=lambda window: window.seconds_since(max(window.times)),
    summary="seconds from the latest matching event to `as_of`; 0 whenever this event matches, so give a `where`",
)
time_since_previous = AggregateSpec(
    name="time_since_previous",
    signature=of_rows,
    type="double",
    depends_on_event=True,
    oracle=_time_since_previous,
    summary="seconds from the latest matching event other than this one to `as_of`",
)
