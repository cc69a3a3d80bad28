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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

# Events per chunk: small enough to drop memory in small steps, large enough that the dictionary entry costs nothing.
_CHUNK_EVENTS = 1 << 16
# Chunks per partition: 16 Mi events in 16 MiB. A dropped chunk can be read again: the limit never affects correctness.
MAX_CHUNKS = 256


class EventPosition(NamedTuple):
    """The position of a raw event on its topic, and its Kafka timestamp (epoch ms)."""

    topic: str
    partition: int
    offset: int
    timestamp: int


@dataclass
class _Chunk:
    tags: bytearray = field(default_factory=lambda: bytearray(_CHUNK_EVENTS))  # 0: not scored
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

    def uncovered(self, events: Iterable[EventPosition]) -> list[EventPosition]:
        """Those of the events for which answers must be read."""
        return [event for event in events if event.timestamp < self.covered_since and not self._is_after_limit(event)]

    def extend(self, since: int, events: Iterable[EventPosition]) -> None:
        """Add ``events``, which include every scored event from ``since`` to the present ``covered_since``."""
        self.add(events)
        self.covered_since = min(self.covered_since, since)

    def extend_from(self, topic: str, partition: int, offset: int, events: Iterable[EventPosition]) -> None:
        """Add ``events``, which include every scored event of a raw partition from ``offset`` on that is not held."""
        self.add(events)
        self._covered_from[topic, partition] = min(offset, self._covered_from.get((topic, partition), offset))

    def add(self, events: Iterable[EventPosition]) -> None:
        """Add scored events; call it only after their predictions are committed."""
        for topic, partition, offset, timestamp in events:
            chunk = self._chunks.setdefault((topic, partition, offset // _CHUNK_EVENTS), _Chunk())
            chunk.tags[offset % _CHUNK_EVENTS] = _tag(timestamp)
            chunk.newest = max(chunk.newest, timestamp)

    def __contains__(self, event: EventPosition) -> bool:
        """Whether the event is known to be scored; False is reliable only from ``covered_since`` on."""
        return self._tag_of(event) != 0

    def is_of_another_log(self, event: EventPosition) -> bool:
        """Whether another event with the same topic, partition and offset was scored: the topic was made anew.

        Found with a probability of 254 in 255, so after a few events.
        """
        return self._tag_of(event) not in (0, _tag(event.timestamp))

    def _tag_of(self, event: EventPosition) -> int:
        chunk = self._chunks.get((event.topic, event.partition, event.offset // _CHUNK_EVENTS))
        return 0 if chunk is None else chunk.tags[event.offset % _CHUNK_EVENTS]

    def shrink(self, batch: Sequence[EventPosition]) -> bool:
        """Drop the oldest chunks above the limit; returns whether any was dropped.

        Args:
            batch: The events of the current batch. Only chunks before all of them are dropped: otherwise a long
                re-emission would read the same predictions again and again.
        """
        excess = len(self._chunks) - self._max_chunks
        if excess <= 0:
            return False
        oldest = min((event.timestamp for event in batch), default=math.inf)
        lowest: dict[tuple[str, int], int] = {}
        for topic, partition, offset, _ in batch:
            number = offset // _CHUNK_EVENTS
            lowest[topic, partition] = min(number, lowest.get((topic, partition), number))
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

    def _is_after_limit(self, event: EventPosition) -> bool:
        return event.offset >= self._covered_from.get((event.topic, event.partition), math.inf)

    def __len__(self) -> int:
        """Number of chunks held."""
        return len(self._chunks)


def _tag(timestamp: int) -> int:
    """One to 255: a tag of a timestamp, which differs between times a little apart."""
    return 1 + (timestamp * 0x9E3779B97F4A7C15 >> 32) % 255
