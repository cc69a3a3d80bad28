"""Where a rollout controller goes on reading, and whether it can still read everything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaException, TopicPartition

from penstock.kafka.access import KafkaAccess
from penstock.kafka.gaps import Gap
from penstock.kafka.lag import Lag, Partition, committed_of
from streams.definitions.pipeline import Pipeline

_REQUEST_S = 10.0
# The clock of who published a policy may be ahead of the scorers' clocks by this much.
_CLOCKS_MS = 5 * 60_000


class Found(NamedTuple):
    """What is committed, and what the topics still have.

    Args:
        starts: Where to go on in each partition of which an offset is committed: there, or behind what was deleted.
        gaps: The partitions whose next record is no longer there.
        new: The partitions of which no offset is committed.
        earliest: The first offset that each partition still has.
        ends: The last stable offset of each partition.
    """

    starts: dict[Partition, int]
    gaps: tuple[Gap, ...]
    new: tuple[Partition, ...]
    earliest: Mapping[Partition, int]
    ends: Mapping[Partition, int]

    @classmethod
    def of(
        cls, committed: Mapping[Partition, int], earliest: Mapping[Partition, int], ends: Mapping[Partition, int]
    ) -> Found:
        """What follows from the offsets of all partitions; ``committed`` has those of which something is committed."""
        found = {
            partition: Gap.find(partition, offset, earliest[partition], ends[partition])
            for partition, offset in committed.items()
        }
        gaps = {partition: gap for partition, gap in found.items() if gap is not None}
        starts = {**committed, **{partition: gap.earliest for partition, gap in gaps.items()}}
        return cls(starts, tuple(gaps.values()), tuple(p for p in ends if p not in committed), earliest, ends)


class Positions:
    """Finds out where a controller goes on.

    Args:
        kafka: How to reach Kafka.
        consumer: The controller's consumer.
        pipeline: The pipeline.
        partitions: The number of partitions of each topic that the controller reads.
    """

    def __init__(
        self, kafka: KafkaAccess, consumer: Consumer, pipeline: Pipeline, partitions: Mapping[str, int]
    ) -> None:
        self._kafka = kafka
        self._consumer = consumer
        self._live, self._shadow = pipeline.predictions_topic, pipeline.shadow_topic
        self._log = (pipeline.rollout_log_topic, 0)
        self._labels = () if pipeline.labels is None else pipeline.labels.topics
        self._partitions = partitions

    def find(self) -> Found:
        """What is committed, and what the topics still have.

        Raises:
            KafkaException: if Kafka does not answer.
        """
        asked = [TopicPartition(topic, number) for topic, count in self._partitions.items() for number in range(count)]
        committed = committed_of(self._consumer, asked, _REQUEST_S)
        with Lag(self._kafka, self._partitions) as lag:
            earliest = _by_partition({topic: lag.earliest_offsets(topic) for topic in self._partitions})
            ends = _by_partition({topic: lag.end_offsets(topic) for topic in self._partitions})
        return Found.of({(tp.topic, tp.partition): tp.offset for tp in committed if tp.offset >= 0}, earliest, ends)

    def since(self, found: Found, time_ms: int) -> tuple[dict[Partition, int], bool]:
        """Where to begin in new partitions to read all records since a time; and whether all are there.

        Raises:
            KafkaException: if Kafka does not answer.
        """
        starts = self._since(found.new, found, time_ms)
        # The records before the first one that is left may have been of that time, too.
        is_whole = not any(
            partition[0] in (self._live, self._shadow) and 0 < found.earliest[partition] == offset
            for partition, offset in starts.items()
        )
        return starts, is_whole

    def anew(self, found: Found, time_ms: int | None) -> dict[Partition, int]:
        """Where to begin so that no prediction is read whose shadow prediction is not: at the present ends.

        Labels go on where they were. With a time, the log is read since then: it says where policies are effective.

        Raises:
            KafkaException: if Kafka does not answer.
        """
        starts = {**found.ends, **{place: at for place, at in found.starts.items() if place[0] in self._labels}}
        if time_ms is not None:
            starts |= self._since([self._log], found, time_ms)
        with Lag(self._kafka, self._partitions) as lag:
            # A transaction that is half visible: its shadow predictions may be before their end already, so its
            # predictions must be before theirs.
            return starts | _by_partition({self._live: lag.log_ends(self._live)})

    def _since(self, partitions: Iterable[Partition], found: Found, time_ms: int) -> dict[Partition, int]:
        """The first records since a time, by the clock of who wrote them; the ends where there are none."""
        asked = [TopicPartition(*partition, max(0, time_ms - _CLOCKS_MS)) for partition in partitions]
        answers = self._consumer.offsets_for_times(asked, timeout=_REQUEST_S)
        for tp in answers:
            if tp.error is not None:
                raise KafkaException(tp.error)
        offsets = {(tp.topic, tp.partition): tp.offset for tp in answers}
        return {place: offset if offset >= 0 else found.ends[place] for place, offset in offsets.items()}


def _by_partition(offsets: Mapping[str, Mapping[int, int]]) -> dict[Partition, int]:
    return {(topic, number): offset for topic, of in offsets.items() for number, offset in of.items()}


def why_lost(gaps: Sequence[Gap]) -> str:
    """What was deleted, in words."""
    worst = max(gaps, key=lambda gap: gap.lost)
    total = sum(gap.lost for gap in gaps)
    return f"Kafka deleted {total:,} records before they were read, such as {worst}"
