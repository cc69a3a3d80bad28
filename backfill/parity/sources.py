"""Where a run reads, and what it compares."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from backfill.parity.sample import Sample
from penstock.kafka.reading import Record
from schemas.codec import Registry
from streams.plan.feature_records import FeaturesDecoder

NOTHING_MISSING = -(2**62)
"""The time before which records may be missing, where none is."""


@dataclass(frozen=True)
class Sources:
    """Where a run's topics are read.

    Args:
        read: The records of a topic, in offset order within each partition; none if there is no such topic.
        decoder_of: The decoder of another pipeline's features topic.
        pii_key: The key that hashes personal data.
        registry: Finds the schemas of a registry.
        known_from: For each (topic, partition), if it is known: the Kafka timestamp before which records may be
            missing, as they were deleted or are not read. Otherwise, of a partition that does not begin with offset 0,
            it is that of the first record that is read.
        taken: For each topic whose events are scored, and each partition: the offset before which the job has
            published everything. Where that is not known (None): up to the newest event with a record.
        scored: The same of the scorer, for the partitions of the features topic.
    """

    read: Callable[[str], Iterator[Record]]
    decoder_of: Callable[[str], FeaturesDecoder]
    pii_key: bytes = b""
    registry: Registry | None = None
    known_from: Mapping[tuple[str, int], int] = field(default_factory=dict)
    taken: Mapping[str, Mapping[int, int]] | None = None
    scored: Mapping[int, int] | None = None

    def missing_before(self, topic: str, partition: int, begin: tuple[int, int] | None) -> int:
        """The Kafka timestamp before which records may be missing, epoch ms.

        ``begin`` is the offset and timestamp of the first record that was read, if there was one.
        """
        offset, timestamp = begin or (0, 0)
        return self.known_from.get((topic, partition), timestamp if offset else NOTHING_MISSING)


@dataclass(frozen=True)
class Range:
    """Which events are compared: those of a sample of entities, with an event time in [from, to), epoch ms."""

    from_ms: int
    to_ms: int
    sample: Sample = field(default_factory=Sample)

    def has(self, time_ms: int) -> bool:
        """Whether an event time is in the range."""
        return self.from_ms <= time_ms < self.to_ms
