"""The loop of every sink: consume, write, and commit offsets once the store has acknowledged.

How it handles failures:

- *The store is down, full or slow*: it pauses the partitions, keeps the batch and retries with growing, jittered
  pauses. It keeps polling, so that it stays in its consumer group, and commits nothing of that batch.
- *A record cannot be decoded*: it publishes the record to ``<topic>.dlq`` with the reason, and counts it as done once
  Kafka has acknowledged that.
- *A partition is revoked*: it drops that part of the batch uncommitted; the next owner reads it again.
- *The store lost acknowledged data* (a Redis flushed, or killed before it wrote to disk): the offset mark in the store
  is missing or too low. It compares marks with every write and once a second, and reads again from the mark.
- *It is killed*: the next start reads again what was not committed. Writing a record again changes nothing.
- *SIGTERM*: it writes the batch if the store takes it at once, and commits what is acknowledged.

This module knows no particular store, and reads no settings.
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
from sinks.dead_letter_producer import DeadLetterProducer
from sinks.sink_metrics import SinkMetrics
from sinks.store_interface import Decoded, OffsetMark, Store, StoreUnavailable

BATCH = 1_000
_POLL_S = 0.25
_COMMIT_INTERVAL_S = 1.0
_KAFKA_TIMEOUT_S = 10.0
_BACKOFF_FIRST_S, _BACKOFF_LONGEST_S = 0.1, 10.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Pending(Generic[Decoded]):
    """A consumed record that the store has not acknowledged."""

    partition: Partition
    offset: int
    timestamp: int  # Kafka's, epoch ms
    decoded: Decoded | None  # None if the store cannot decode it
    dead_letter: DeadLetter | None  # what to publish in that case; None once it is published


class Sink(Generic[Decoded]):
    """One member of a sink's consumer group.

    Args:
        store: The destination.
        pipeline: The pipeline's name; the group is ``penstock-<pipeline>-sink-<store>``.
        kafka: How to reach Kafka.
        watch: Learns which partitions this sink owns, and which offsets are done.
        rng: Jitter of the pauses between attempts.
    """

    def __init__(
        self, store: Store[Decoded], pipeline: str, kafka: KafkaAccess, watch: LagWatch, rng: random.Random
    ) -> None:
        self._store = store
        self._rng = rng
        self._kafka = kafka
        self._pipeline = pipeline
        self._watch = watch
        self._metrics = SinkMetrics(pipeline, store.name, store.topics)
        self._stop = threading.Event()
        self._pending: list[_Pending[Decoded]] = []
        self._acknowledged: dict[Partition, int] = {}
        self._expected: dict[Partition, int] = {}
        self._owned: set[Partition] = set()
        self._paused = False
        self._commit_due = 0.0
        self._dead_letters = DeadLetterProducer(kafka)

    def stop(self) -> None:
        """Make :meth:`run` return soon; safe to call from a signal handler or another thread."""
        self._stop.set()

    def run(self) -> None:
        """Write records to the store until :meth:`stop`.

        Raises:
            PenstockError: if no retry can help: the store refuses for good, or a topic was deleted.
        """
        self._metrics.paused.set(0)
        try:
            if self._open_store():
                self._consume_until_stopped()
        finally:
            self._store.close()

    def _open_store(self) -> bool:
        failures = 0
        while not self._stop.is_set():
            try:
                self._store.open()
            except StoreUnavailable as error:
                failures += 1
                self._stop.wait(self._report_failure(error, failures))
            else:
                self._metrics.paused.set(0)
                return True
        return False

    def _consume_until_stopped(self) -> None:
        consumer = Consumer(
            {
                **self._kafka.client(),
                "group.id": group_id(self._pipeline, self._store.name),
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "earliest",
                "partition.assignment.strategy": "cooperative-sticky",
                # The group notices a killed member after 10 s; its records are late, never lost.
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
                self._decode_all(self._next_batch(consumer))
                self._write_pending(consumer)
                if time.monotonic() >= self._commit_due:
                    self._check_for_data_loss(consumer)
                    self._commit(consumer)
        finally:
            self._commit(consumer)
            consumer.close()

    def _next_batch(self, consumer: Consumer) -> list[Message]:
        """Everything that has arrived, as soon as anything has: batches grow with the backlog and add no latency."""
        first = consumer.poll(_POLL_S)
        return [] if first is None else [first, *consumer.consume(BATCH - 1, 0)]

    def _decode_all(self, messages: Sequence[Message]) -> None:
        for message in messages:
            error = message.error()
            if error is not None:
                _raise_if_fatal(error, message.topic(), self._pipeline, self._kafka)
                _log.warning("Kafka: %s", error.str())
                continue
            topic, partition, offset = message.topic(), message.partition(), message.offset()
            assert topic is not None
            assert partition is not None
            assert offset is not None
            if (topic, partition) in self._owned:
                decoded, dead_letter = self._decode(message, topic, partition, offset)
                timestamp = message.timestamp()[1]
                self._pending.append(_Pending((topic, partition), offset, timestamp, decoded, dead_letter))

    def _decode(
        self, message: Message, topic: str, partition: int, offset: int
    ) -> tuple[Decoded, None] | tuple[None, DeadLetter]:
        value = message.value()
        try:
            return self._store.decode(topic, value or b""), None
        except (Undecodable, UnknownSchema) as error:
            _log.warning("dead letter: %s[%s]@%s: %s", topic, partition, offset, error.what)
            return None, DeadLetter(
                topic=topic,
                partition=partition,
                offset=offset,
                pipeline=self._pipeline,
                stage="decode",
                component=f"penstock.sink.{self._store.name}",
                reason=f"penstock.{type(error).__name__}",
                message=error.what,
                key=message.key(),
                value=value,
                original_headers=tuple(message.headers() or ()),
            )

    def _write_pending(self, consumer: Consumer) -> None:
        """Write the pending records until they are acknowledged or revoked, or the sink is stopped."""
        failures = 0
        while self._pending:
            try:
                self._write_batch(consumer)
            except StoreUnavailable as error:
                failures += 1
                pause_s = self._report_failure(error, failures)
                if self._stop.is_set():
                    _log.warning("stopped with %s records unwritten; they are read again next time", len(self._pending))
                    return
                self._pause(consumer)
                self._commit(consumer)
                self._poll_while_paused(consumer, pause_s)
        if self._paused:
            self._resume(consumer)

    def _write_batch(self, consumer: Consumer) -> None:
        self._publish_dead_letters()
        self._fetch_expected_offsets(consumer)
        marks = {p.partition: OffsetMark(self._expected[p.partition], p.offset + 1) for p in self._pending}
        records = [p.decoded for p in self._pending if p.decoded is not None]
        with self._metrics.time_write(len(records)):
            lost = self._store.write(records, marks)
        done = [p for p in self._pending if p.partition not in lost]
        self._pending.clear()
        if done:
            self._acknowledged.update({p.partition: p.offset + 1 for p in done})
            self._expected.update({p.partition: p.offset + 1 for p in done})
            self._watch.done(self._acknowledged)
            for topic, written in Counter(p.partition[0] for p in done if p.decoded is not None).items():
                self._metrics.count_records(topic, "written", written)
            self._metrics.observe_age(min(p.timestamp for p in done), time.time_ns() // 1_000_000)
        self._seek_back(consumer, lost)

    def _fetch_expected_offsets(self, consumer: Consumer) -> None:
        """Of a newly assigned partition, the store must hold everything up to the committed offset."""
        new = [TopicPartition(*partition) for partition in self._owned - self._expected.keys()]
        if new:
            try:
                committed = consumer.committed(new, timeout=_KAFKA_TIMEOUT_S)
            except KafkaException as error:
                raise StoreUnavailable(
                    f"Kafka does not say what is committed: {error.args[0].str()}", where=str(self._kafka)
                ) from error
            self._expected.update({(p.topic, p.partition): max(0, p.offset) for p in committed})

    def _check_for_data_loss(self, consumer: Consumer) -> None:
        """Compare all offset marks, so that a store that lost data is filled again even if no record arrives."""
        try:
            self._fetch_expected_offsets(consumer)
            marks = {partition: OffsetMark(offset, offset) for partition, offset in self._expected.items()}
            lost = self._store.write([], marks)
        except StoreUnavailable as error:
            _log.debug("cannot look for losses now: %s", error)  # the next write of records reports the outage
        else:
            self._seek_back(consumer, lost)

    def _seek_back(self, consumer: Consumer, lost: Mapping[Partition, int]) -> None:
        """Read again what the store lost; commits the lower offset as well, so that the lag shows what is missing."""
        for (topic, number), held in lost.items():
            try:
                consumer.seek(TopicPartition(topic, number, held))
            except KafkaException as error:
                # The store's mark stays as it is, so the next check finds the loss again.
                _log.warning("%s[%s] cannot be read again yet: %s", topic, number, error.args[0].str())
                continue
            was, self._expected[topic, number] = self._expected[topic, number], held
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

    def _publish_dead_letters(self) -> None:
        """Publish and count the pending dead letters; a write that is repeated does not publish them again."""
        self._dead_letters.publish([p.dead_letter for p in self._pending if p.dead_letter is not None])
        for index, pending in enumerate(self._pending):
            if pending.dead_letter is not None:
                self._metrics.count_records(pending.partition[0], "dead_letter")
                self._pending[index] = replace(pending, dead_letter=None)

    def _report_failure(self, error: StoreUnavailable, failures: int) -> float:
        """Count and log the failure; returns the pause before the next attempt, in seconds."""
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

    def _poll_while_paused(self, consumer: Consumer, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._stop.is_set() and (left := until - time.monotonic()) > 0:
            message = consumer.poll(min(left, _POLL_S))
            if message is not None:
                self._decode_all([message])

    def _commit(self, consumer: Consumer) -> None:
        self._commit_due = time.monotonic() + _COMMIT_INTERVAL_S
        if not self._acknowledged:
            return
        offsets = [TopicPartition(topic, partition, at) for (topic, partition), at in self._acknowledged.items()]
        try:
            consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            # The next commit tries again; at worst the records are read and written once more.
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
        self._drop(partitions)

    def _on_lost(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        # Another member may own them already: a commit now could set its offsets back.
        self._drop(partitions)

    def _drop(self, partitions: list[TopicPartition]) -> None:
        gone = {(p.topic, p.partition) for p in partitions}
        self._owned -= gone
        self._watch.revoked(gone)
        self._pending = [p for p in self._pending if p.partition not in gone]
        for partition in gone:
            self._acknowledged.pop(partition, None)
            self._expected.pop(partition, None)


def group_id(pipeline: str, sink: str) -> str:
    """The consumer group of a sink."""
    return group_of(pipeline, f"sink-{sink}")


def backoff_s(failures: int, rng: random.Random) -> float:
    """The pause after consecutive failures, in seconds: doubles from 0.1 up to 10, less a random part of up to half."""
    longest: float = min(_BACKOFF_LONGEST_S, _BACKOFF_FIRST_S * 2 ** min(failures - 1, 10))
    return longest * rng.uniform(0.5, 1.0)


def _raise_if_fatal(error: KafkaError, topic: str | None, pipeline: str, kafka: KafkaAccess) -> None:
    if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
        raise PenstockError(
            f"topic {topic} does not exist any more", where=str(kafka), next=f"penstock topics create {pipeline}"
        )
    if error.fatal():
        raise PenstockError(
            f"the Kafka client cannot go on: {error.str()}", where=str(kafka), next="start the sink again"
        )
