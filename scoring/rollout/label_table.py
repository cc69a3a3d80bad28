"""The newest labels, for events that are handed over later than their label. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from scoring.rollout.sample import SHARDS, Words

_TYPE = np.dtype([("event", "<u8"), ("time", "<i8"), ("value", "<f8")])
Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LabelTable:
    """The latest label of each event, of the ``most`` events whose labels are newest.

    Most labels are of events that are not in the sample, and nobody knows which, before their events come. So a label
    is lost if so many newer ones are handed over before its event.

    Attributes:
        rows: Hash of the event's id, time of the label in epoch ms, and value; sorted by event.
        most: For how many there is room.
        latest_ms: The time of the newest label; None before the first.
    """

    rows: NDArray[Any]
    most: int
    latest_ms: int | None

    @classmethod
    def empty(cls, most: int) -> Self:
        """A table without labels."""
        return cls(np.empty(0, _TYPE), most, None)

    def add(self, events: Words, times: Sequence[int], values: Sequence[float]) -> Self:
        """The table with further labels, each [N], in any order."""
        if not len(events):
            return self
        more = np.empty(len(events), _TYPE)
        more["event"], more["time"], more["value"] = events, times, values
        rows = np.concatenate([self.rows, more])
        rows = rows[np.lexsort((rows["value"], rows["time"], rows["event"]))]
        is_latest = np.concatenate([rows["event"][1:] != rows["event"][:-1], [True]])
        rows = rows[is_latest]
        if len(rows) > self.most:
            newest = np.lexsort((rows["event"], rows["time"]))[-self.most :]
            rows = rows[np.sort(newest)]
        latest = int(more["time"].max())
        if self.latest_ms is not None:
            latest = max(latest, self.latest_ms)
        return replace(self, rows=rows, latest_ms=latest)

    def of(self, events: Words) -> Numbers:
        """The labels of events, [N]; NaN where there is none."""
        found = np.full(len(events), np.nan)
        places = np.searchsorted(self.rows["event"], events)
        has = np.flatnonzero(places < len(self.rows))
        has = has[self.rows["event"][places[has]] == events[has]]
        found[has] = self.rows["value"][places[has]]
        return found

    def shards(self) -> Iterator[bytes]:
        """The rows, in parts by the first bits of the event's hash."""
        edges = np.arange(1, SHARDS, dtype=np.uint64) << np.uint64(56)
        for part in np.split(self.rows, np.searchsorted(self.rows["event"], edges)):
            yield part.tobytes()

    def filled(self, shards: Sequence[bytes]) -> Self:
        """The same, with the rows of shards."""
        return replace(self, rows=np.frombuffer(b"".join(shards), _TYPE))
