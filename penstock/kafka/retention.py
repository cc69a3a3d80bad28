"""What a consumer does when the record that it must read next is no longer in its topic.

Kafka deletes records by age or size, read or unread. A consumer that resets to the earliest record passes over deleted
ones without a word. So no consumer of a pipeline resets (``NO_RESET``); this rule decides instead:

- *No offset is committed* (the first start): begin at the earliest record, whatever was deleted before.
- *Records were deleted unread*, or the topic was made anew: stop with an error that says what is lost. With
  ``--skip-deleted`` go on at the earliest record. In either case the lost records are counted.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition
from prometheus_client import Counter

from penstock.kafka.gaps import Gap
from penstock.kafka.lag import Partition, committed_of

_log = logging.getLogger(__name__)

_TIMEOUT_S = 10.0
_DELETED = Counter(
    "penstock_consumer_deleted_records",
    "Records that Kafka deleted before they were read",
    ["pipeline", "part", "topic"],
)


@dataclass(frozen=True)
class GapPolicy:
    """What one part of a pipeline does about gaps.

    Args:
        pipeline: The pipeline's name.
        part: The part's name, as in its consumer group.
        topics: The topics that it reads.
        meaning: What a loss means for its results, one sentence.
        command: The command that started it, without the flag.
        skip: Whether it was started with the flag.
    """

    pipeline: str
    part: str
    topics: tuple[str, ...]
    meaning: str
    command: str
    skip: bool

    def __post_init__(self) -> None:
        for topic in self.topics:  # start at 0, because increase() misses the first event of a series that begins later
            _DELETED.labels(self.pipeline, self.part, topic)

    def pass_over(self, gap: Gap) -> None:
        """Count the gap, and log it; returns if the consumer may go on at the earliest record.

        Raises:
            PenstockError: without the flag.
        """
        self.count(gap)
        if not self.skip:
            raise gap.error(self.meaning, self.command)
        _log.warning("%s: skipped %s records that Kafka deleted, up to %s", gap, f"{gap.lost:,}", gap.earliest)

    def count(self, gap: Gap) -> None:
        """Count the lost records."""
        _DELETED.labels(self.pipeline, self.part, gap.topic).inc(gap.lost)


class OffsetResets:
    """Applies the rule to a librdkafka consumer with ``NO_RESET``, which reports each partition that it affects.

    Args:
        policy: What to do about gaps.
    """

    def __init__(self, policy: GapPolicy) -> None:
        self._policy = policy
        self._waiting: dict[Partition, int | None] = {}

    @property
    def waiting(self) -> bool:
        """Whether partitions wait to be placed."""
        return bool(self._waiting)

    def takes(self, message: Message) -> bool:
        """Whether the message says that a partition has no valid offset; :meth:`place` then sets one."""
        error, topic, partition = message.error(), message.topic(), message.partition()
        if error is None or error.code() != KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001 - public, in spite of _
            return False
        assert topic is not None
        assert partition is not None
        self._waiting[topic, partition] = message.offset()
        return True

    def place(self, consumer: Consumer) -> dict[Partition, Gap | None]:
        """Set the waiting partitions to their offsets; returns them, each with the gap that was passed over, if any.

        A gap that was passed over is committed, so that the next start needs no flag.

        Commit what was processed before: records that are not committed count as unread.

        Raises:
            PenstockError: if there is a gap and the flag is missing.
        """
        placed: dict[Partition, Gap | None] = {}
        for partition, expected in list(self._waiting.items()):
            try:
                if TopicPartition(*partition) in consumer.assignment():
                    placed[partition] = self._place(consumer, partition, expected)
            except KafkaException as error:
                _log.warning("the offsets of %s[%s] are not known yet: %s", *partition, error.args[0].str())
                continue
            del self._waiting[partition]
        return placed

    def forget(self, partitions: Iterable[Partition]) -> None:
        """Partitions that were revoked: their next owner begins at the committed offset."""
        for partition in partitions:
            self._waiting.pop(partition, None)

    def _place(self, consumer: Consumer, partition: Partition, expected: int | None) -> Gap | None:
        gap, start = None, OFFSET_BEGINNING
        if expected is not None:
            # What was read before and not committed has to be read again, and is gone as well.
            committed = committed_of(consumer, [TopicPartition(*partition)], _TIMEOUT_S)[0].offset
            expected = min(expected, committed) if committed >= 0 else expected
            earliest, end = consumer.get_watermark_offsets(TopicPartition(*partition), timeout=_TIMEOUT_S)
            gap = Gap.find(partition, expected, earliest, end)
            start = expected if gap is None else earliest
        if gap is not None:
            self._policy.pass_over(gap)
        # A partition without an offset cannot be sought.
        consumer.incremental_unassign([TopicPartition(*partition)])
        consumer.incremental_assign([TopicPartition(*partition, start)])
        if gap is not None:
            try:
                consumer.commit(offsets=[TopicPartition(*partition, start)], asynchronous=False)
            except KafkaException as error:
                _log.warning("%s[%s]@%s is not committed yet: %s", *partition, start, error.args[0].str())
        return gap
