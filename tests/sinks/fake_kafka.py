"""A topic in memory, and a consumer of it that a test can kill."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import TopicPartition

TOPIC = "features.p"


@dataclass(frozen=True)
class FakeMessage:
    """A record whose value is its partition and offset."""

    number: int
    at: int

    def error(self) -> None: ...

    def topic(self) -> str:
        return TOPIC

    def partition(self) -> int:
        return self.number

    def offset(self) -> int:
        return self.at

    def timestamp(self) -> tuple[int, int]:
        return 1, 1_000

    def value(self) -> bytes:
        return b"%d@%d" % (self.number, self.at)


class FakeTopic:
    """The topic: as many records in each partition as ``ends`` says, and the group's committed offsets."""

    def __init__(self, *ends: int) -> None:
        self.ends = ends
        self.committed = dict.fromkeys(range(len(ends)), 0)

    @property
    def values(self) -> set[bytes]:
        """The values of all records."""
        return {FakeMessage(number, at).value() for number, end in enumerate(self.ends) for at in range(end)}


class Killed(Exception):  # noqa: N818 - what happened
    """The process ends here."""


class FakeConsumer:
    """The consumer of one sink.

    Args:
        topic: What it reads.
        alive: Asked at every poll; once it returns False the process is killed, and commits nothing any more.
        on_commit: Called with the offsets of each commit, by partition.
    """

    def __init__(
        self, topic: FakeTopic, alive: Callable[[], bool], on_commit: Callable[[dict[int, int]], None]
    ) -> None:
        self._topic = topic
        self._alive = alive
        self._on_commit = on_commit
        self._positions: dict[int, int] = {}
        self._paused = self._is_killed = False
        self._on_assign: Any = None

    def subscribe(self, _topics: list[str], *, on_assign: Any, **_callbacks: Any) -> None:
        self._on_assign = on_assign

    def incremental_assign(self, partitions: Sequence[TopicPartition]) -> None:
        self._positions = {p.partition: self._topic.committed[p.partition] for p in partitions}

    def assignment(self) -> list[TopicPartition]:
        return [TopicPartition(TOPIC, number) for number in self._positions]

    def poll(self, _timeout: float) -> FakeMessage | None:
        if not self._alive():
            self._is_killed = True
            raise Killed
        if not self._positions:
            self._on_assign(self, [TopicPartition(TOPIC, number) for number in range(len(self._topic.ends))])
        return next(iter(self.consume(1, 0)), None)

    def consume(self, most: int, _timeout: float) -> list[FakeMessage]:
        found: list[FakeMessage] = []
        # At first half of what is wanted from each, so that a batch has several partitions; then whatever there is.
        for share in ((most + 1) // 2, most) if not self._paused else ():
            for number, position in self._positions.items():
                end = min(self._topic.ends[number], position + min(share, most - len(found)))
                found += [FakeMessage(number, at) for at in range(position, end)]
                self._positions[number] = end
        return found

    def pause(self, _partitions: object) -> None:
        self._paused = True

    def resume(self, _partitions: object) -> None:
        self._paused = False

    def seek(self, to: TopicPartition) -> None:
        self._positions[to.partition] = to.offset

    def get_watermark_offsets(self, of: TopicPartition, timeout: float) -> tuple[int, int]:
        assert timeout
        return 0, self._topic.ends[of.partition]

    def committed(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        assert timeout
        return [TopicPartition(TOPIC, p.partition, self._topic.committed[p.partition]) for p in partitions]

    def commit(self, offsets: list[TopicPartition], asynchronous: bool) -> list[TopicPartition]:
        assert not asynchronous
        if not self._is_killed:
            self._on_commit({p.partition: p.offset for p in offsets})
            self._topic.committed.update({p.partition: p.offset for p in offsets})
        return offsets

    def close(self) -> None: ...
