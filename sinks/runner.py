"""The loop of every sink: consume, let the store acknowledge, and only then commit.

What each failure does:

- *the store is down, full or slow*: the partitions are paused, the batch is kept and tried again with growing, jittered
  pauses; polling goes on, so that the group keeps its members. Nothing is committed meanwhile.
- *a record cannot be read*: it goes to ``<topic>.dlq`` with the reason, and counts as done once Kafka has it.
- *a partition is taken away*: its part of the batch is dropped, uncommitted; the next owner reads it again.
- *the store lost what it had acknowledged* (a Redis flushed, or killed before it wrote to disk): the sink notices by
  how far the store says it holds each partition, with every write and once a second, and reads again from there.
- *killed*: what was not committed is read again. Stores take the same record any number of times.
- *SIGTERM*: the batch is written if the store takes it at once, what is acknowledged is committed.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from penstock.kafka.lag import Partition
from penstock.kafka.lag_watch import LagWatch
from penstock.kafka.names import group_of
from schemas.codec import Undecodable, UnknownSchema
from schemas.dead_letters import DeadLetter
from sinks.metrics import Metrics
from sinks.refused import DeadLetters
from sinks.store import Item, Reach, Store, StoreUnavailable

BATCH = 1_000
_POLL_S = 0.25
_COMMIT_INTERVAL_S = 1.0
_KAFKA_TIMEOUT_S = 10.0
_BACKOFF_FIRST_S, _BACKOFF_LONGEST_S = 0.1, 10.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Pending(Generic[Item]):
    partition: Partition
    offset: int
    timestamp: int  # Kafka's, epoch ms
    item: Item | None
    refused: DeadLetter | None


class Sink(Generic[Item]):
    """One member of a sink's consumer group.

    Args:
        store: What to write to.
        pipeline: The pipeline's name; the group is ``penstock-<pipeline>-sink-<store>``.
        kafka: How to reach Kafka.
        watch: Told what this sink owns and what is done.
        rng: Jitter of the pauses between attempts.
    """

    def __init__(
        self, store: Store[Item], pipeline: str, kafka: KafkaAccess, watch: LagWatch, rng: random.Random
    ) -> None:
        self._store = store
        self._rng = rng
        self._kafka = kafka
        self._pipeline = pipeline
        self._watch = watch
        self._metrics = Metrics(pipeline, store.name, store.topics)
        self._stop = threading.Event()
        self._pending: list[_Pending[Item]] = []
        self._acknowledged: dict[Partition, int] = {}
        self._held: dict[Partition, int] = {}
        self._owned: set[Partition] = set()
        self._paused = False
        self._commit_due = 0.0
        self._consumer: Consumer | None = None
        self._dead_letters = DeadLetters(kafka)

    def stop(self) -> None:
        """Make :meth:`run` return soon; safe to call from a signal handler or another thread."""
        self._stop.set()

    def run(self) -> None:
        """Carry records to the store until :meth:`stop`.

        Raises:
            PenstockError: if the store can never take them, or a topic has been deleted.
        """
        self._metrics.paused.set(0)
        try:
            if self._open():
                self._consume_until_stopped()
        finally:
            self._store.close()

    def _open(self) -> bool:
        failures = 0
        while not self._stop.is_set():
            try:
                self._store.open()
            except StoreUnavailable as error:
                failures += 1
                self._stop.wait(self._failed(error, failures))
            else:
                self._metrics.paused.set(0)
                return True
        return False

    def _consume_until_stopped(self) -> None:
        consumer = self._consumer = Consumer(
            {
                **self._kafka.client(),
                "group.id": group_id(self._pipeline, self._store.name),
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "earliest",
                "partition.assignment.strategy": "cooperative-sticky",
                # A member that was killed is noticed in 10 s; its records are only late, never lost.
                "session.timeout.ms": 10_000,
                "heartbeat.interval.ms": 2_000,
            }
        )
        consumer.subscribe(
            list(self._store.topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )
        self._watch.started()
        _log.info("%s sink of %s reads %s", self._store.name, self._pipeline, ", ".join(self._store.topics))
        try:
            while not self._stop.is_set():
                self._take(self._next_batch(consumer))
                self._flush(consumer)
                if time.monotonic() >= self._commit_due:
                    self._look_for_losses(consumer)
                    self._commit(consumer)
        finally:
            self._commit(consumer)
            consumer.close()

    def _next_batch(self, consumer: Consumer) -> list[Message]:
        """Whatever has arrived, as soon as anything has: a batch grows with the backlog and adds no waiting."""
        first = consumer.poll(_POLL_S)
        return [] if first is None else [first, *consumer.consume(BATCH - 1, 0)]

    def _take(self, messages: Sequence[Message]) -> None:
        for message in messages:
            error = message.error()
            if error is not None:
                _raise_if_hopeless(error, message.topic(), self._pipeline, self._kafka)
                _log.warning("Kafka: %s", error.str())
                continue
            topic, partition, offset = message.topic(), message.partition(), message.offset()
            assert topic is not None
            assert partition is not None
            assert offset is not None
            if (topic, partition) in self._owned:
                item, refused = self._read(message, topic, partition, offset)
                self._pending.append(_Pending((topic, partition), offset, message.timestamp()[1], item, refused))

    def _read(
        self, message: Message, topic: str, partition: int, offset: int
    ) -> tuple[Item, None] | tuple[None, DeadLetter]:
        value = message.value()
        try:
            return self._store.read(topic, value or b""), None
        except (Undecodable, UnknownSchema) as error:
            _log.warning("dead letter: %s[%s]@%s: %s", topic, partition, offset, error.what)
            return None, DeadLetter(
                topic=topic,
                partition=partition,
                offset=offset,
                stage="decode",
                component=f"penstock.sink.{self._store.name}",
                reason=f"penstock.{type(error).__name__}",
                message=error.what,
                key=message.key(),
                value=value,
                original_headers=tuple(message.headers() or ()),
            )

    def _flush(self, consumer: Consumer) -> None:
        """Write what is pending until it is acknowledged, revoked, or the sink is stopped."""
        failures = 0
        while self._pending:
            try:
                self._write(consumer)
            except StoreUnavailable as error:
                failures += 1
                pause_s = self._failed(error, failures)
                if self._stop.is_set():
                    _log.warning("stopped with %s records unwritten; they are read again next time", len(self._pending))
                    return
                self._pause(consumer)
                self._commit(consumer)
                self._keep_polling(consumer, pause_s)
        if self._paused:
            self._resume(consumer)

    def _write(self, consumer: Consumer) -> None:
        self._dead_letters.publish([p.refused for p in self._pending if p.refused is not None])
        # Kafka has them now; should the store fail, only the rest is written again.
        self._acknowledge_refused()
        self._learn_what_is_held(consumer)
        reach = {p.partition: Reach(self._held[p.partition], p.offset + 1) for p in self._pending}
        items = [p.item for p in self._pending if p.item is not None]
        with self._metrics.write(len(items)):
            lost = self._store.write(items, reach)
        done = [p for p in self._pending if p.partition not in lost]
        self._pending.clear()
        if done:
            self._acknowledged.update({p.partition: p.offset + 1 for p in done})
            self._held.update({p.partition: p.offset + 1 for p in done})
            self._watch.done(self._acknowledged)
            for topic, records in Counter(p.partition[0] for p in done if p.item is not None).items():
                self._metrics.done(topic, "written", records)
            self._metrics.acknowledged(min(p.timestamp for p in done), time.time_ns() // 1_000_000)
        self._go_back(consumer, lost)

    def _learn_what_is_held(self, consumer: Consumer) -> None:
        """Of a partition that is new here, the store must hold what is committed."""
        new = [TopicPartition(*partition) for partition in self._owned - self._held.keys()]
        if new:
            try:
                committed = consumer.committed(new, timeout=_KAFKA_TIMEOUT_S)
            except KafkaException as error:
                raise StoreUnavailable(
                    f"Kafka does not say what is committed: {error.args[0].str()}", where=str(self._kafka)
                ) from error
            self._held.update({(p.topic, p.partition): max(0, p.offset) for p in committed})

    def _look_for_losses(self, consumer: Consumer) -> None:
        """So that a store that lost its data is filled again although nothing new is written to it."""
        try:
            self._learn_what_is_held(consumer)
            lost = self._store.write([], {partition: Reach(held, held) for partition, held in self._held.items()})
        except StoreUnavailable as error:
            _log.debug("cannot look for losses now: %s", error)  # if there is anything to write, that is told
        else:
            self._go_back(consumer, lost)

    def _go_back(self, consumer: Consumer, lost: Mapping[Partition, int]) -> None:
        """Read again what the store lost; what is committed goes back as well, so that the lag is the truth."""
        for (topic, number), held in lost.items():
            try:
                consumer.seek(TopicPartition(topic, number, held))
            except KafkaException as error:
                # Nothing is noted in the store meanwhile, so the next look finds the same.
                _log.warning("%s[%s] cannot be read again yet: %s", topic, number, error.args[0].str())
                continue
            was, self._held[topic, number] = self._held[topic, number], held
            self._pending = [p for p in self._pending if p.partition != (topic, number)]
            self._acknowledged[topic, number] = held
            self._metrics.losses.inc()
            _log.warning(
                "%s holds %s[%s] up to %s and no longer up to %s: it lost data, which is read again",
                self._store.name,
                topic,
                number,
                held,
                was,
            )

    def _acknowledge_refused(self) -> None:
        for index, pending in enumerate(self._pending):
            if pending.refused is not None:
                self._metrics.done(pending.partition[0], "dead_letter")
                self._pending[index] = replace(pending, refused=None)

    def _failed(self, error: StoreUnavailable, failures: int) -> float:
        """Make the failure known; returns how long to wait, in seconds."""
        pause_s = backoff_s(failures, self._rng)
        self._metrics.store_errors.inc()
        self._metrics.paused.set(1)
        _log.warning("paused, next attempt (%s) in %.1f s: %s", failures + 1, pause_s, error)
        return pause_s

    def _pause(self, consumer: Consumer) -> None:
        if not self._paused:
            self._paused = True
            consumer.pause(consumer.assignment())

    def _resume(self, consumer: Consumer) -> None:
        self._paused = False
        consumer.resume(consumer.assignment())
        self._metrics.paused.set(0)
        _log.info("the store takes records again")

    def _keep_polling(self, consumer: Consumer, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._stop.is_set() and (left := until - time.monotonic()) > 0:
            message = consumer.poll(min(left, _POLL_S))
            if message is not None:
                self._take([message])

    def _commit(self, consumer: Consumer) -> None:
        self._commit_due = time.monotonic() + _COMMIT_INTERVAL_S
        if not self._acknowledged:
            return
        offsets = [TopicPartition(topic, partition, at) for (topic, partition), at in self._acknowledged.items()]
        try:
            consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            # Tried again with the next commit; at worst the records are read, and written, once more.
            _log.warning("offsets not committed: %s", error.args[0].str())
        else:
            self._acknowledged.clear()

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        new = [(p.topic, p.partition) for p in partitions]
        self._owned.update(new)
        self._watch.assigned(new)
        consumer.incremental_assign(partitions)
        if self._paused:
            consumer.pause(partitions)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._commit(consumer)
        self._forget(partitions)

    def _on_lost(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        # Someone else may own them already: a commit now could set its progress back.
        self._forget(partitions)

    def _forget(self, partitions: list[TopicPartition]) -> None:
        gone = {(p.topic, p.partition) for p in partitions}
        self._owned -= gone
        self._watch.revoked(gone)
        self._pending = [p for p in self._pending if p.partition not in gone]
        for partition in gone:
            self._acknowledged.pop(partition, None)
            self._held.pop(partition, None)


def group_id(pipeline: str, sink: str) -> str:
    """The consumer group of a sink."""
    return group_of(pipeline, f"sink-{sink}")


def backoff_s(failures: int, rng: random.Random) -> float:
    """The pause after so many failures in a row: doubling from 0.1 s up to 10 s, less a random part of up to half."""
    longest: float = min(_BACKOFF_LONGEST_S, _BACKOFF_FIRST_S * 2 ** min(failures - 1, 10))
    return longest * rng.uniform(0.5, 1.0)


def _raise_if_hopeless(error: KafkaError, topic: str | None, pipeline: str, kafka: KafkaAccess) -> None:
    if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
        raise PenstockError(
            f"topic {topic} does not exist any more", where=str(kafka), next=f"penstock topics create {pipeline}"
        )
    if error.fatal():
        raise PenstockError(
            f"the Kafka client cannot go on: {error.str()}", where=str(kafka), next="start the sink again"
        )
