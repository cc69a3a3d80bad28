"""Where a rollout controller begins to read each partition."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaException, TopicPartition

from penstock.kafka.access import KafkaAccess
from penstock.kafka.gaps import Gap
from penstock.kafka.lag import Lag, Partition, committed_of

_REQUEST_S = 10.0
# The clock of who published a policy may be ahead of the scorers' clocks by this much.
_CLOCKS_MS = 5 * 60_000


class Starts(NamedTuple):
    """Where to begin.

    Args:
        offsets: The first offset to read of each partition.
        gaps: The partitions whose next record Kafka has deleted.
        new: The partitions of which no offset is committed.
    """

    offsets: dict[Partition, int]
    gaps: tuple[Gap, ...]
    new: tuple[Partition, ...]


def choose_starts(
    committed: Mapping[Partition, int],
    earliest: Mapping[Partition, int],
    ends: Mapping[Partition, int],
    first: Callable[[Sequence[Partition]], Mapping[Partition, int]],
) -> Starts:
    """Go on at the committed offsets, behind what Kafka has deleted, and begin at the ``first`` offsets elsewhere.

    Args:
        committed: The committed offset of each partition that has one.
        earliest: The first offset that each partition still has.
        ends: The last stable offset of each partition.
        first: Tells where partitions of which nothing is committed begin.
    """
    gaps = {}
    for partition, offset in committed.items():
        gap = Gap.find(partition, offset, earliest[partition], ends[partition])
        if gap is not None:
            gaps[partition] = gap
    new = [partition for partition in ends if partition not in committed]
    beyond = {partition: gap.earliest for partition, gap in gaps.items()}
    return Starts({**committed, **beyond, **(first(new) if new else {})}, tuple(gaps.values()), tuple(new))


class Positions:
    """Finds out where a controller begins.

    Args:
        kafka: How to reach Kafka.
        consumer: The controller's consumer.
        partitions: The number of partitions of each topic that it reads.
        whole: Topics of which nothing may be left out: a new controller begins with their first record.
    """

    def __init__(
        self, kafka: KafkaAccess, consumer: Consumer, partitions: Mapping[str, int], whole: Sequence[str] = ()
    ) -> None:
        self._kafka = kafka
        self._consumer = consumer
        self._partitions = partitions
        self._whole = whole

    def find(self, since_ms: int | None) -> Starts:
        """Where to begin. Where nothing is committed, with the records since a time (epoch ms), or at the end.

        Raises:
            KafkaException: if Kafka does not answer.
        """
        everything = [(topic, number) for topic, count in self._partitions.items() for number in range(count)]
        asked = [TopicPartition(*partition) for partition in everything]
        committed = committed_of(self._consumer, asked, _REQUEST_S)
        with Lag(self._kafka, self._partitions) as lag:
            ends, earliest = (
                {(topic, number): offset for topic in self._partitions for number, offset in of(topic).items()}
                for of in (lag.end_offsets, lag.earliest_offsets)
            )

        def first(new: Sequence[Partition]) -> dict[Partition, int]:
            later = [partition for partition in new if partition[0] not in self._whole]
            found = {} if since_ms is None else self._since(later, since_ms)
            return {
                partition: earliest[partition] if partition[0] in self._whole else found.get(partition, ends[partition])
                for partition in new
            }

        known = {(tp.topic, tp.partition): tp.offset for tp in committed if tp.offset >= 0}
        return choose_starts(known, earliest, ends, first)

    def _since(self, partitions: Sequence[Partition], since_ms: int) -> dict[Partition, int]:
        """The offset of the first record since a time, of the partitions that have one."""
        asked = [TopicPartition(*partition, max(0, since_ms - _CLOCKS_MS)) for partition in partitions]
        found = self._consumer.offsets_for_times(asked, timeout=_REQUEST_S) if asked else []
        for tp in found:
            if tp.error is not None:
                raise KafkaException(tp.error)
        return {(tp.topic, tp.partition): tp.offset for tp in found if tp.offset >= 0}
