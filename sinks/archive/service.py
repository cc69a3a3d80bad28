"""Consumes topics and writes them to an archive, batch by batch.

How it handles failures:

- *The storage is away or full, or a schema registry is away*: it pauses the partitions, keeps its batches and tries
  again with growing, jittered pauses. It keeps polling, so that it stays in its consumer group.
- *A value cannot be decoded*: the record is archived with its bytes, and ``_error`` says why it has no typed columns.
- *A partition is revoked*: its batch is dropped; the next owner reads these records again.
- *Another writer has archived a batch*: it drops its own, and goes on after the other's.
- *Kafka deleted records before they were archived*: it stops, unless told to skip them; commit records show the gap.
- *The topic was made anew*: it stops, because old and new offsets would mean different records.
- *SIGTERM*: it writes its batches if the storage takes them at once.

A partition goes on where the archive ends, wherever Kafka's committed offset is: that only shows the lag.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from penstock.errors import PenstockError
from penstock.kafka.access import QUIET, KafkaAccess
from penstock.kafka.gaps import NO_RESET
from penstock.kafka.lag import Partition
from penstock.kafka.lag_watch import LagWatch
from penstock.kafka.names import group_of
from penstock.kafka.reading import Record
from penstock.kafka.retention import GapPolicy
from sinks.archive.archive_metrics import ArchiveMetrics
from sinks.archive.batch import CHUNK, Limits, OpenBatch
from sinks.archive.layout import CommitRecord
from sinks.archive.placing import place
from sinks.archive.storage import StorageUnavailable
from sinks.archive.topic_ids import NO_IDS, TopicIds
from sinks.archive.writing import ArchiveWriter, TakenOverError
from sinks.kafka_errors import KafkaErrors, commit_offsets
from sinks.runner import backoff_s

PART = "archive"
"""Its name in the consumer group and in the metrics."""

_MESSAGES = 5_000
_POLL_S = 0.25
_COMMIT_INTERVAL_S = 1.0
_KAFKA_TIMEOUT_S = 10.0

_log = logging.getLogger(__name__)


@dataclass
class _Part:
    """A partition that this member owns.

    Args:
        latest: The record after which ``batch`` comes.
        batch: What is not archived yet.
        end: The end of the partition when it was placed: what it must reach to have caught up.
    """

    latest: CommitRecord | None
    batch: OpenBatch
    end: int


class ArchiveService:
    """One member of the group that archives a pipeline.

    Args:
        writer: Writes the batches.
        topics: The topics to archive.
        pipeline: The pipeline's name.
        kafka: How to reach Kafka.
        watch: Learns which partitions this member owns, and which offsets are archived.
        rng: Jitter of the pauses between attempts.
        command: The command that started it, for messages; ``reference`` is the pipeline as it was named there.
        limits: When batches are closed.
        topic_ids: Kafka's ids of the topics, asked for again before each placing and each batch.
        until_caught_up: Whether to stop once everything is archived that the topics had when it began.
        skip_deleted: Whether to go on where Kafka deleted records before they were archived.
    """

    def __init__(
        self,
        writer: ArchiveWriter,
        topics: Sequence[str],
        pipeline: str,
        kafka: KafkaAccess,
        watch: LagWatch,
        rng: random.Random,
        *,
        reference: str,
        command: str,
        limits: Limits | None = None,
        topic_ids: TopicIds = NO_IDS,
        until_caught_up: bool = False,
        skip_deleted: bool = False,
    ) -> None:
        self.archived = 0
        """Records archived since the start."""
        self._writer = writer
        self._topics = list(topics)
        self._pipeline = pipeline
        self._kafka = kafka
        self._watch = watch
        self._rng = rng
        self._limits = limits or Limits()
        self._topic_ids = topic_ids
        self._until_caught_up = until_caught_up
        self._metrics = ArchiveMetrics(pipeline, topics)
        self._errors = KafkaErrors(kafka, reference, self._metrics.sink.kafka_errors.inc, time.monotonic)
        self._gaps = GapPolicy(
            pipeline, PART, tuple(topics), "The archive does not get what they hold.", command, skip_deleted
        )
        self._stop = threading.Event()
        self._was_assigned = False
        self._unplaced: set[Partition] = set()
        self._parts: dict[Partition, _Part] = {}
        self._archived: dict[Partition, int] = {}
        self._commit_due = 0.0

    def stop(self) -> None:
        """Make :meth:`run` return soon; safe to call from a signal handler or another thread."""
        self._stop.set()

    def run(self) -> None:
        """Archive records until :meth:`stop`, or until everything is archived if told so.

        Raises:
            PenstockError: if no retry can help: Kafka refuses for good, a topic was deleted or made anew, Kafka deleted
                records before they were archived, or a commit record is damaged.
        """
        self._metrics.sink.paused.set(0)
        consumer = Consumer(
            {
                **self._kafka.client(),
                **QUIET,
                **NO_RESET,
                "group.id": group_of(self._pipeline, PART),
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                # The end of a partition, which may lie after markers that no consumer receives.
                "enable.partition.eof": True,
                "partition.assignment.strategy": "cooperative-sticky",
                "session.timeout.ms": 10_000,
                "heartbeat.interval.ms": 2_000,
                "reconnect.backoff.ms": 1_000,
                "reconnect.backoff.max.ms": 2_000,
            }
        )
        consumer.subscribe(self._topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke)
        self._watch.started()
        _log.info("the archive of %s reads %s", self._pipeline, ", ".join(self._topics))
        try:
            while not self._stop.is_set():
                self._place(consumer)
                self._read(consumer)
                self._write_due(consumer)
                if time.monotonic() >= self._commit_due:
                    self._commit(consumer)
                    self._errors.settle()
                # A batch that grows is progress; only a member that stands still is not healthy.
                self._watch.done({})
                if self._is_done():
                    self._write(consumer, list(self._parts))
                    if self._is_done():  # and no other writer was found to have gone on
                        break
            self._write(consumer, list(self._parts))
        finally:
            try:
                self._commit(consumer)
            finally:
                consumer.close()

    def _is_done(self) -> bool:
        return (
            self._until_caught_up
            and self._was_assigned
            and not self._unplaced
            and all(part.batch.end >= part.end for part in self._parts.values())
        )

    def _read(self, consumer: Consumer) -> None:
        """Add what has arrived to the open batches."""
        first = consumer.poll(_POLL_S)
        if first is None:
            return
        records: dict[Partition, list[Record]] = defaultdict(list)
        for message in [first, *consumer.consume(_MESSAGES - 1, 0)]:
            partition, error = (message.topic(), message.partition()), message.error()
            if error is not None:
                # What came before it belongs to the batch first.
                self._add(records)
                records.clear()
                self._on_error(partition, error, message)
            elif partition in self._parts:
                records[partition].append(_record(message))
        self._add(records)

    def _add(self, records: Mapping[Partition, Sequence[Record]]) -> None:
        now_s = time.monotonic()
        for partition, found in records.items():
            self._parts[partition].batch.add(found, now_s)

    def _on_error(self, partition: Partition, error: KafkaError, message: Message) -> None:
        where = "the cluster" if partition[0] is None else f"topic {partition[0]}"
        match error.code():
            case KafkaError._PARTITION_EOF:  # noqa: SLF001 - public, in spite of _
                if partition in self._parts and (offset := message.offset()) is not None:
                    self._parts[partition].batch.reach(offset)
            case KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001
                if partition in self._parts:
                    self._unplaced.add(partition)
            case _:
                self._errors.check(error, where)

    def _write_due(self, consumer: Consumer) -> None:
        now_s = time.monotonic()
        # Of a partition that has lost its place everything is written first, to see what is missing then.
        due = [p for p, part in self._parts.items() if part.batch.is_due(self._limits, now_s) or p in self._unplaced]
        if sum(part.batch.bytes for part in self._parts.values()) > self._limits.open_bytes:
            due.append(max(self._parts, key=lambda partition: self._parts[partition].batch.bytes))
        self._write(consumer, due)
        for part in list(self._parts.values()):
            self._retrying(consumer, partial(_decode, part.batch, CHUNK))

    def _write(self, consumer: Consumer, partitions: Sequence[Partition]) -> None:
        self._topic_ids.check(sorted({topic for topic, _ in partitions}))
        for partition in dict.fromkeys(partitions):
            if not self._retrying(consumer, partial(self._write_one, partition)):
                return

    def _write_one(self, partition: Partition) -> None:
        part = self._parts.get(partition)
        if part is None or part.batch.end == part.batch.begin:  # revoked meanwhile, or nothing arrived
            return
        batch, begin_s = part.batch, time.monotonic()
        if not batch.rows and not self._is_final:
            return
        _decode(batch)
        written = self._metrics.sink.start_write(batch.rows)
        try:
            part.latest = self._writer.write(*partition, batch, part.latest)
        except TakenOverError:
            _log.warning("%s[%s]@%s is archived by another writer; going on after it", *partition, batch.begin)
            del self._parts[partition]
            self._unplaced.add(partition)
            return
        finally:
            written()
        size = sum(file.bytes for file in part.latest.files)
        self._metrics.count(partition[0], batch.rows, batch.undecoded, size)
        if batch.oldest_ms is not None:
            self._metrics.sink.observe_age(batch.oldest_ms, time.time_ns() // 1_000_000)
        self.archived += batch.rows
        part.batch = self._writer.batch(partition[0], batch.end)
        self._archived[partition] = batch.end
        self._watch.done({partition: batch.end})
        _log.info(
            "archived %s: %s records, %.1f MB in %.1f s",
            part.latest.where,
            f"{batch.rows:,}",
            size / 1e6,
            time.monotonic() - begin_s,
        )

    @property
    def _is_final(self) -> bool:
        """Whether to write ranges without records, too, so that the archive reaches the end of its topics."""
        return self._until_caught_up and self._is_done()

    def _place(self, consumer: Consumer) -> None:
        """Find where new partitions go on, and those that have lost their place."""
        waiting = {partition for partition in self._unplaced if self._owns(consumer, partition)}
        self._unplaced &= waiting
        for topic in sorted({topic for topic, _ in waiting}):
            self._retrying(consumer, partial(self._place_topic, consumer, topic))

    def _place_topic(self, consumer: Consumer, topic: str) -> None:
        self._topic_ids.check([topic])
        latest = self._writer.take_over(topic)
        for partition in sorted(partition for partition in self._unplaced if partition[0] == topic):
            record = latest.get(partition[1])
            try:
                earliest, end = consumer.get_watermark_offsets(TopicPartition(*partition), timeout=_KAFKA_TIMEOUT_S)
            except KafkaException as error:
                self._errors.passes(error.args[0], f"the offsets of {partition[0]}[{partition[1]}]")
                continue
            begin, gap = place(partition, record, earliest, end, self._topic_ids.first.get(topic))
            if gap is not None:
                self._gaps.pass_over(gap)
            consumer.incremental_unassign([TopicPartition(*partition)])
            consumer.incremental_assign([TopicPartition(*partition, begin)])
            consumer.resume([TopicPartition(*partition)])
            self._archived[partition] = begin
            self._unplaced.discard(partition)
            self._parts[partition] = _Part(record, self._writer.batch(topic, begin), end)
            self._watch.done({partition: begin})

    def _owns(self, consumer: Consumer, partition: Partition) -> bool:
        return TopicPartition(*partition) in consumer.assignment()

    def _retrying(self, consumer: Consumer, act: Callable[[], object]) -> bool:
        """Do something with the storage until it succeeds; False if the service is stopped before."""
        failures = 0
        while True:
            try:
                act()
            except StorageUnavailable as error:
                failures += 1
                pause_s = backoff_s(failures, self._rng)
                self._metrics.sink.store_errors.inc()
                self._metrics.sink.paused.set(1)
                _log.warning("paused, next attempt (%s) in %.1f s: %s", failures + 1, pause_s, error)
                if self._stop.is_set():
                    _log.warning("stopped; what is not archived is read again next time")
                    return False
                consumer.pause(consumer.assignment())
                self._poll_while_paused(consumer, pause_s)
            else:
                break
        if failures:
            consumer.resume(consumer.assignment())
            self._metrics.sink.paused.set(0)
            _log.info("the storage takes records again")
        return True

    def _poll_while_paused(self, consumer: Consumer, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._stop.is_set() and (left := until - time.monotonic()) > 0:
            message = consumer.poll(min(left, _POLL_S))
            if message is None:
                continue
            partition, error = (message.topic(), message.partition()), message.error()
            if error is not None:
                self._on_error(partition, error, message)
            elif partition in self._parts:
                self._add({partition: [_record(message)]})

    def _commit(self, consumer: Consumer) -> None:
        """Show Kafka what is archived. A commit that fails is repeated, and at worst the lag looks larger."""
        self._commit_due = time.monotonic() + _COMMIT_INTERVAL_S
        commit_offsets(consumer, self._archived, self._errors)

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        new = [(p.topic, p.partition) for p in partitions]
        self._was_assigned = True
        self._unplaced.update(new)
        self._watch.assigned(new)
        # Where they go on is found outside this callback, as the storage may be away; until then they wait.
        consumer.incremental_assign(partitions)
        if partitions:
            consumer.pause(partitions)

    def _on_revoke(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        gone = {(p.topic, p.partition) for p in partitions}
        self._unplaced -= gone
        self._watch.revoked(gone)
        for partition in gone:
            self._parts.pop(partition, None)
            self._archived.pop(partition, None)


def _decode(batch: OpenBatch, least: int = 1) -> None:
    """Decode what waits; a schema registry that does not answer is waited for as the storage is."""
    try:
        batch.decode(least)
    except PenstockError as error:
        raise StorageUnavailable(error.what, where=error.where, safe=error.safe, next=error.next) from error


def _record(message: Message) -> Record:
    partition, offset = message.partition(), message.offset()
    assert partition is not None
    assert offset is not None
    return Record(
        partition, offset, message.timestamp()[1], message.key(), message.value(), tuple(message.headers() or ())
    )
