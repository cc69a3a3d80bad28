"""Kafka in memory for the tests of the scorer: its topics, its consumer, its producer, and the history of answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from confluent_kafka import KafkaError, TopicPartition

from penstock.kafka.records import Consumed, Produced
from penstock.kafka.transactions import InstanceFencedError, OutcomeUnknownError, TransactionAbortedError
from scoring.look_back import Ends
from scoring.memory import EventPosition
from scoring.predictions import event_position, event_position_of_dead_letter
from tests.scoring.line_ups import NOW, Bench, Tap, decoded
from tests.scoring.test_recall import Topics

PARTITIONS = 2


class Killed(Exception):  # noqa: N818 - what happens, not an error
    """The process is gone."""


class Message:
    def __init__(self, record: Consumed) -> None:
        self._record = record

    def error(self) -> None:
        return None

    def __getattr__(self, name: str) -> Callable[[], Any]:
        return lambda: getattr(self._record, name)


class Fenced:
    """What a consumer gets that its broker has fenced."""

    def error(self) -> KafkaError:
        return KafkaError(KafkaError.FENCED_INSTANCE_ID, "fenced")


class Kafka:
    """The topics of a pipeline, its consumer and its producer. Transactions fail as they are told to, in turn."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.features: dict[int, list[Consumed]] = {partition: [] for partition in range(PARTITIONS)}
        self.written: list[Produced] = []
        self.offsets: dict[int, tuple[int, str]] = {}
        self.failures: list[str] = []
        self.script: list[Callable[[], object]] = []
        self.positions: dict[int, int] = {}
        self.answers = {partition: Topics() for partition in range(PARTITIONS)}
        self.taps = 0
        self.is_fenced = False
        self.joined = 0

    def feed(self, *amounts: float) -> None:
        for amount in amounts:
            (record,) = self.bench.records([Tap(f"card-{self.taps % 10}", amount)], self.taps, PARTITIONS)
            self.emit(record)
            self.taps += 1

    def emit(self, record: Consumed) -> None:
        """Append a feature record, which may be one that was emitted before."""
        partition = self.features[record.partition]
        partition.append(record._replace(offset=len(partition)))

    def is_done(self) -> bool:
        """Whether everything is scored and committed."""
        ends = {partition: len(records) for partition, records in self.features.items() if records}
        return not self.script and ends == {partition: offset for partition, (offset, _) in self.offsets.items()}

    # The consumer.

    def fence(self, *, lost_before: bool) -> None:
        """Fence the consumer, in the middle of a call of it; perhaps it has lost its partitions before."""
        if lost_before:
            self.callbacks["on_lost"](self, self.assignment())
        self.is_fenced = True

    def close(self) -> None:
        self.is_fenced = False

    def subscribe(self, *_: object, **callbacks: Any) -> None:
        self.callbacks = callbacks
        self.joined += 1
        callbacks["on_assign"](self, self.assignment())
        self.positions = {partition: self.offsets.get(partition, (0, ""))[0] for partition in self.features}
        for partition in self.features:
            self.forget(partition)  # by a scorer that was killed

    def consume(self, most: int, **_: object) -> list[Message | Fenced]:
        if self.script:
            self.script.pop(0)()
        if self.is_fenced:
            return [Fenced()]
        found: list[Message | Fenced] = []
        for partition, records in self.features.items():
            some = records[self.positions[partition] :][: most - len(found)]
            self.positions[partition] += len(some)
            found += [Message(record) for record in some]
        if not found:
            time.sleep(0.0005)
        return found

    def consumer_group_metadata(self) -> object:
        return object()

    def assignment(self) -> list[TopicPartition]:
        return [TopicPartition("features", partition) for partition in self.features]

    def committed(self, partitions: list[TopicPartition], **_: object) -> list[TopicPartition]:
        nothing = -1001, ""
        return [TopicPartition(tp.topic, tp.partition, *self.offsets.get(tp.partition, nothing)) for tp in partitions]

    def seek(self, position: TopicPartition) -> None:
        self.positions[position.partition] = max(position.offset, 0)

    # The producer.

    def start(self) -> bool:
        return True

    def serve(self) -> None: ...

    def write(self, records: list[Produced], offsets: list[TopicPartition], *_: object) -> None:
        failure = self.failures.pop(0) if self.failures else ""
        if not failure.endswith("lost"):
            self.written += records
            self.offsets |= {tp.partition: (tp.offset, tp.metadata) for tp in offsets}
            for record in records:
                if event := self._answered(record):
                    self.answers[record.partition].answer(event, NOW, dead=record.topic.endswith(".dlq"))
        if failure.startswith("abort"):
            raise TransactionAbortedError(failure)
        if failure.startswith("unknown"):
            raise OutcomeUnknownError(failure)
        if failure.startswith("fenced"):
            raise InstanceFencedError(failure)
        if failure.startswith("killed"):
            raise Killed

    def _answered(self, record: Produced) -> EventPosition | None:
        if record.topic.endswith(".dlq"):
            return event_position_of_dead_letter(record.headers)
        return event_position(decoded([record])[0]) if record.topic == self.bench.pipeline.predictions_topic else None

    # The history of answers.

    def ends(self, partition: int) -> Ends:
        return self.answers[partition].ends(partition)

    def raw_end(self, _: int) -> int:
        return self.taps

    def starts_at(self, partition: int, since: int) -> Ends:
        return self.answers[partition].starts_at(partition, since)

    def read_from(self, partition: int, starts: Ends) -> Iterator[EventPosition]:
        return self.answers[partition].read_from(partition, starts)

    def forget(self, partition: int) -> None:
        self.answers[partition].forget(partition)
