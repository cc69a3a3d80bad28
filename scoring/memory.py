"""Deduplication memory: the raw events that are already scored, so that a feature record emitted twice is scored once.

Flink delivers at least once: after a failure it emits records again, at new offsets of the features topic but with the
position of the same raw event. The memory keeps one byte per raw event of the partitions that this scorer holds: a tag
of its Kafka timestamp, which differs if the raw topic was deleted and made anew. It is complete for events whose source
timestamp is at or after ``covered_since``, and for those from a raw offset on (:meth:`PartitionMemory.extend_from`).
When a batch holds another event, the scorer reads answers already published (:mod:`scoring.recall`) and moves one of
the two limits back. This is exact, because a prediction's Kafka timestamp is never before its event's and offsets grow,
and it needs no configured horizon.

Pure: no Kafka, no clock.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.columns import Integers, Mask

# Events per chunk: small enough to drop memory in small steps, large enough that the dictionary entry costs nothing.
_CHUNK_EVENTS = 1 << 16
# Chunks per partition: 16 Mi events in 16 MiB. A dropped chunk can be read again: the limit never affects correctness.
MAX_CHUNKS = 256
# Published answers are added in blocks of this many.
_READ_EVENTS = 4096


class EventPosition(NamedTuple):
    """The position of a raw event on its topic, and its Kafka timestamp (epoch ms)."""

    topic: str
    partition: int
    offset: int
    timestamp: int


class Events(NamedTuple):
    """The positions of n events of one raw partition, as columns."""

    topic: str
    partition: int
    offsets: Integers
    timestamps: Integers

    def where(self, mask: Mask) -> Events:
        """Those of the events at which ``mask`` is true."""
        return self._replace(offsets=self.offsets[mask], timestamps=self.timestamps[mask])

    def positions(self) -> list[EventPosition]:
        """The events one by one."""
        columns = self.offsets.tolist(), self.timestamps.tolist()
        return [EventPosition(self.topic, self.partition, *row) for row in zip(*columns, strict=True)]


@dataclass
class _Chunk:
    tags: npt.NDArray[np.uint8] = field(default_factory=lambda: np.zeros(_CHUNK_EVENTS, np.uint8))  # 0: not scored
    newest: int = -(2**63)  # source timestamp, epoch ms


class PartitionMemory:
    """The scored events of one partition of the predictions topic, including those with a dead letter.

    Args:
        max_chunks: How many chunks :meth:`shrink` keeps.
    """

    def __init__(self, max_chunks: int = MAX_CHUNKS) -> None:
        self.covered_since: float = math.inf
        self._covered_from: dict[tuple[str, int], int] = {}
        self._max_chunks = max_chunks
        self._chunks: dict[tuple[str, int, int], _Chunk] = {}

    def uncovered(self, events: Events) -> Mask:
        """For which of the events answers must be read."""
        covered_from = self._covered_from.get((events.topic, events.partition), math.inf)
        uncovered: Mask = (events.timestamps < self.covered_since) & (events.offsets < covered_from)
        return uncovered

    def extend(self, since: int, scored: Iterable[EventPosition]) -> None:
        """Add ``scored``, which includes every scored event from ``since`` to the present ``covered_since``."""
        for events in in_columns(scored):
            self.add(events)
        self.covered_since = min(self.covered_since, since)

    def extend_from(self, topic: str, partition: int, offset: int, scored: Iterable[EventPosition]) -> None:
        """Add ``scored``, which includes every scored event of a raw partition from ``offset`` on that is not held."""
        for events in in_columns(scored):
            self.add(events)
        self._covered_from[topic, partition] = min(offset, self._covered_from.get((topic, partition), offset))

    def add(self, events: Events) -> None:
        """Add scored events."""
        tags = _tags(events.timestamps)
        for number, rows in _by_chunk(events.offsets):
            chunk = self._chunks.setdefault((events.topic, events.partition, number), _Chunk())
            chunk.tags[events.offsets[rows] % _CHUNK_EVENTS] = tags[rows]
            chunk.newest = max(chunk.newest, int(events.timestamps[rows].max()))

    def scored(self, events: Events) -> Mask:
        """Which of the events are known to be scored; false is reliable only for those that are not uncovered."""
        scored: Mask = self._found(events) != 0
        return scored

    def of_another_log(self, events: Events) -> Mask:
        """Where another event with the same topic, partition and offset was scored: the topic was made anew.

        Found with a probability of 254 in 255, so after a few events.
        """
        found = self._found(events)
        other: Mask = (found != 0) & (found != _tags(events.timestamps))
        return other

    def _found(self, events: Events) -> npt.NDArray[np.uint8]:
        found = np.zeros(len(events.offsets), np.uint8)
        for number, rows in _by_chunk(events.offsets):
            chunk = self._chunks.get((events.topic, events.partition, number))
            if chunk is not None:
                found[rows] = chunk.tags[events.offsets[rows] % _CHUNK_EVENTS]
        return found

    def shrink(self, batch: Sequence[Events]) -> bool:
        """Drop the oldest chunks above the limit; returns whether any was dropped.

        Args:
            batch: The events of the current batch. Only chunks before all of them are dropped: otherwise a long
                re-emission would read the same predictions again and again.
        """
        excess = len(self._chunks) - self._max_chunks
        if excess <= 0:
            return False
        batch = [events for events in batch if len(events.offsets)]
        oldest = min((int(events.timestamps.min()) for events in batch), default=math.inf)
        lowest: dict[tuple[str, int], int] = {}
        for events in batch:
            number = int(events.offsets.min()) // _CHUNK_EVENTS
            at = events.topic, events.partition
            lowest[at] = min(number, lowest.get(at, number))
        by_age = sorted(self._chunks, key=lambda name: self._chunks[name].newest)
        old = [
            (topic, partition, number)
            for topic, partition, number in by_age[:excess]
            if self._chunks[topic, partition, number].newest < oldest or number < lowest.get((topic, partition), 0)
        ]
        for topic, partition, number in old:
            self.covered_since = max(self.covered_since, self._chunks.pop((topic, partition, number)).newest + 1)
            if (topic, partition) in self._covered_from:
                after = (number + 1) * _CHUNK_EVENTS
                self._covered_from[topic, partition] = max(self._covered_from[topic, partition], after)
        return bool(old)

    def __len__(self) -> int:
        """Number of chunks held."""
        return len(self._chunks)


def in_columns(positions: Iterable[EventPosition]) -> Iterator[Events]:
    """The same events as columns, never many at once, so that any number takes little memory."""
    iterator = iter(positions)
    while block := list(islice(iterator, _READ_EVENTS)):
        rows: dict[tuple[str, int], list[EventPosition]] = {}
        for position in block:
            rows.setdefault(position[:2], []).append(position)
        for (topic, partition), events in rows.items():
            offsets, timestamps = np.array([event[2:] for event in events], np.int64).T
            yield Events(topic, partition, offsets, timestamps)


def _by_chunk(offsets: Integers) -> list[tuple[int, Mask | slice]]:
    """The numbers of the chunks that the offsets are in, each with its rows."""
    numbers = offsets // _CHUNK_EVENTS
    distinct = np.unique(numbers).tolist()
    # A batch is mostly in one chunk.
    return [(number, numbers == number if len(distinct) > 1 else slice(None)) for number in distinct]


def _tags(timestamps: Integers) -> npt.NDArray[np.uint8]:
    """One to 255 for each: tags of timestamps, which differ between times a little apart."""
    mixed = (timestamps.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)
    return (mixed % np.uint64(255)).astype(np.uint8) + np.uint8(1)
