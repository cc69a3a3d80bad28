"""The loop of every sink: consume, write, and commit offsets once the store has acknowledged.

How it handles failures:

- *The store is down, full or slow*: it pauses the partitions, keeps its batches and retries with growing, jittered
  pauses. It keeps polling, so that it stays in its consumer group, and commits nothing of these batches.
- *A record cannot be decoded*: it publishes the record to ``<topic>.dlq`` with the reason, and counts it as done once
  Kafka has acknowledged that.
- *A partition is revoked*: it drops that part of the batch uncommitted; the next owner reads it again.
- *The store lost acknowledged data* (a Redis flushed, or killed before it wrote to disk): the offset mark in the store
  is missing or too low. It compares marks with every write and once a second, and reads again from the mark, or from
  where the topic now begins.
- *Kafka deleted records before they were read*: it stops, unless told to skip them (:mod:`penstock.kafka.retention`).
- *Kafka reports an error*, of one partition or of all: see :mod:`sinks.kafka_errors`.
- *It is killed*: the next start reads again what was not committed. Writing a record again changes nothing.
- *SIGTERM*: it writes its batches if the store takes them at once, and commits what is acknowledged.

While records wait, it decodes the next batches as the store writes the first one. Offsets are committed in order: those
of a batch only when it and all batches before it are acknowledged.

This module knows no particular store, and reads no settings.
"""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Generic

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from penstock.kafka.access import QUIET, KafkaAccess
from penstock.kafka.gaps import NO_RESET, Gap
from penstock.kafka.lag import Partition
from penstock.kafka.lag_watch import LagWatch
from penstock.kafka.names import group_of
from penstock.kafka.retention import GapPolicy, OffsetResets
from sinks.batch import decode_batch
from sinks.dead_letter_producer import DeadLetterProducer
from sinks.kafka_errors import KafkaErrors, commit_offsets
from sinks.sink_metrics import SinkMetrics
from sinks.store_interface import Decoded, OffsetMark, Store, StoreUnavailable
from sinks.write_queue import WriteQueue

# Of larger batches the stores write less: Redis gets only the newest vector of each entity, Cassandra the rows of an
# entity at once. All that is on its way must be written within seconds, for a sink to stop or to give up partitions.
BATCH = 2_000
# While the store writes one, a second waits in line, and a third is decoded.
MOST_IN_FLIGHT = 3
_POLL_S = 0.25
# What a sink that may wait for records does not wait for longer: a backlog is fetched at once.
_ENOUGH_BYTES = 1_000_000
_COMMIT_INTERVAL_S = 1.0
_KAFKA_TIMEOUT_S = 10.0
_BACKOFF_FIRST_S, _BACKOFF_LONGEST_S = 0.1, 10.0

_log = logging.getLogger(__name__)


class Sink(Generic[Decoded]):
    """One member of a sink's consumer group.

    Args:
        store: The destination.
        pipeline: The pipeline's name; the group is ``penstock-<pipeline>-sink-<store>``.
        kafka: How to reach Kafka.
        watch: Learns which partitions this sink owns, and which offsets are done.
        rng: Jitter of the pauses between attempts.
        reference: The pipeline, as named on the command line.
        wait_ms: How long a record may wait in Kafka for others, to be fetched together, if few arrive.
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
        wait_ms: int = 0,
        skip_deleted: bool = False,
    ) -> None:
        self._store = store
        self._rng = rng
        self._kafka = kafka
        self._pipeline = pipeline
        self._wait_ms = wait_ms
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
        self._acknowledged: dict[Partition, int] = {}
        self._owned: set[Partition] = set()
        self._paused = False
        self._commit_due = 0.0
        self._writes = WriteQueue(store, DeadLetterProducer(kafka), self._metrics)

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
                **({"fetch.min.bytes": _ENOUGH_BYTES, "fetch.wait.max.ms": self._wait_ms} if self._wait_ms else {}),
            }
        )
        consumer.subscribe(
            list(self._store.topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )
        self._watch.started()
        _log.info("%s sink of %s reads %s", self._store.name, self._pipeline, ", ".join(self._store.topics))
        try:
            while not self._stop.is_set():
                is_full = self._read(consumer)
                due = time.monotonic() >= self._commit_due
                # Without a backlog, a batch waits for the one before, so that it grows meanwhile. A check for losses
                # and the search for a place after a gap need everything acknowledged.
                overlap = is_full and not due and not self._resets.waiting
                self._write(consumer, MOST_IN_FLIGHT - 1 if overlap else 0)
                self._place_partitions(consumer)
                if due:
                    self._check_for_data_loss(consumer)
                    self._commit(consumer)
                    self._errors.settle()
            self._write(consumer, 0)
        finally:
            try:
                self._commit(consumer)
            finally:
                consumer.close()

    def _read(self, consumer: Consumer) -> bool:
        """Add everything that has arrived as a batch, as soon as anything has; returns whether more may wait.

        Batches grow with the backlog and add no latency.
        """
        first = consumer.poll(0 if self._writes else _POLL_S)
        messages = [] if first is None else [first, *consumer.consume(BATCH - 1, 0)]
        self._add(messages)
        return len(messages) == BATCH

    def _add(self, messages: Sequence[Message]) -> None:
        records = []
        for message in messages:
            error, topic = message.error(), message.topic()
            if error is None:
                if (topic, message.partition()) in self._owned:
                    records.append(message)
            elif not self._resets.takes(message):
                self._errors.check(error, "the cluster" if topic is None else f"topic {topic}")
        if records:
            self._writes.add(decode_batch(self._store, self._pipeline, records))

    def _place_partitions(self, consumer: Consumer) -> None:
        """Give an offset to the partitions without a valid one: those of a new group, and those with a gap."""
        if self._writes or not self._resets.waiting:  # if stopping, records from before a gap can be pending
            return
        self._commit(consumer)
        for partition, gap in self._resets.place(consumer).items():
            if gap is None:
                continue
            # The offset after the gap is committed; an older one must not be.
            self._acknowledged.pop(partition, None)
            self._watch.done({partition: gap.earliest})
            # Without a mark there, the gap would later pass for a loss of the store.
            self._writes.expected[partition] = gap.earliest
            with contextlib.suppress(StoreUnavailable):
                lost = self._store.write([], {partition: OffsetMark(gap.expected, gap.earliest)}).result()
                self._seek_back(consumer, lost)

    def _write(self, consumer: Consumer, in_flight: int) -> None:
        """Write the batches; returns when at most ``in_flight`` are not acknowledged, or the sink is stopped."""
        failures = 0
        while self._writes:
            try:
                self._fetch_expected_offsets(consumer)
                self._writes.start()
                self._acknowledge(consumer, in_flight)
            except StoreUnavailable as error:
                self._writes.withdraw()
                failures += 1
                pause_s = self._report_failure(error, failures)
                if self._stop.is_set():
                    unwritten = self._writes.records
                    _log.warning("stopped with %s records unwritten; they are read again next time", unwritten)
                    return
                self._pause(consumer)
                self._commit(consumer)
                self._poll_while_paused(consumer, pause_s)
            else:
                break
        if self._paused:
            self._resume(consumer)

    def _acknowledge(self, consumer: Consumer, in_flight: int = 0) -> None:
        """Wait until at most ``in_flight`` of the writes that were begun are not acknowledged, in their order."""
        for batch, lost in self._writes.acknowledged(in_flight):
            if batch.parts:
                self._acknowledged.update({partition: part.end for partition, part in batch.parts.items()})
                self._watch.done(self._acknowledged)
                oldest = min(part.oldest_ms for part in batch.parts.values())
                self._metrics.observe_age(oldest, time.time_ns() // 1_000_000)
            self._seek_back(consumer, lost)

    def _fetch_expected_offsets(self, consumer: Consumer) -> None:
        """Of a newly assigned partition, the store must hold everything up to the committed offset."""
        new = [TopicPartition(*partition) for partition in self._owned - self._writes.expected.keys()]
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
                self._writes.expected[found.topic, found.partition] = max(0, found.offset)

    def _check_for_data_loss(self, consumer: Consumer) -> None:
        """Compare all offset marks, so that a store that lost data is filled again even if no record arrives."""
        if self._writes:  # the sink is stopping
            return
        try:
            self._fetch_expected_offsets(consumer)
            marks = {partition: OffsetMark(offset, offset) for partition, offset in self._writes.expected.items()}
            lost = self._store.write([], marks).result()
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
            was, self._writes.expected[partition] = self._writes.expected[partition], held
            self._writes.drop([partition])
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
                self._add([message])

    def _commit(self, consumer: Consumer) -> None:
        """Commit what is acknowledged; the next commit repeats what failed, at worst a record is written once more."""
        self._commit_due = time.monotonic() + _COMMIT_INTERVAL_S
        commit_offsets(consumer, self._acknowledged, self._errors)

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        new = [(p.topic, p.partition) for p in partitions]
        self._owned.update(new)
        self._watch.assigned(new)
        consumer.incremental_assign(partitions)
        if self._paused:
            consumer.pause(partitions)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        # What is on its way may be acknowledged; if it fails, the partition's next owner reads it again.
        with contextlib.suppress(StoreUnavailable):
            self._acknowledge(consumer)
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
        self._writes.drop(gone)
        for partition in gone:
            self._acknowledged.pop(partition, None)
            self._writes.expected.pop(partition, None)


def group_id(pipeline: str, sink: str) -> str:
    """The consumer group of a sink."""
    return group_of(pipeline, f"sink-{sink}")


def backoff_s(failures: int, rng: random.Random) -> float:
    """The pause after consecutive failures, in seconds: doubles from 0.1 up to 10, less a random part of up to half."""
    longest: float = min(_BACKOFF_LONGEST_S, _BACKOFF_FIRST_S * 2 ** min(failures - 1, 10))
    return longest * rng.uniform(0.5, 1.0)
