"""Which raw events are already scored: the memory that makes a feature record emitted twice count once.

Flink emits records again after a failure (at least once); each has new offsets on the features topic but names the
same raw event. The memory keeps one bit per raw event, for the partitions that this scorer holds, and knows since when
it is complete: *for events of a source timestamp at or after* ``covered_since``. When a batch holds an older event, the
predictions already published are read (:mod:`scoring.history`) and the mark is moved back. That is exact, because a
prediction's Kafka timestamp is never before its event's, and needs no horizon to be guessed.

Pure: no Kafka, no clock.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

# Bits per chunk: small enough to be dropped piecemeal, large enough that the dictionary around it costs nothing.
_CHUNK_BITS = 1 << 16
# Chunks kept per partition: 64 Mi events in 8 MiB. What is dropped can be read again, so this bounds memory, not truth.
_MAX_CHUNKS = 1024


class Source(NamedTuple):
    """A raw event: where it lies, and its Kafka timestamp (epoch ms)."""

    topic: str
    partition: int
    offset: int
    timestamp: int


@dataclass
class _Chunk:
    bits: bytearray = field(default_factory=lambda: bytearray(_CHUNK_BITS // 8))
    newest: int = -(2**63)  # source timestamp, epoch ms


class PartitionMemory:
    """What is scored in one partition of the predictions topic, the dead-lettered included."""

    def __init__(self, max_chunks: int = _MAX_CHUNKS) -> None:
        self.covered_since: float = math.inf
        self._max_chunks = max_chunks
        self._chunks: dict[tuple[str, int, int], _Chunk] = {}

    def missing_before(self, sources: Iterable[Source]) -> int | None:
        """The source timestamp from which predictions must be read before ``sources`` can be judged; None if none."""
        oldest = min((source.timestamp for source in sources), default=None)
        return oldest if oldest is not None and oldest < self.covered_since else None

    def extend(self, since: int, sources: Iterable[Source]) -> None:
        """Take in ``sources``, which hold every scored event from ``since`` until the former ``covered_since``."""
        self.add(sources)
        self.covered_since = min(self.covered_since, since)

    def add(self, sources: Iterable[Source]) -> None:
        """Remember events as scored; only call it when that is committed."""
        for topic, partition, offset, timestamp in sources:
            chunk = self._chunks.setdefault((topic, partition, offset // _CHUNK_BITS), _Chunk())
            bit = offset % _CHUNK_BITS
            chunk.bits[bit >> 3] |= 1 << (bit & 7)
            chunk.newest = max(chunk.newest, timestamp)

    def __contains__(self, source: Source) -> bool:
        """Whether the event is known as scored; an answer of no means something only from ``covered_since`` on."""
        chunk = self._chunks.get((source.topic, source.partition, source.offset // _CHUNK_BITS))
        bit = source.offset % _CHUNK_BITS
        return chunk is not None and bool(chunk.bits[bit >> 3] & (1 << (bit & 7)))

    def shrink(self, before: int) -> bool:
        """Keep to the bound by dropping the oldest chunks whose events are all before ``before``; whether any was.

        ``before`` is the oldest source timestamp at hand: what the stream is reading now is never dropped, or a long
        re-emission would read the same predictions over and over.
        """
        excess = len(self._chunks) - self._max_chunks
        if excess <= 0:
            return False
        by_age = sorted(self._chunks, key=lambda name: self._chunks[name].newest)
        old = [name for name in by_age[:excess] if self._chunks[name].newest < before]
        for name in old:
            self.covered_since = max(self.covered_since, self._chunks.pop(name).newest + 1)
        return bool(old)

    def __len__(self) -> int:
        """Number of chunks held."""
        return len(self._chunks)
