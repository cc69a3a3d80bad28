"""Kafka for a controller, in memory: topics, offsets, the policy, and who may write."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaError

from penstock.kafka.lag import Partition
from penstock.kafka.names import dead_letters_of
from penstock.kafka.sole_member import SessionLog
from penstock.kafka.transactions import InstanceFencedError, OutcomeUnknownError, TransactionAbortedError
from scoring.rollout.completeness import Cut
from scoring.rollout.controller_positions import Found
from scoring.rollout.controller_store import Kept, Note
from scoring.rollout.label_clock import LabelCut
from scoring.rollout.policy_log import Entry, PolicyChange, encode
from streams.definitions.pipeline import Pipeline
from tests.scoring.rollout.fake_messages import FakeMessage


class Killed(BaseException):
    """The process ends here."""


@dataclass
class FakeKafka:
    """What survives a process.

    ``outcomes`` are those of the next transactions: ``written`` by default; ``aborted``; ``fenced``; ``unknown``,
    without or (``unknown_written``) with an effect; ``killed`` or ``killed_after``.
    """

    pipeline: Pipeline
    outcomes: list[str] = field(default_factory=list)
    topics: dict[Partition, list[FakeMessage]] = field(default_factory=dict)
    earliest: dict[Partition, int] = field(default_factory=lambda: defaultdict(int))
    committed: dict[Partition, int] = field(default_factory=dict)
    policy: PolicyChange | None = None
    note: Note | None = None
    state: dict[str, bytes] = field(default_factory=dict)
    writer: int = 0

    def __post_init__(self) -> None:
        pipeline, number = self.pipeline, self.pipeline.source.partitions
        assert pipeline.labels is not None
        self.live, self.shadow = pipeline.predictions_topic, pipeline.shadow_topic
        self.letters, self.labels = dead_letters_of(pipeline.predictions_topic), pipeline.labels.topic
        self.log = pipeline.rollout_log_topic
        answers = dict.fromkeys((self.live, self.shadow, self.letters, self.labels), number)
        self.partitions = {**answers, self.log: 1}
        self.topics = {(topic, n): [] for topic, of in self.partitions.items() for n in range(of)}

    def add(self, topic: str, value: bytes | None, partition: int = 0, **rest: Any) -> None:
        records = self.topics[topic, partition]
        records.append(FakeMessage(topic, partition, len(records), value, **rest))

    def publish(self, change: PolicyChange) -> None:
        """A person publishes a policy, which fences every other writer."""
        self.writer += 1
        self._publish(change)

    def _publish(self, change: PolicyChange) -> None:
        self.policy = change
        self.add(self.log, encode(change))

    def tell(self, entry: Entry) -> None:
        """A scorer writes to the log."""
        self.add(self.log, encode(entry))

    @property
    def changes(self) -> list[PolicyChange]:
        """All that were published."""
        return [
            PolicyChange.model_validate_json(m.value() or b"")
            for m in self.topics[self.log, 0]
            if b'"kind":"change"' in (m.value() or b"")
        ]

    @property
    def ends(self) -> dict[Partition, int]:
        return {partition: len(records) for partition, records in self.topics.items()}


class FakeStore:
    """The store of one process."""

    def __init__(self, kafka: FakeKafka) -> None:
        self._kafka = kafka
        self._writer = 0
        self.starts = 0

    def start(self) -> bool:
        self.starts += 1
        self._kafka.writer += 1
        self._writer = self._kafka.writer
        return True

    def read(self) -> Kept:
        kafka = self._kafka
        assert self._writer == kafka.writer, "another writer has come before anything was read"
        return Kept(kafka.policy, kafka.note, dict(kafka.state))

    def serve(self) -> None:
        pass

    def write(
        self,
        note: Note,
        state: Mapping[str, bytes],
        offsets: Mapping[Partition, int],
        _group: object,
        _now: int,
        *,
        publishes: bool = False,
    ) -> int:
        kafka = self._kafka
        assert offsets, "only offsets tell the broker which process this is"
        if self._writer != kafka.writer:
            raise OutcomeUnknownError("fenced")
        outcome = kafka.outcomes.pop(0) if kafka.outcomes else "written"
        if outcome in ("written", "unknown_written", "killed_after"):
            kafka.note, kafka.state = note, dict(state)
            kafka.committed |= offsets
            if publishes:
                assert note.change is not None
                kafka._publish(note.change)
        if outcome.startswith("killed"):
            raise Killed
        if outcome.startswith("unknown"):
            raise OutcomeUnknownError("who knows")
        if outcome == "aborted":
            raise TransactionAbortedError("no")
        if outcome == "fenced":
            raise InstanceFencedError("fenced")
        return 0


class FakeConsumer:
    """The consumer of one process; each call brings at most ``most`` records."""

    def __init__(self, kafka: FakeKafka, most: int) -> None:
        self._kafka = kafka
        self._most = most
        self._positions: dict[Partition, int] = {}
        self._paused: set[Partition] = set()
        self._ended: set[Partition] = set()
        self._on_assign: Any = None
        self.session = SessionLog(logging.getLogger("tests"))
        self.assigned: list[dict[Partition, int]] = []

    def subscribe(self, _topics: list[str], *, on_assign: Any, **_callbacks: Any) -> None:
        self._on_assign = on_assign

    def consume(self, _number: int, **_options: float) -> list[FakeMessage]:
        if self._on_assign is not None:
            self._on_assign(self, [_Place(*partition) for partition in self._kafka.topics])
            self._on_assign = None
        return list(self._next())

    def _next(self) -> Iterator[FakeMessage]:
        left = self._most
        for partition, at in list(self._positions.items()):
            if partition in self._paused:
                continue
            if at < self._kafka.earliest[partition]:
                yield _error(partition, at, KafkaError._AUTO_OFFSET_RESET)
                continue
            records = self._kafka.topics[partition][at : at + left]
            yield from records
            left -= len(records)
            self._positions[partition] = end = at + len(records)
            if end == len(self._kafka.topics[partition]) and partition not in self._ended:
                yield _error(partition, end, KafkaError._PARTITION_EOF)
                self._ended.add(partition)
            elif records:
                self._ended.discard(partition)

    def incremental_unassign(self, _partitions: list[Any]) -> None:
        self._positions.clear()
        self._ended.clear()  # a pause outlives it

    def incremental_assign(self, partitions: list[Any]) -> None:
        self._positions = {(tp.topic, tp.partition): tp.offset for tp in partitions}
        self.assigned.append(dict(self._positions))

    def pause(self, partitions: list[Any]) -> None:
        self._paused |= {(tp.topic, tp.partition) for tp in partitions}

    def resume(self, partitions: list[Any]) -> None:
        self._paused -= {(tp.topic, tp.partition) for tp in partitions}

    def consumer_group_metadata(self) -> object:
        return None


class FencedConsumer(FakeConsumer):
    """A consumer whose broker fences it at its second call; perhaps it has lost its partitions before."""

    def __init__(self, kafka: FakeKafka, *, lost_before: bool) -> None:
        super().__init__(kafka, 100)
        self._lost_before = lost_before
        self._calls = 0

    def subscribe(self, _topics: list[str], *, on_assign: Any, on_lost: Any, **_callbacks: Any) -> None:
        super().subscribe(_topics, on_assign=on_assign)
        self._on_lost = on_lost

    def consume(self, number: int, **options: float) -> list[FakeMessage]:
        self._calls += 1
        if self._calls == 1:
            return super().consume(number, **options)
        if self._lost_before:
            self._on_lost(self, [_Place(*partition) for partition in self._kafka.topics])
        return [_error((self._kafka.live, 0), 0, KafkaError.FENCED_INSTANCE_ID)]


@dataclass
class _Place:
    topic: str
    partition: int


def _error(partition: Partition, at: int, code: int) -> FakeMessage:
    return FakeMessage(*partition, at, error=KafkaError(code))


class FakePositions:
    """Finds the offsets of a :class:`FakeKafka`."""

    def __init__(self, kafka: FakeKafka) -> None:
        self._kafka = kafka

    def find(self) -> Found:
        kafka = self._kafka
        return Found.of(kafka.committed, {place: kafka.earliest[place] for place in kafka.topics}, kafka.ends)

    def since(self, found: Found, _time_ms: int) -> tuple[dict[Partition, int], bool]:
        starts = {partition: found.earliest[partition] for partition in found.new}
        return starts, not any(starts.values())

    def anew(self, found: Found, time_ms: int | None) -> dict[Partition, int]:
        starts = found.ends | {place: at for place, at in found.starts.items() if place[0] == self._kafka.labels}
        return starts if time_ms is None else {**starts, (self._kafka.log, 0): 0}


class FakeCuts:
    """Everything that is written is answered at once."""

    def __init__(self, kafka: FakeKafka) -> None:
        self._kafka = kafka

    def take_labels(self, labels_ms: int | None) -> LabelCut:
        ends = {place: end for place, end in self._kafka.ends.items() if place[0] == self._kafka.labels}
        return LabelCut(labels_ms, ends)

    def take(self) -> dict[int, Cut]:
        kafka, ends = self._kafka, self._kafka.ends
        return {
            number: Cut(
                ends[kafka.live, number], {(topic, number): ends[topic, number] for topic in (kafka.live, kafka.shadow)}
            )
            for number in range(kafka.partitions[kafka.live])
        }
