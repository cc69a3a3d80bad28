"""The loop of every sink: consume, write, and commit offsets once the store has acknowledged.

How it handles failures:

- *The store is down, full or slow*: it pauses the partitions, keeps the batch and retries with growing, jittered
  pauses. It keeps polling, so that it stays in its consumer group, and commits nothing of that batch.
- *A record cannot be decoded*: it publishes the record to ``<topic>.dlq`` with the reason, and counts it as done once
  Kafka has acknowledged that.
- *A partition is revoked*: it drops that part of the batch uncommitted; the next owner reads it again.
- *The store lost acknowledged data* (a Redis flushed, or killed before it wrote to disk): the offset mark in the store
  is missing or too low. It compares marks with every write and once a second, and reads again from the mark, or from
  where the topic now begins.
- *Kafka deleted records before they were read*: it stops, unless told to skip them (:mod:`penstock.kafka.retention`).
- *Kafka reports an error*, of one partition or of all: see :mod:`sinks.kafka_errors`.
- *It is killed*: the next start reads again what was not committed. Writing a record again changes nothing.
- *SIGTERM*: it writes the batch if the store takes it at once, and commits what is acknowledged.

This module knows no particular store, and reads no settings.
"""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from penstock.kafka.access import QUIET, KafkaAccess
from penstock.kafka.gaps import NO_RESET, Gap
from penstock.kafka.lag import Partition
from penstock.kafka.lag_watch import LagWatch
from penstock.kafka.names import group_of
from penstock.kafka.retention import GapPolicy, OffsetResets
from schemas.codec import Undecodable, UnknownSchema
from schemas.dead_letters import DeadLetter
from sinks.dead_letter_producer import DeadLetterProducer
from sinks.kafka_errors import KafkaErrors
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
        reference: The pipeline, as named on the command line.
        skip_deleted: Whether to go on where Kafka deleted records before they were read.
    """

    def __init__(
        self,
        store: Store[Decoded],
        pipeline: str,
        kafka: KafkaAccess,
        watch: LagWatch,
        rng: random.Random,
        *,
        reference: str,
        skip_deleted: bool = False,
    ) -> None:
        self._store = store
        self._rng = rng
        self._kafka = kafka
        self._pipeline = pipeline
        self._watch = watch
        self._metrics = SinkMetrics(pipeline, store.name, store.topics)
        self._errors = KafkaErrors(kafka, reference, self._metrics.kafka_errors.inc, time.monotonic)
        self._gaps = GapPolicy(
            pipeline,
            f"sink-{store.name}",
            store.topics,
            f"{store.name} does not get what they hold.",
            f"penstock sink run {store.name} {reference}",
            skip_deleted,
        )
        self._resets = OffsetResets(self._gaps)
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
            PenstockError: if no retry can help: the store or Kafka refuses for good, a topic was deleted, or Kafka
                deleted records before they were read.
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
                **QUIET,
                **NO_RESET,
                "group.id": group_id(self._pipeline, self._store.name),
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "partition.assignment.strategy": "cooperative-sticky",
                # The group notices a killed member after 10 s; its records are late, never lost.
                "session.timeout.ms": 10_000,
                "heartbeat.interval.ms": 2_000,
                # Defaults 100 and 10 000: find a broker that was away for long within 2 s.
                "reconnect.backoff.ms": 1_000,
                "reconnect.backoff.max.ms": 2_000,
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
                self._place_partitions(consumer)
                if time.monotonic() >= self._commit_due:
                    self._check_for_data_loss(consumer)
                    self._commit(consumer)
                    self._errors.settle()
        finally:
            try:
                self._commit(consumer)
            finally:
                consumer.close()

    def _next_batch(self, consumer: Consumer) -> list[Message]:
        """Everything that has arrived, as soon as anything has: batches grow with the backlog and add no latency."""
        first = consumer.poll(_POLL_S)
        return [] if first is None else [first, *consumer.consume(BATCH - 1, 0)]

    def _decode_all(self, messages: Sequence[Message]) -> None:
        for message in messages:
            error = message.error()
            topic, partition, offset = message.topic(), message.partition(), message.offset()
            if error is not None:
                if not self._resets.takes(message):
                    self._errors.check(error, "the cluster" if topic is None else f"topic {topic}")
                continue
            assert topic is not None
            assert partition is not None
            assert offset is not None
            if (topic, partition) in self._owned:
                decoded, dead_letter = self._decode(message, topic, partition, offset)
                timestamp = message.timestamp()[1]
                self._pending.append(_Pending((topic, partition), offset, timestamp, decoded, dead_letter))

    def _place_partitions(self, consumer: Consumer) -> None:
        """Give an offset to the partitions without a valid one: those of a new group, and those with a gap."""
        if self._pending or not self._resets.waiting:  # if stopping, records from before a gap can be pending
            return
        self._commit(consumer)
        for partition, gap in self._resets.place(consumer).items():
            if gap is None:
                continue
            # The offset after the gap is committed; an older one must not be.
            self._acknowledged.pop(partition, None)
            self._watch.done({partition: gap.earliest})
            # Without a mark there, the gap would later pass for a loss of the store.
            self._expected[partition] = gap.earliest
            with contextlib.suppress(StoreUnavailable):
                lost = self._store.write([], {partition: OffsetMark(gap.expected, gap.earliest)})
                self._seek_back(consumer, lost)

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
                self._errors.check(error.args[0], "the group's offsets")
                raise StoreUnavailable(
                    f"Kafka does not say what is committed: {error.args[0].str()}", where=str(self._kafka)
                ) from error
            for found in committed:
                if self._errors.check(found.error, f"the group's offset of {found.topic}[{found.partition}]"):
                    raise StoreUnavailable(
                        f"Kafka does not say what is committed: {found.error.str()}",
                        where=f"{found.topic}[{found.partition}] at {self._kafka}",
                    )
                self._expected[found.topic, found.partition] = max(0, found.offset)

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
        for partition, held in lost.items():
            where = f"{partition[0]}[{partition[1]}]"
            try:
                # What Kafka deleted meanwhile cannot be read again.
                earliest, end = consumer.get_watermark_offsets(TopicPartition(*partition), timeout=_KAFKA_TIMEOUT_S)
                start = max(held, earliest)
                consumer.seek(TopicPartition(*partition, start))
            except KafkaException as error:
                # The store's mark stays as it is, so the next check finds the loss again.
                self._errors.passes(error.args[0], f"{where}, to be read again")
                continue
            was, self._expected[partition] = self._expected[partition], held
            self._pending = [p for p in self._pending if p.partition != partition]
            self._acknowledged[partition] = start
            self._metrics.losses.inc()
            _log.warning(
                "%s holds %s up to %s and no longer up to %s: it lost data, which is read again",
                self._store.name,
                where,
                held,
                was,
            )
            if start > held:
                self._gaps.count(Gap(*partition, held, earliest, end))
                _log.warning("%s: %s records of it are no longer in the topic, and lost", where, f"{start - held:,}")

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
        """Commit what is acknowledged; the next commit repeats what failed, at worst a record is written once more."""
        self._commit_due = time.monotonic() + _COMMIT_INTERVAL_S
        if not self._acknowledged:
            return
        offsets = [TopicPartition(*partition, at) for partition, at in self._acknowledged.items()]
        try:
            answers = consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            self._errors.check(error.args[0], "the commit of offsets")
            return
        for answer in answers:
            if not self._errors.check(answer.error, f"the commit of {answer.topic}[{answer.partition}]"):
                self._acknowledged.pop((answer.topic, answer.partition), None)

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
        self._resets.forget(gone)
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
