"""Feature values of a whole chain of an entity's events at once, with numpy.

The naive oracle (:mod:`streams.oracle.reference`) re-computes every window from all events, which is too slow for every
value of a run. This engine finds each window as a slice of the entity's events and reduces the slices of the common
aggregates with numpy. Where a slice has late events that are not in the window, or the order of event time counts, it
first lays out what the window holds. It hands the slice of any other aggregate to the oracle's own function. Nothing is
computed by subtracting what left a window. ``tests/verify/test_window_engine.py`` compares it with the oracle.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from schemas.feature_types import FeatureValue
from streams.definitions.aggregates.distinct_values import sketch_error
from streams.definitions.aggregates.rounding import ROUNDING, TINY
from streams.definitions.aggregates.window_contents import WindowContents
from streams.oracle.reference import Timed, in_window, values_of
from streams.oracle.values import allowed_error, reference_value
from streams.plan.model import FeaturePlan, ViewPlan

_Ints: TypeAlias = npt.NDArray[np.int64]
_Floats: TypeAlias = npt.NDArray[np.float64]

# Beyond these magnitudes, int64 times or sums of powers may overflow: the oracle's own arithmetic takes over.
_GREATEST_TIME = 2**61
_LEAST_NUMBER, _GREATEST_NUMBER = 1e-100, 1e100
# Elements of slices that are laid out at once: 16 MiB of doubles.
_BLOCK = 2**21


class Expected(NamedTuple):
    """A feature's expected values, and how far a correct engine may be from each."""

    values: list[FeatureValue]
    allowed: list[float]


class ChainValues:
    """The expected values of one view for events of one entity, given in the order in which the view saw them.

    Args:
        view: The view.
        events: All events of the chain.
        indexes: The events whose vectors are expected, in increasing order.
        timers: For the vectors of timers: the time of each, later than all events up to its index.
    """

    def __init__(
        self, view: ViewPlan, events: Sequence[Timed], indexes: Sequence[int], timers: Sequence[int] | None = None
    ) -> None:
        self._view = view
        self._events = events
        self._indexes = np.asarray(indexes, dtype=np.int64)
        self._times = np.array([event.time for event in events], dtype=np.int64)
        self._newest = np.maximum.accumulate(self._times)[self._indexes]
        self._as_of = self._newest if timers is None else np.asarray(timers, dtype=np.int64)
        self._columns: dict[tuple[str | None, str | None], _Column] = {}
        both = np.concatenate([self._times, self._as_of])
        self._fits_int64 = bool(both.min(initial=0) > -_GREATEST_TIME and both.max(initial=0) < _GREATEST_TIME)

    @property
    def as_of(self) -> list[int]:
        """The time of each vector."""
        as_of: list[int] = self._as_of.tolist()
        return as_of

    def late(self) -> list[bool]:
        """Whether each event is older than every window of the view."""
        windows = {(feature.window_ms, feature.hop_ms) for feature in self._view.features}
        pairs = zip(self._times[self._indexes].tolist(), self.as_of, strict=True)
        return [time < as_of and not any(in_window(time, as_of, w, h) for w, h in windows) for time, as_of in pairs]

    def expected(self, feature: FeaturePlan) -> Expected:
        """The values of one feature; a timer does not change those that depend on the triggering event."""
        as_of = self._newest if feature.depends_on_event else self._as_of
        column = self._column(feature)
        count = len(self._indexes)
        found = Expected([feature.empty] * count, [0.0] * count)
        if self._fits_int64:
            windows = _Windows.of(feature, column, as_of, self._indexes)
            filled = windows.begin < windows.end
            reduced = self._reduce(feature, column, windows, as_of, filled, found)
            remaining = np.flatnonzero(filled & ~reduced).tolist()
        else:
            windows, remaining = None, list(range(count))
        for place in remaining:
            contents = self._contents(feature, column, windows, int(as_of[place]), place)
            found.values[place], found.allowed[place] = reference_value(contents), allowed_error(contents)
        if feature.depends_on_event:
            self._empty_what_timers_passed(feature, found)
        return found

    def _reduce(
        self,
        feature: FeaturePlan,
        column: _Column,
        windows: _Windows,
        as_of: _Ints,
        filled: npt.NDArray[np.bool_],
        found: Expected,
    ) -> npt.NDArray[np.bool_]:
        """Compute what numpy can, into ``found``; returns where that was."""
        reduction = _REDUCTIONS.get(feature.operation) if column.can_be_summed else None
        if reduction is None:
            return np.zeros(len(filled), dtype=np.bool_)
        ordered = feature.operation in _ORDERED
        whole = filled & windows.are_slices(ordered=ordered)
        places = np.flatnonzero(whole)
        parts = [(places, column, windows.take(places))] if len(places) else []
        for places, own_column, own_windows in (
            *parts,
            *_laid_out(column, windows, np.flatnonzero(filled & ~whole), ordered=ordered),
        ):
            some = reduction(feature, own_column, own_windows, as_of[places])
            for place, value, error in zip(places.tolist(), some.values, some.allowed, strict=True):
                found.values[place], found.allowed[place] = value, error
        return filled

    def _empty_what_timers_passed(self, feature: FeaturePlan, found: Expected) -> None:
        for place, (newest, as_of) in enumerate(zip(self._newest.tolist(), self._as_of.tolist(), strict=True)):
            if not in_window(newest, as_of, feature.window_ms, feature.hop_ms):
                found.values[place], found.allowed[place] = feature.empty, 0.0

    def _column(self, feature: FeaturePlan) -> _Column:
        key = feature.where, feature.column
        if key not in self._columns:
            self._columns[key] = _Column.of(feature, self._events)
        return self._columns[key]

    def _contents(
        self, feature: FeaturePlan, column: _Column, windows: _Windows | None, as_of: int, place: int
    ) -> WindowContents:
        index = int(self._indexes[place])
        span = slice(None) if windows is None else slice(int(windows.begin[place]), int(windows.end[place]))
        last_out = -math.inf if feature.is_lifetime else (as_of - feature.window_ms) // feature.hop_ms
        candidates = zip(column.rows[span].tolist(), column.times[span].tolist(), column.values[span], strict=True)
        inside = [item for item in candidates if item[0] <= index and item[1] // feature.hop_ms > last_out]
        matching = tuple((time, value) for _, time, value in inside)
        is_own = bool(inside) and inside[-1][0] == index
        return WindowContents(
            feature=feature,
            as_of=as_of,
            matching=matching,
            others=matching[:-1] if is_own else matching,
            current=next(iter(values_of(feature, self._events[index].row)), None),
        )


class _Column(NamedTuple):
    """The events that count for a feature: rows in the chain, times and values; ``numbers`` of a numeric column."""

    rows: _Ints
    times: _Ints
    values: npt.NDArray[np.object_]
    numbers: _Floats
    can_be_summed: bool  # no sum of powers of the numbers leaves the range of a double

    @classmethod
    def of(cls, feature: FeaturePlan, events: Sequence[Timed]) -> _Column:
        # Of a list, each element counts.
        kept = [(row, e.time, value) for row, e in enumerate(events) for value in values_of(feature, e.row)]
        rows, times, values = [r for r, _, _ in kept], [t for _, t, _ in kept], [v for _, _, v in kept]
        is_numeric = feature.value_type in ("long", "double")
        numbers = np.array(values, dtype=np.float64) if is_numeric else np.zeros(len(kept))
        sizes = np.abs(numbers[numbers != 0.0])
        can_be_summed = bool(np.all((sizes >= _LEAST_NUMBER) & (sizes <= _GREATEST_NUMBER)))
        as_objects = np.fromiter(values, np.object_, len(values))
        return cls(np.array(rows, np.int64), np.array(times, np.int64), as_objects, numbers, can_be_summed)

    def take(self, chosen: _Ints) -> _Column:
        """Some of the events, in this order."""
        return self._replace(
            rows=self.rows[chosen], times=self.times[chosen], values=self.values[chosen], numbers=self.numbers[chosen]
        )


class _Windows(NamedTuple):
    """One window per expected vector: the events ``begin`` to ``end`` (exclusive) of a column hold it.

    A late event may lie in that slice and no longer in the window; :meth:`are_slices` tells which windows are whole.
    """

    begin: _Ints
    end: _Ints
    last_out: _Ints
    tiles: _Ints
    times: _Ints

    @classmethod
    def of(cls, feature: FeaturePlan, column: _Column, as_of: _Ints, indexes: _Ints) -> _Windows:
        tiles = column.times // feature.hop_ms
        last_out = (as_of - feature.window_ms) // feature.hop_ms
        end = np.searchsorted(column.rows, indexes, "right")
        # Before the first tile that is inside, every tile is outside: the greatest tile so far never decreases.
        begin = np.minimum(np.searchsorted(np.maximum.accumulate(tiles), last_out, "right"), end)
        return cls(begin, end, last_out, tiles, column.times)

    def are_slices(self, *, ordered: bool) -> npt.NDArray[np.bool_]:
        """Which windows are exactly their slice; with ``ordered``, also in the order of event time."""
        whole = np.ones(len(self.begin), dtype=np.bool_)
        filled = np.flatnonzero(self.begin < self.end)
        some = self.take(filled)
        if ordered:
            steps_back = np.concatenate([[0], np.cumsum(np.diff(self.times) < 0)]) if len(self.times) else self.times
            whole[filled] = steps_back[some.end - 1] == steps_back[some.begin]
        else:
            whole[filled] = _reduce_slices(np.minimum, self.tiles, some) > some.last_out
        return whole

    def take(self, chosen: npt.NDArray[Any]) -> _Windows:
        """Some of the windows."""
        return self._replace(begin=self.begin[chosen], end=self.end[chosen], last_out=self.last_out[chosen])

    @property
    def sizes(self) -> _Ints:
        """How many events each slice has."""
        return self.end - self.begin


def _laid_out(
    column: _Column, windows: _Windows, places: _Ints, *, ordered: bool
) -> Iterator[tuple[_Ints, _Column, _Windows]]:
    """The windows at these places, in blocks: their places, a column, and each one's events as a slice of that column.

    ``ordered``: in the order of event time. Windows that hold nothing are left out.
    """
    for block in _blocks(windows.sizes[places]):
        some = windows.take(places[block])
        window, candidates = _members(some)
        inside = windows.tiles[candidates] > some.last_out[window]
        window, members = window[inside], candidates[inside]
        if ordered:  # stable: events of one time stay in the order of their arrival
            members = members[np.lexsort((column.times[members], window))]
        counts = np.bincount(window, minlength=len(some.begin))
        filled = np.flatnonzero(counts)
        end = np.cumsum(counts)[filled]
        slices = _Windows(
            end - counts[filled], end, some.last_out[filled], windows.tiles[members], column.times[members]
        )
        yield places[block][filled], column.take(members), slices


def _members(windows: _Windows) -> tuple[_Ints, _Ints]:
    """The slices one after another: for each event of each slice, the number of the window and the event's place."""
    sizes = windows.sizes
    starts = np.cumsum(sizes) - sizes
    window = np.repeat(np.arange(len(sizes)), sizes)
    return window, np.arange(len(window)) - (starts - windows.begin)[window]


def _blocks(sizes: _Ints) -> Iterator[slice]:
    """Neighbouring windows of these sizes, as many as fit a block, at least one."""
    begin = 0
    while begin < len(sizes):
        fits = int(np.searchsorted(np.cumsum(sizes[begin:]), _BLOCK, "right"))
        yield slice(begin, begin + max(1, fits))
        begin += max(1, fits)


def _reduce_slices(function: np.ufunc, values: npt.NDArray[Any], windows: _Windows) -> npt.NDArray[Any]:
    """Reduce the slice of each window; none may be empty."""
    if not len(windows.begin):
        return values[:0]
    padded = np.append(values, values[-1:])  # an end may be the length
    pairs = np.stack([windows.begin, windows.end], axis=1).ravel()
    reduced: npt.NDArray[Any] = function.reduceat(padded, pairs)[::2]
    return reduced


_Reduction: TypeAlias = Callable[[FeaturePlan, _Column, _Windows, _Ints], Expected]


def _exact(values: npt.NDArray[Any]) -> Expected:
    return Expected(values.tolist(), [0.0] * len(values))


def _count(_: FeaturePlan, __: _Column, windows: _Windows, ___: _Ints) -> Expected:
    return _exact(windows.sizes)


def _rate(feature: FeaturePlan, _: _Column, windows: _Windows, __: _Ints) -> Expected:
    return _exact(windows.sizes / (feature.window_ms / 1000.0))


def _sum(_: FeaturePlan, column: _Column, windows: _Windows, __: _Ints) -> Expected:
    values = _reduce_slices(np.add, column.numbers, windows)
    errors = ROUNDING * _reduce_slices(np.add, np.abs(column.numbers), windows) + TINY
    return Expected(values.tolist(), errors.tolist())


def _mean(_: FeaturePlan, column: _Column, windows: _Windows, __: _Ints) -> Expected:
    values = _reduce_slices(np.add, column.numbers, windows) / windows.sizes
    errors = ROUNDING * _reduce_slices(np.maximum, np.abs(column.numbers), windows) + TINY
    return Expected(values.tolist(), errors.tolist())


def _least(_: FeaturePlan, column: _Column, windows: _Windows, __: _Ints) -> Expected:
    return _exact(_reduce_slices(np.minimum, column.numbers, windows))


def _greatest(_: FeaturePlan, column: _Column, windows: _Windows, __: _Ints) -> Expected:
    return _exact(_reduce_slices(np.maximum, column.numbers, windows))


def _std(_: FeaturePlan, column: _Column, windows: _Windows, __: _Ints) -> Expected:
    errors = ROUNDING * _reduce_slices(np.maximum, np.abs(column.numbers), windows) + TINY
    values: list[FeatureValue] = [None if v is None else v**0.5 for v in _variances(column.numbers, windows)]
    return Expected(values, errors.tolist())


def _variance(_: FeaturePlan, column: _Column, windows: _Windows, __: _Ints) -> Expected:
    errors = ROUNDING * _reduce_slices(np.maximum, np.abs(column.numbers), windows) ** 2 + TINY
    values: list[FeatureValue] = [*_variances(column.numbers, windows)]
    return Expected(values, errors.tolist())


def _variances(numbers: _Floats, windows: _Windows) -> list[float | None]:
    """Sample variances in two passes; None where a window has one event."""
    sizes = windows.sizes
    means = _reduce_slices(np.add, numbers, windows) / sizes
    found: list[float | None] = []
    for block in _blocks(sizes):
        window, members = _members(windows.take(np.arange(block.start, min(block.stop, len(sizes)))))
        squares = (numbers[members] - means[block][window]) ** 2
        sums = np.add.reduceat(squares, np.cumsum(sizes[block]) - sizes[block])
        found += [s / (n - 1) if n > 1 else None for s, n in zip(sums.tolist(), sizes[block].tolist(), strict=True)]
    return found


def _first(_: FeaturePlan, column: _Column, windows: _Windows, __: _Ints) -> Expected:
    return Expected([column.values[place] for place in windows.begin.tolist()], [0.0] * len(windows.begin))


def _last(_: FeaturePlan, column: _Column, windows: _Windows, __: _Ints) -> Expected:
    return Expected([column.values[place - 1] for place in windows.end.tolist()], [0.0] * len(windows.end))


def _time_since_first(_: FeaturePlan, column: _Column, windows: _Windows, as_of: _Ints) -> Expected:
    return _exact((as_of - _reduce_slices(np.minimum, column.times, windows)) / 1000.0)


def _time_since_last(_: FeaturePlan, column: _Column, windows: _Windows, as_of: _Ints) -> Expected:
    return _exact((as_of - _reduce_slices(np.maximum, column.times, windows)) / 1000.0)


def _distinct(feature: FeaturePlan, column: _Column, windows: _Windows, _: _Ints) -> Expected:
    """Counts of distinct values: both ends of the windows only move on, so each event enters and leaves once."""
    counts: Counter[Any] = Counter()
    entered = left = 0
    found: list[int] = []
    for begin, end in zip(windows.begin.tolist(), windows.end.tolist(), strict=True):
        counts.update(column.values[entered:end])
        entered = end
        for value in column.values[left:begin]:
            if counts[value] == 1:
                del counts[value]
            else:
                counts[value] -= 1
        left = begin
        found.append(len(counts))
    return Expected([*found], [sketch_error(count, feature.bound) for count in found])


_ORDERED = frozenset({"first", "last"})
_REDUCTIONS: dict[str, _Reduction] = {
    "count": _count,
    "rate": _rate,
    "sum": _sum,
    "mean": _mean,
    "min": _least,
    "max": _greatest,
    "std": _std,
    "variance": _variance,
    "first": _first,
    "last": _last,
    "time_since_first": _time_since_first,
    "time_since_last": _time_since_last,
    "distinct": _distinct,
    "approx_distinct": _distinct,
}
