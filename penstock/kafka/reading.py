"""Reads topics: every committed record, up to the end of the topic at the time of the call."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from penstock.counts import counted
from penstock.errors import PenstockError
from penstock.kafka.access import QUIET, KafkaAccess
from penstock.kafka.gaps import NO_RESET

_POLL_S = 1.0
_TIMEOUT_S = 15.0
_NO_LEADER = frozenset({KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE})
_NO_LEADER_PAUSE_S = 0.1
_BATCH = 5_000
# Longer than the open transaction of a killed writer can block the records after it.
_STUCK_S = 90.0


class RecordsGoneError(PenstockError):
    """What should be read is not there any more, or never was: no topic, no partition, or records that were deleted."""


@dataclass(frozen=True, slots=True)
class Record:
    """One Kafka record, unchanged. ``timestamp`` is epoch milliseconds, -1 if the record has none."""

    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


class ReadTopic(Protocol):
    """Reads a topic as :func:`read_topic` does, from wherever it is."""

    def __call__(
        self, topic: str, *, start: Mapping[int, int] | None = None, end: Mapping[int, int] | None = None
    ) -> Iterator[Record]:
        """The records of the partitions in ``start``, or of all, in offset order within each partition."""


def read_topic(
    kafka: KafkaAccess, topic: str, *, start: Mapping[int, int] | None = None, end: Mapping[int, int] | None = None
) -> Iterator[Record]:
    """Read a topic's committed records, in offset order within each partition; commits no offsets.

    Args:
        kafka: How to reach Kafka.
        topic: The topic's name.
        start: The first offset of each partition to read; other partitions are not read. By default all partitions from
            their beginning.
        end: The offset before which to stop; by default the last stable offset of each partition when the call starts.

    Raises:
        RecordsGoneError: if the topic or a partition does not exist, or Kafka deletes records before they are read.
        PenstockError: if Kafka cannot be reached, stops answering, or does not allow the reader to read.
    """
    consumer = Consumer(
        {
            **kafka.client(),
            # A separate group without commits: reading must not change the pipeline's groups.
            "group.id": f"penstock-read-{uuid.uuid4()}",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            # Default 500: the broker would wait as long before it answers that nothing is left but a commit's marker.
            "fetch.wait.max.ms": 10,
            **NO_RESET,
            "queued.max.messages.kbytes": 65_536,
            **QUIET,
        }
    )
    try:
        known = _end_offsets(consumer, kafka, topic)
        if missing := sorted({*(start or {}), *(end or {})} - known.keys()):
            raise RecordsGoneError(
                f"topic {topic} has no partition {missing[0]}, it has {counted(len(known), 'partition')}",
                where=str(kafka),
                next="penstock topics show PIPELINE",
            )
        ends = known if end is None else known | {partition: min(known[partition], end[partition]) for partition in end}
        starts = dict.fromkeys(ends, OFFSET_BEGINNING) if start is None else start
        open_partitions = {partition for partition, first in starts.items() if max(0, first) < ends[partition]}
        consumer.assign([TopicPartition(topic, partition, starts[partition]) for partition in open_partitions])
        moved_at = time.monotonic()
        while open_partitions:
            # Not one call that waits: it would wait its whole time for records beyond the end to fill the batch.
            first = consumer.poll(_POLL_S)
            messages = [] if first is None else [first, *consumer.consume(_BATCH - 1, 0)]
            if messages:
                moved_at = time.monotonic()
            elif time.monotonic() - moved_at > _STUCK_S:
                raise PenstockError(
                    f"nothing more of topic {topic} can be read, of partitions {sorted(open_partitions)}",
                    where=str(kafka),
                    next="penstock status",
                )
            for message in messages:
                partition = message.partition()
                assert partition is not None
                error = message.error()
                if error is not None:
                    # Transaction markers occupy offsets: only the broker knows that the last record has been read.
                    if error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001 - the library's public names
                        raise RecordsGoneError(
                            "Kafka deleted records before they were read",
                            where=f"{topic}[{partition}]@{message.offset()} at {kafka}",
                            next="run the command again, which reads what the topic still has; "
                            "longer retention of the topic avoids this",
                        )
                    if error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001
                        raise PenstockError(
                            f"topic {topic} cannot be read: {error.str()}",
                            where=f"{topic}[{partition}] at {kafka}",
                            next="penstock status; a reader's rights are in deploy/security/kafka-acls.toml",
                        )
                    open_partitions.discard(partition)
                    continue
                offset = message.offset()
                assert offset is not None
                if offset < ends[partition]:
                    yield Record(
                        partition=partition,
                        offset=offset,
                        timestamp=message.timestamp()[1],
                        key=message.key(),
                        value=message.value(),
                        headers=tuple(message.headers() or ()),
                    )
                if offset >= ends[partition] - 1:
                    open_partitions.discard(partition)
    finally:
        consumer.close()


class Start(NamedTuple):
    """Where the records of a partition begin that are dated at a time or later.

    Args:
        offset: The offset; the partition's end if there is no such record.
        is_cut: Whether Kafka has deleted all records before it, so that there may have been more.
    """

    offset: int
    is_cut: bool


def starts_at(kafka: KafkaAccess, topic: str, times: Sequence[tuple[int, int]]) -> list[Start]:
    """Where partitions begin with what is dated at a time or later; records that are dated before may follow.

    Args:
        kafka: How to reach Kafka.
        topic: The topic's name.
        times: Partitions, each with a time (epoch ms).

    Raises:
        PenstockError: if Kafka does not answer.
    """
    consumer = Consumer({**kafka.client(), "group.id": f"penstock-read-{uuid.uuid4()}", **QUIET})
    starts = []
    try:
        for partition, time_ms in times:
            first, end = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=_TIMEOUT_S)
            found = _offset_at(consumer, topic, partition, time_ms)
            offset = end if found < 0 else found
            starts.append(Start(offset, 0 < offset <= first))
    except KafkaException as error:
        raise PenstockError(
            f"offsets of topic {topic} cannot be read: {error.args[0].str()}", where=str(kafka), next="penstock status"
        ) from error
    finally:
        consumer.close()
    return starts


def _offset_at(consumer: Consumer, topic: str, partition: int, time_ms: int) -> int:
    # Kafka takes negative times for special offsets.
    asked = TopicPartition(topic, partition, max(time_ms, 0))
    (found,) = consumer.offsets_for_times([asked], timeout=_TIMEOUT_S)
    if found.error is not None:
        raise KafkaException(found.error)
    offset: int = found.offset
    return offset


def _end_offsets(consumer: Consumer, kafka: KafkaAccess, topic: str) -> dict[int, int]:
    try:
        metadata = consumer.list_topics(topic, timeout=_TIMEOUT_S).topics[topic]
        if metadata.error is not None:
            is_gone = metadata.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART
            raise (RecordsGoneError if is_gone else PenstockError)(
                what=f"topic {topic} cannot be read: {metadata.error.str()}",
                where=str(kafka),
                next="penstock topics create PIPELINE, if it does not exist yet",
            )
        return {partition: watermarks(consumer, topic, partition)[1] for partition in metadata.partitions}
    except KafkaException as error:
        raise PenstockError(what="Kafka cannot be reached", where=str(kafka), next="penstock status") from error


def watermarks(consumer: Consumer, topic: str, partition: int) -> tuple[int, int]:
    """The first offset and the last stable one. A partition that was made a moment ago may have no leader yet.

    Raises:
        KafkaException: if it has none for a while, or Kafka does not answer.
    """
    deadline = time.monotonic() + _TIMEOUT_S
    while True:
        try:
            low, end = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=_TIMEOUT_S)
            return int(low), int(end)
        except KafkaException as error:
            if error.args[0].code() not in _NO_LEADER or time.monotonic() > deadline:
                raise
        time.sleep(_NO_LEADER_PAUSE_S)
