"""The labels of events: of those in the judge's sample, and the newest of others, whose event may still come. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from scoring.rollout.sample import SHARDS, Mask, Words

ROW = np.dtype(
    [
        ("event", "<u8"),
        ("time", "<i8"),
        ("received", "<i8"),
        ("partition", "<i4"),
        ("offset", "<i8"),
        ("value", "<f8"),
    ]
)
"""Of a label: the hash of its event's id as :func:`of_source` makes it, when it became known and when Kafka received
it in epoch ms, its place in the topic, and its value; NaN if it withdraws the labels of its source before it."""
# An odd number whose multiples are far from each other, also that of SplitMix64.
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_RANK = ("time", "received", "partition", "offset")
Numbers = NDArray[np.float64]
Times = NDArray[np.int64]
Places = NDArray[np.intp]
Rows = NDArray[Any]


@dataclass(frozen=True, eq=False)
class LabelTable:
    """Labels by event and source, each only once.

    Of those of a source, the one with the greatest rank counts; of several sources, that of the first which says
    something.

    Most labels are of events that are not in the sample, and nobody knows which, before their events come. So the
    oldest labels without an event in the sample are forgotten.

    Attributes:
        rows: See :data:`ROW`; sorted by event, and then by rank: time, Kafka time, partition and offset.
        most: How many labels are kept beside those that count for the sample.
        forgotten_ms: The latest time of a label that was forgotten. An event from before it that comes later may have
            lost its label. None if none was.
        sources: How many sources there are.
    """

    rows: Rows
    most: int
    forgotten_ms: int | None = None
    sources: int = 1

    @classmethod
    def empty(cls, most: int, sources: int = 1) -> Self:
        """A table without labels."""
        return cls(np.empty(0, ROW), most, sources=sources)

    def add(self, rows: Rows) -> Self:
        """The table with further labels, in any order, some of them perhaps seen before."""
        if not len(rows):
            return self
        known = self._of(np.unique(rows["event"]))
        merged = _sorted(np.concatenate([self.rows[known], rows]))
        rest = self.rows[~known]
        return replace(self, rows=np.insert(rest, np.searchsorted(rest["event"], merged["event"]), merged))

    def within_room(self, events: Words, finals: Times) -> Self:
        """The table without what there is no room for.

        Args:
            events: The events in the sample, [N].
            finals: Until when a label of each counts, epoch ms, [N]. The last one of each source by then stays in any
                case.
        """
        if len(self.rows) <= self.most:
            return self
        kept = np.zeros(len(self.rows), np.bool_)
        for source in range(self.sources):
            kept[self._last(of_source(events, source), finals)[1]] = True
        others = np.flatnonzero(~kept)
        if len(others) <= self.most:
            return self
        oldest_first = others[np.argsort(self.rows["time"][others], kind="stable")]
        kept[oldest_first[len(others) - self.most :]] = True
        latest = int(self.rows["time"][~kept].max())
        if self.forgotten_ms is not None:
            latest = max(latest, self.forgotten_ms)
        return replace(self, rows=self.rows[kept], forgotten_ms=latest)

    def of(self, events: Words, finals: Times) -> Numbers:
        """The labels of events that count, [N], as known at its time; NaN if there was none.

        Args:
            events: Hashes of ids, [N].
            finals: Until when a label of each counts, epoch ms, [N].
        """
        found = np.full(len(events), np.nan)
        for source in reversed(range(self.sources)):
            chosen, places = self._last(of_source(events, source), finals)
            values = self.rows["value"][places]
            says = ~np.isnan(values)
            found[chosen[says]] = values[says]
        return found

    def _of(self, events: Words) -> Mask:
        """Which rows are of these events, [N], each given once."""
        begins = np.searchsorted(self.rows["event"], events, "left")
        ends = np.searchsorted(self.rows["event"], events, "right")
        has = begins < ends
        edges = np.zeros(len(self.rows) + 1, np.intp)
        edges[begins[has]] += 1
        edges[ends[has]] -= 1
        return np.asarray(np.cumsum(edges[:-1]) > 0, np.bool_)

    def _last(self, events: Words, finals: Times) -> tuple[Places, Places]:
        """Which of the events have a label that was known at their time, and where the last such label is, both [M]."""
        ids, times = np.ascontiguousarray(self.rows["event"]), self.rows["time"]
        ends = np.searchsorted(ids, events, "right")
        has = ends > 0
        has[has] = ids[ends[has] - 1] == events[has]
        chosen = np.flatnonzero(has)
        begins, final = np.searchsorted(ids, events[chosen], "left"), finals[chosen]
        # A binary search among the labels of each event, which are in the order of time: the first that is too late.
        low, high = begins.copy(), ends[chosen]
        while len(open_ := np.flatnonzero(low < high)):
            middle = (low[open_] + high[open_]) // 2
            in_time = times[middle] <= final[open_]
            low[open_[in_time]] = middle[in_time] + 1
            high[open_[~in_time]] = middle[~in_time]
        is_known = low > begins
        return chosen[is_known], low[is_known] - 1

    def shards(self) -> Iterator[bytes]:
        """The rows, in parts by the first bits of the event's hash."""
        edges = np.arange(1, SHARDS, dtype=np.uint64) << np.uint64(56)
        for part in np.split(self.rows, np.searchsorted(self.rows["event"], edges)):
            yield part.tobytes()

    def filled(self, shards: Sequence[bytes]) -> Self:
        """The same, with the rows of shards."""
        return replace(self, rows=np.frombuffer(b"".join(shards), ROW))


def of_source(events: Words, source: int | Words) -> Words:
    """What identifies events in the labels of a source, [N]: of the first source, the hashes of their ids."""
    # Of an array, as numpy warns where a product of single numbers wraps.
    return events ^ (np.atleast_1d(np.asarray(source, np.uint64)) * _GOLDEN)


def _sorted(rows: Rows) -> Rows:
    """By event and rank, each label once."""
    rows = rows[np.lexsort([rows[name] for name in (*reversed(_RANK), "event")])]
    names = ("event", *_RANK)
    is_again = np.logical_and.reduce([rows[name][1:] == rows[name][:-1] for name in names])
    sorted_rows: Rows = rows[np.concatenate([[True], ~is_again])]
    return sorted_rows
