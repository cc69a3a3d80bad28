"""A topic in memory with markers, retention and rebalances, and its consumer, which a test can kill."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, TopicPartition

from penstock.kafka.reading import Record
from tests.sinks.archive.archive_helpers import TOPIC


class FakeError:
    """An error of the client."""

    def __init__(self, code: int) -> None:
        self._code = code

    def code(self) -> int:
        return self._code

    def str(self) -> str:
        return "an error"

    def fatal(self) -> bool:
        return False


@dataclass(frozen=True)
class FakeMessage:
    """A record, or an error at an offset."""

    found: Record
    code: int | None = None

    def error(self) -> Any:
        return None if self.code is None else FakeError(self.code)

    def topic(self) -> str:
        return TOPIC

    def partition(self) -> int:
        return self.found.partition

    def offset(self) -> int:
        return self.found.offset

    def timestamp(self) -> tuple[int, int]:
        return 1, self.found.timestamp

    def key(self) -> bytes | None:
        return self.found.key

    def value(self) -> bytes | None:
        return self.found.value

    def headers(self) -> list[tuple[str, bytes | None]]:
        return list(self.found.headers)


class FakeTopic:
    """The topic.

    Args:
        partitions: The records of each partition.
        markers: How many offsets after the last record of each have none.
    """

    def __init__(self, *partitions: list[Record], markers: int = 1) -> None:
        self.partitions = list(partitions)
        self.markers = markers
        self.earliest = [0] * len(partitions)
        self.committed: dict[int, int] = {}

    def end(self, partition: int) -> int:
        """The end of a partition."""
        records = self.partitions[partition]
        return records[-1].offset + 1 + self.markers if records else self.earliest[partition]

    def delete(self, partition: int, before: int) -> None:
        """Delete records, as retention does."""
        self.partitions[partition] = [found for found in self.partitions[partition] if found.offset >= before]
        self.earliest[partition] = before


class FakeConsumer:
    """The consumer of one member.

    Args:
        topic: What it reads.
        on_poll: Called before each poll, with the consumer: it may raise, change the topic or rebalance.
        most: How many records one poll returns at most.
    """

    def __init__(self, topic: FakeTopic, on_poll: Callable[[FakeConsumer], object], most: int = 4) -> None:
        self.topic = topic
        self.paused: set[int] = set()
        self._positions: dict[int, int] = {}
        self._told: dict[int, int] = {}
        self._fetched: list[FakeMessage] = []
        self._on_poll = on_poll
        self._most = most
        self._callbacks: Any = None

    def subscribe(self, _topics: list[str], **callbacks: Any) -> None:
        self._callbacks = callbacks

    def rebalance(self, *partitions: int) -> None:
        """Own these partitions from now on."""
        gone = [TopicPartition(TOPIC, number) for number in self._positions if number not in partitions]
        new = [TopicPartition(TOPIC, number) for number in partitions if number not in self._positions]
        if gone:
            self._callbacks["on_revoke"](self, gone)
            self.incremental_unassign(gone)
        if new:
            self._callbacks["on_assign"](self, new)

    def incremental_assign(self, partitions: list[TopicPartition]) -> None:
        for each in partitions:
            self._positions[each.partition] = each.offset
            self._told.pop(each.partition, None)

    def incremental_unassign(self, partitions: list[TopicPartition]) -> None:
        for each in partitions:
            del self._positions[each.partition]
            self._fetched = [message for message in self._fetched if message.partition() != each.partition]

    def assignment(self) -> list[TopicPartition]:
        return [TopicPartition(TOPIC, number) for number in self._positions]

    def pause(self, partitions: list[TopicPartition]) -> None:
        self.paused |= {each.partition for each in partitions}

    def resume(self, partitions: list[TopicPartition]) -> None:
        self.paused -= {each.partition for each in partitions}

    def get_watermark_offsets(self, of: TopicPartition, timeout: float) -> tuple[int, int]:
        assert timeout
        return self.topic.earliest[of.partition], self.topic.end(of.partition)

    def poll(self, _timeout: float) -> FakeMessage | None:
        if not self._positions:
            self.rebalance(*range(len(self.topic.partitions)))
        self._on_poll(self)
        if not self._fetched:
            self._fetched = [message for number in list(self._positions) for message in self._fetch(number)]
        return next(iter(self.consume(1, 0)), None)

    def consume(self, most: int, _timeout: float) -> list[FakeMessage]:
        found, self._fetched = self._fetched[:most], self._fetched[most:]
        return found

    def _fetch(self, number: int) -> list[FakeMessage]:
        position, end = self._positions[number], self.topic.end(number)
        if number in self.paused or position < 0:
            return []
        if position < self.topic.earliest[number]:
            self._positions[number] = -1  # the client fetches no more until it has an offset again
            return [self._message(number, position, KafkaError._AUTO_OFFSET_RESET)]
        records = [each for each in self.topic.partitions[number] if each.offset >= position]
        found = [FakeMessage(each) for each in records[: self._most]]
        if found:
            self._positions[number] = found[-1].offset() + 1
        if len(records) <= self._most and self._told.get(number) != end:
            self._told[number] = self._positions[number] = end
            found.append(self._message(number, end, KafkaError._PARTITION_EOF))
        return found

    def _message(self, partition: int, offset: int, code: int) -> FakeMessage:
        return FakeMessage(Record(partition, offset, -1, None, None, ()), code)

    def commit(self, offsets: list[TopicPartition], asynchronous: bool) -> list[TopicPartition]:
        assert not asynchronous
        self.topic.committed.update({each.partition: each.offset for each in offsets})
        return offsets

    def close(self) -> None: ...
