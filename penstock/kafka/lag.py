"""The lag of consumer groups, in records per partition."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeAlias, TypeVar

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from penstock.kafka.access import QUIET, KafkaAccess

Partition: TypeAlias = tuple[str, int]
_T = TypeVar("_T")

_TIMEOUT_S = 15.0
_PEEK_S = 5.0
_RETRY_S = 0.2
_NO_COORDINATOR_YET = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
)
# The client's errors while none of the requested partitions has a leader: during an election, or on a starved broker.
_NO_LEADER_YET = (
    KafkaError._NOENT,  # noqa: SLF001 - public, in spite of _
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
)


@dataclass(frozen=True)
class Waiting:
    """The first record that waits in a partition: its offset, and its Kafka timestamp in epoch ms."""

    offset: int
    timestamp: int


class Lag:
    """Reads end offsets and committed offsets; joins no group and commits nothing.

    Args:
        kafka: How to reach Kafka.
        partitions: The number of partitions of topics for which it is known; of others, Kafka is asked every time.
    """

    def __init__(self, kafka: KafkaAccess, partitions: Mapping[str, int] | None = None) -> None:
        self._known = {topic: [TopicPartition(topic, n) for n in range(of)] for topic, of in (partitions or {}).items()}
        self._settings: dict[str, str | int] = {**kafka.client(), **QUIET}
        self._admin = AdminClient(self._settings)
        self._groups: dict[tuple[str, str], Consumer] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def end_offsets(self, topic: str) -> dict[int, int]:
        """Last stable offset of each partition; it counts transaction markers, which are not records."""
        return self._offsets(topic, OffsetSpec.latest())

    def log_ends(self, topic: str) -> dict[int, int]:
        """The end of each partition, with the records of transactions that are still open."""
        return self._offsets(topic, OffsetSpec.latest(), IsolationLevel.READ_UNCOMMITTED)

    def earliest_offsets(self, topic: str) -> dict[int, int]:
        """Offset of the first record that each partition still has."""
        return self._offsets(topic, OffsetSpec.earliest())

    def committed_offsets(self, group: str, topic: str, *, pending: bool = True) -> dict[int, int]:
        """The group's committed offset of each partition; a partition without one is left out.

        Args:
            group: The group.
            topic: The topic.
            pending: Whether to wait for transactions that are about to commit offsets. While several members of the
                group do so all the time, there is hardly a moment without one.

        Raises:
            KafkaException: if Kafka does not answer, or has no answer for a partition.
        """
        # Not the admin client's call: it crashes the process during the search for the group's coordinator
        # (librdkafka#5040). A consumer that never subscribes can ask too, and does not join the group.
        consumer = self._consumer(group, "read_committed" if pending else "read_uncommitted")
        partitions = self._partitions(topic)
        # A new cluster has no coordinator for the group until the first request for it.
        committed = _retry_while(lambda: committed_of(consumer, partitions, _TIMEOUT_S), _NO_COORDINATOR_YET)
        return {found.partition: found.offset for found in committed if found.offset >= 0}

    def of_group(self, group: str, topic: str) -> dict[int, int]:
        """Records (and transaction markers) between the group's committed offset and the end of each partition."""
        committed = self.committed_offsets(group, topic)
        return {partition: end - committed.get(partition, 0) for partition, end in self.end_offsets(topic).items()}

    def first_waiting(self, group: str, positions: Mapping[Partition, int]) -> dict[Partition, Waiting | None]:
        """The first record at or after each position; None if only transaction markers, or nothing, follow.

        A partition that does not answer in time is left out.
        """
        found: dict[Partition, Waiting | None] = {}
        if not positions:
            return found
        consumer, deadline = self._consumer(group), time.monotonic() + _PEEK_S
        consumer.assign([TopicPartition(topic, partition, at) for (topic, partition), at in positions.items()])
        try:
            while len(found) < len(positions) and (left := deadline - time.monotonic()) > 0:
                message = consumer.poll(left)
                if message is None:
                    continue
                partition, error = (message.topic(), message.partition()), message.error()
                if error is None:
                    found.setdefault(partition, Waiting(message.offset(), message.timestamp()[1]))
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - public
                    found.setdefault(partition, None)
        finally:
            consumer.unassign()
        return found

    def close(self) -> None:
        """Disconnect."""
        for consumer in self._groups.values():
            consumer.close()
        self._groups.clear()

    def _consumer(self, group: str, isolation: str = "read_committed") -> Consumer:
        if (group, isolation) not in self._groups:
            self._groups[group, isolation] = Consumer(
                {
                    **self._settings,
                    "group.id": group,
                    "enable.auto.commit": False,
                    "isolation.level": isolation,
                    "auto.offset.reset": "earliest",
                    # Needs one record per partition; the end of a partition is reported, so that no poll waits for it.
                    "enable.partition.eof": True,
                    "queued.min.messages": 1,
                    "fetch.message.max.bytes": 64 * 1024,
                    "fetch.wait.max.ms": 50,
                }
            )
        return self._groups[group, isolation]

    def _offsets(
        self, topic: str, spec: OffsetSpec, isolation: IsolationLevel = IsolationLevel.READ_COMMITTED
    ) -> dict[int, int]:
        partitions = dict.fromkeys(self._partitions(topic), spec)

        def ask() -> dict[int, int]:
            futures = self._admin.list_offsets(partitions, isolation_level=isolation, request_timeout=_TIMEOUT_S)
            return {partition.partition: future.result().offset for partition, future in futures.items()}

        return _retry_while(ask, _NO_LEADER_YET)

    def _partitions(self, topic: str) -> list[TopicPartition]:
        if topic in self._known:
            return self._known[topic]
        found = self._admin.list_topics(topic, timeout=_TIMEOUT_S).topics[topic].partitions
        return [TopicPartition(topic, partition) for partition in found]


def committed_of(consumer: Consumer, partitions: list[TopicPartition], timeout_s: float) -> list[TopicPartition]:
    """The committed offsets of the consumer's group; an error of one partition does not pass for "none committed".

    Raises:
        KafkaException: if Kafka does not answer, or has no answer for a partition.
    """
    found: list[TopicPartition] = consumer.committed(partitions, timeout=timeout_s)
    for partition in found:
        if partition.error is not None:
            raise KafkaException(partition.error)
    return found


def _retry_while(ask: Callable[[], _T], passing: Container[int]) -> _T:
    """Call ``ask``, and repeat it while it fails with an error code in ``passing``, for at most ``_TIMEOUT_S``."""
    deadline = time.monotonic() + _TIMEOUT_S
    while True:
        try:
            return ask()
        except KafkaException as error:
            if error.args[0].code() not in passing or time.monotonic() > deadline:
                raise
            time.sleep(_RETRY_S)


@dataclass(frozen=True)
class PartitionLag:
    """A partition's lag at a time in epoch ms, and the first waiting record at that time; None if caught up."""

    at: int
    records: int
    first: Waiting | None

    def age_s(self, position: int | None, now_ms: int) -> float:
        """Age of the oldest waiting record; grows until that record is done, then stays at the age when measured."""
        if self.first is None:
            return 0.0
        seen = self.at if position is not None and position > self.first.offset else now_ms
        return max(0, seen - self.first.timestamp) / 1000


def lags(
    positions: Mapping[Partition, int],
    ends: Mapping[Partition, int],
    first_waiting: Callable[[Mapping[Partition, int]], Mapping[Partition, Waiting | None]],
    now_ms: int,
) -> dict[Partition, PartitionLag]:
    """The lag of each partition for which it is known.

    Args:
        positions: The offset of the next record to process; OFFSET_BEGINNING if none was processed yet.
        ends: Last stable offsets.
        first_waiting: Looks for the first record at or after each position, see :meth:`Lag.first_waiting`.
        now_ms: Epoch ms.
    """
    caught_up = PartitionLag(now_ms, 0, None)
    asked = {p: at for p, at in positions.items() if p in ends and at < ends[p] and ends[p] > 0}
    found = {p: caught_up for p in positions if p in ends and p not in asked}
    for partition, waiting in first_waiting(asked).items():
        found[partition] = (
            caught_up if waiting is None else PartitionLag(now_ms, max(1, ends[partition] - waiting.offset), waiting)
        )
    return found
