"""Creates, reads and deletes the scratch topic of a backfill, and deletes the consumer group of its job."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import NamedTuple, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from backfill.kafka_offsets import first_offsets
from penstock.errors import PenstockError
from penstock.kafka.access import QUIET, KafkaAccess
from penstock.kafka.gaps import NO_RESET
from penstock.kafka.topics import admin_client, partition_counts

_TIMEOUT_S = 30.0
_NOT_FOUND = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.GROUP_ID_NOT_FOUND)
# The topic of an abandoned backfill becomes empty by itself.
_RETENTION_MS = 7 * 86_400_000
_MAX_BYTES = 32 * 2**20
_BATCH = 5_000
# A restart of the broker; longer than the open transaction of a killed writer can block the records after it.
_STUCK_S = 90.0


def create(kafka: KafkaAccess, topic: str, partitions: int) -> None:
    """Create the topic; an existing topic of that name is deleted first.

    Raises:
        PenstockError: if Kafka cannot be reached or refuses the request.
    """
    admin = admin_client(kafka)
    if topic in partition_counts(admin, kafka):
        _delete_topic(admin, topic)
    config = {"retention.ms": str(_RETENTION_MS), "max.message.bytes": str(_MAX_BYTES)}
    try:
        # -1: the broker's default replication factor.
        request = NewTopic(topic, partitions, -1, config=config)
        admin.create_topics([request], operation_timeout=_TIMEOUT_S)[topic].result(_TIMEOUT_S)
    except KafkaException as error:
        raise PenstockError(
            f"topic {topic} could not be created: {error.args[0].str()}", where=str(kafka), next="penstock status"
        ) from error


def has_all_records(kafka: KafkaAccess, topic: str) -> bool:
    """Return whether the topic exists and retention has deleted nothing from it.

    Raises:
        PenstockError: if Kafka cannot be reached.
    """
    partitions = partition_counts(admin_client(kafka), kafka).get(topic, 0)
    return partitions > 0 and not any(first_offsets(kafka, topic, range(partitions)).values())


def copies_topic(topic: str, number: int) -> str:
    """Return the topic beside a scratch topic that has copies of the archived records of a source."""
    return f"{topic}.source-{number}"


def delete(kafka: KafkaAccess, topic: str, group: str) -> None:
    """Delete the topic, those with copies beside it, and the consumer group, if they exist.

    Raises:
        PenstockError: if Kafka cannot be reached.
    """
    admin = admin_client(kafka)
    for name in partition_counts(admin, kafka):
        if name == topic or name.startswith(f"{topic}.source-"):
            _delete_topic(admin, name)
    try:
        admin.delete_consumer_groups([group], request_timeout=_TIMEOUT_S)[group].result(_TIMEOUT_S)
    except KafkaException as error:
        if error.args[0].code() not in _NOT_FOUND:
            raise


class Chunk(NamedTuple):
    """Records of one partition of the topic: their offsets and values."""

    partition: int
    offsets: list[int]
    values: list[bytes]


class ScratchReader:
    """Reads the committed records of the topic as they arrive. A context manager.

    Args:
        kafka: How to reach Kafka.
        topic: The topic, which must exist.
        start: The first offset of each partition to read.
    """

    def __init__(self, kafka: KafkaAccess, topic: str, start: Mapping[int, int]) -> None:
        self._kafka, self._topic = kafka, topic
        self._positions = dict(start)
        self._consumer = Consumer(
            {
                **kafka.client(),
                # A separate group without commits: the manifest says what was read.
                "group.id": f"penstock-read-{uuid.uuid4()}",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                # Transaction markers occupy offsets: only the broker knows that the last record has been read.
                "enable.partition.eof": True,
                # Default 500: how long the broker waits for more.
                "fetch.wait.max.ms": 100,
                "queued.max.messages.kbytes": 32_768,
                **NO_RESET,
                **QUIET,
            }
        )
        self._consumer.assign([TopicPartition(topic, number, offset) for number, offset in start.items()])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._consumer.close()

    def read(self, timeout_s: float) -> list[Chunk]:
        """Return the next records; none, if no record arrives in time.

        Raises:
            PenstockError: if the topic is gone or has lost records, or may not be read.
        """
        first = self._consumer.poll(timeout_s)
        chunks: dict[int, Chunk] = {}
        for message in () if first is None else (first, *self._consumer.consume(_BATCH - 1, 0)):
            if message.error() is not None:
                self._handle(message)
                continue
            partition, offset = message.partition(), message.offset()
            chunk = chunks.setdefault(partition, Chunk(partition, [], []))
            chunk.offsets.append(offset)
            chunk.values.append(message.value())
            self._positions[partition] = offset + 1
        return list(chunks.values())

    @property
    def done(self) -> int:
        """How many offsets of the topic lie before those that are read next."""
        return sum(self._positions.values())

    def has_read(self, ends: Mapping[int, int]) -> bool:
        """Whether all records before these offsets have been read."""
        return all(position >= ends[partition] for partition, position in self._positions.items())

    def read_to(self, ends: Mapping[int, int], timeout_s: float) -> Iterator[list[Chunk]]:
        """Yield the records before these offsets, an empty list after each ``timeout_s`` without one.

        Raises:
            PenstockError: as :meth:`read`, and if nothing arrives for long.
        """
        moved_at, before = time.monotonic(), dict(self._positions)
        while not self.has_read(ends):
            yield self.read(timeout_s)
            now = time.monotonic()
            if self._positions != before:
                moved_at, before = now, dict(self._positions)
            elif now - moved_at > _STUCK_S:
                raise PenstockError(
                    f"nothing more of topic {self._topic} can be read",
                    where=str(self._kafka),
                    safe="the parts that the manifest names",
                    next="penstock status; then run the same command, which continues the backfill",
                )

    def _handle(self, message: Message) -> None:
        error: KafkaError = message.error()
        match error.code():
            case KafkaError._PARTITION_EOF:  # noqa: SLF001 - the library's public names
                partition = message.partition()
                self._positions[partition] = max(self._positions[partition], message.offset())
            case KafkaError._TRANSPORT | KafkaError._ALL_BROKERS_DOWN | KafkaError._TIMED_OUT:  # noqa: SLF001
                pass  # the client connects again
            case KafkaError._AUTO_OFFSET_RESET | KafkaError.UNKNOWN_TOPIC_OR_PART | KafkaError._UNKNOWN_PARTITION:  # noqa: SLF001
                raise gone(self._topic)
            case _ if not error.retriable():
                raise PenstockError(
                    f"topic {self._topic} cannot be read: {error.str()}",
                    where=str(self._kafka),
                    safe="the parts that the manifest names",
                    next="penstock status; then run the same command, which continues the backfill",
                )


def gone(topic: str) -> PenstockError:
    """Return the error that rows of the job are lost."""
    return PenstockError(
        "rows that the job wrote have been deleted",
        where=f"topic {topic}",
        safe="the live pipeline is not affected",
        next="delete the folder of the backfill and run the command again",
    )


def _delete_topic(admin: AdminClient, topic: str) -> None:
    try:
        admin.delete_topics([topic], operation_timeout=_TIMEOUT_S)[topic].result(_TIMEOUT_S)
    except KafkaException as error:
        if error.args[0].code() not in _NOT_FOUND:
            raise
