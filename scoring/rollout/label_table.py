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
"""Of a label: the hash of its event's id, when it became known and when Kafka received it in epoch ms, its place in
the topic, and its value; NaN if it withdraws the labels before it."""
_RANK = ("time", "received", "partition", "offset")
Numbers = NDArray[np.float64]
Times = NDArray[np.int64]
Rows = NDArray[Any]


@dataclass(frozen=True, eq=False)
class LabelTable:
    """Labels by event, each only once. Of several labels of an event, the one with the greatest rank counts.

    Most labels are of events that are not in the sample, and nobody knows which, before their events come. So the
    oldest labels without an event in the sample are forgotten.

    Attributes:
        rows: See :data:`ROW`; sorted by event, and then by rank: time, Kafka time, partition and offset.
        most: How many labels are kept beside those that count for the sample.
        forgotten_ms: The latest time of a label that was forgotten. An event from before it that comes later may have
            lost its label. None if none was.
    """

    rows: Rows
    most: int
    forgotten_ms: int | None = None

    @classmethod
    def empty(cls, most: int) -> Self:
        """A table without labels."""
        return cls(np.empty(0, ROW), most)

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
            finals: Until when a label of each counts, epoch ms, [N]. Its last one by then stays in any case.
        """
        if len(self.rows) <= self.most:
            return self
        kept = self._counting(events, finals)
        others = np.flatnonzero(~kept)
        if len(others) <= self.most:
            return self
        oldest_first = others[np.lexsort([self.rows[name][others] for name in ("event", *reversed(_RANK))])]
        kept[oldest_first[len(others) - self.most :]] = True
        latest = int(self.rows["time"][~kept].max())
        if self.forgotten_ms is not None:
            latest = max(latest, self.forgotten_ms)
        return replace(self, rows=self.rows[kept], forgotten_ms=latest)

    def of(self, events: Words, finals: Times) -> Numbers:
        """The labels of events, [N], each the last one that was known at its time; NaN if there was none.

        Args:
            events: Hashes of ids, [N].
            finals: Until when a label of each counts, epoch ms, [N].
        """
        counting = self.rows[self._counting(events, finals)]
        found = np.full(len(events), np.nan)
        places = np.searchsorted(counting["event"], events)
        has = np.flatnonzero(places < len(counting))
        has = has[counting["event"][places[has]] == events[has]]
        found[has] = counting["value"][places[has]]
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

    def _counting(self, events: Words, finals: Times) -> Mask:
        """Which rows are the last label of one of the events that was known at its time; one at most of each event."""
        counts = np.zeros(len(self.rows), np.bool_)
        if not len(events) or not len(self.rows):
            return counts
        order = np.argsort(events, kind="stable")
        # Of the events' rows only: most labels are of others.
        places = np.searchsorted(events[order], self.rows["event"])
        inside = np.flatnonzero(places < len(events))
        event = order[places[inside]]
        is_in_time = (events[event] == self.rows["event"][inside]) & (self.rows["time"][inside] <= finals[event])
        known = inside[is_in_time]
        of = self.rows["event"][known]
        is_last = np.ones(len(of), np.bool_)
        is_last[:-1] = of[1:] != of[:-1]
        counts[known[is_last]] = True
        return counts

    def shards(self) -> Iterator[bytes]:
        """The rows, in parts by the first bits of the event's hash."""
        edges = np.arange(1, SHARDS, dtype=np.uint64) << np.uint64(56)
        for part in np.split(self.rows, np.searchsorted(self.rows["event"], edges)):
            yield part.tobytes()

    def filled(self, shards: Sequence[bytes]) -> Self:
        """The same, with the rows of shards."""
        return replace(self, rows=np.frombuffer(b"".join(shards), ROW))


def _sorted(rows: Rows) -> Rows:
    """By event and rank, each label once."""
    rows = rows[np.lexsort([rows[name] for name in (*reversed(_RANK), "event")])]
    names = ("event", *_RANK)
    is_again = np.logical_and.reduce([rows[name][1:] == rows[name][:-1] for name in names])
    sorted_rows: Rows = rows[np.concatenate([[True], ~is_again])]
    return sorted_rows
