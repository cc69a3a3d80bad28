"""Replays archived events: finds what an archive and Kafka have of a source together, and copies it for the job.

The job reads Kafka alone. So the records are copied to a topic of the backfill's own, each with its position in a
header, which the kernel takes in the place of the copy's own (``RawRecordSchema.java``).
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator, Mapping

import numpy as np
from confluent_kafka import KafkaError, Message, Producer

from backfill import scratch
from backfill.planning import RetainedTopic
from backfill.progress_bar import ProgressBar
from backfill.resumable import StoppedError
from backfill.retention import end_offsets, first_offsets, offsets_at, retained_topic
from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from penstock.kafka.reading import Record, read_topic
from penstock.kafka.topics import admin_client, partition_counts
from penstock.settings import Settings
from sinks.archive.reading import Archive
from streams.definitions.sources import Source
from streams.flink.submission import Offsets, Restored
from streams.plan.project import Project

POSITION_HEADER = "__penstock.position"
# Offset and timestamp.
_POSITION = struct.Struct(">qq")
_FLUSH_S = 60.0
_POLL_EVERY = 5_000


class ArchivedSource:
    """The records of one source: those of the archive, then those that only Kafka has.

    Args:
        archive: The archive.
        kafka: How to reach Kafka.
        source: The source.

    Raises:
        PenstockError: if the archive does not have the topic, or has other partitions; or between what it has of a
            partition and what Kafka still has, records are missing.
    """

    def __init__(self, archive: Archive, kafka: KafkaAccess, source: Source) -> None:
        self._archive, self._kafka, self._topic = archive, kafka, source.topic
        ranges = archive.ranges(source.topic)
        numbers = range(source.partitions)
        if others := sorted({*ranges} - {*numbers}):
            raise PenstockError(
                f"the archive has partition {others[0]} of {source.topic}, which declares {source.partitions}",
                next="correct the source's partitions, or give another archive",
            )
        is_in_kafka = source.topic in partition_counts(admin_client(kafka), kafka)
        held = first_offsets(kafka, source.topic, numbers) if is_in_kafka else {}
        ends = end_offsets(kafka, source.topic, numbers) if is_in_kafka else {}
        self.firsts, self.ends, self._archived = dict[int, int](), dict[int, int](), dict[int, int]()
        for number in numbers:
            # What is missing in the middle is missing for all windows that reach beyond it.
            begin, end = ranges[number][-1] if ranges.get(number) else (held.get(number, 0),) * 2
            if end < held.get(number, 0):
                raise PenstockError(
                    f"offsets {end} to {held[number]} are neither in the archive nor in Kafka",
                    where=f"{source.topic}[{number}]",
                    safe="nothing was started",
                    next="give a range that needs Kafka or the archive alone",
                )
            self.firsts[number], self._archived[number] = min(begin, held.get(number, begin)), end
            self.ends[number] = max(end, ends.get(number, 0))

    def read(self, topic: str, *, start: Mapping[int, int], end: Mapping[int, int]) -> Iterator[Record]:
        """The records of [start, end), in the order of their offsets within a partition."""
        old = {
            n: (at, min(end[n], self._archived[n])) for n, at in start.items() if at < min(end[n], self._archived[n])
        }
        if old:
            of_archive = {n: stop for n, (_, stop) in old.items()}
            yield from self._archive.records(topic, start={n: at for n, (at, _) in old.items()}, end=of_archive)
        new = {n: max(at, self._archived[n]) for n, at in start.items() if end[n] > max(at, self._archived[n])}
        if new:
            yield from read_topic(self._kafka, topic, start=new, end={n: end[n] for n in new})

    def starts(self, start_ms: int) -> dict[int, int]:
        """The first offset of each partition whose Kafka timestamp is at least this, epoch ms; its end if none is."""
        if start_ms <= 0:
            return self.firsts
        found = dict(self.ends)
        new = [number for number, end in self.ends.items() if end > self._archived[number]]
        if new:
            of_kafka = offsets_at(self._kafka, self._topic, new, start_ms)
            found |= {number: max(at, self._archived[number]) for number, at in of_kafka.items()}
        for batch in self._archive.batches(self._topic, ["_partition", "_offset"], from_ms=start_ms):
            partitions, offsets = batch["_partition"].to_numpy(), batch["_offset"].to_numpy()
            for number in np.unique(partitions).tolist():
                first = int(offsets[partitions == number].min())
                found[number] = min(found[number], max(first, self.firsts[number]))
        return found


def archived_topic(
    project: Project, source: Source, settings: Settings, archive: Archive, start_ms: int
) -> RetainedTopic:
    """As :func:`backfill.retention.read_retained_topic`, of what the archive and Kafka have together."""
    both = ArchivedSource(archive, settings.kafka.access, source)
    return retained_topic(
        project, source, settings, firsts=both.firsts, starts=both.starts(start_ms), ends=both.ends, read=both.read
    )


def restore(
    source: Source,
    archive: Archive,
    kafka: KafkaAccess,
    offsets: Offsets,
    topic: str,
    progress: ProgressBar,
    stop: threading.Event,
) -> Restored:
    """Copy the records of a source to a topic, which is made anew.

    Args:
        source: The source.
        archive: Has its records, at least those that Kafka no longer has.
        kafka: How to reach Kafka.
        offsets: Which records.
        topic: The name of the topic to make.
        progress: Shows how many are copied.
        stop: Ends it.

    Raises:
        StoppedError: if ``stop`` was set.
        PenstockError: if a record cannot be read or written.
    """
    scratch.create(kafka, topic, source.partitions)
    producer = Producer({**kafka.client(), "enable.idempotence": True, "linger.ms": 20, "compression.type": "lz4"})
    failures: list[KafkaError] = []

    def delivered(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            failures.append(error)

    progress.start_step(f"copy {source.topic}", offsets.records)
    counts = dict.fromkeys(offsets.start, 0)
    both = ArchivedSource(archive, kafka, source)
    for number, record in enumerate(both.read(source.topic, start=offsets.start, end=offsets.end), 1):
        position = (POSITION_HEADER, _POSITION.pack(record.offset, record.timestamp))
        while True:
            try:
                producer.produce(
                    topic,
                    record.value,
                    record.key,
                    record.partition,
                    delivered,
                    headers=[position, *record.headers],
                )
                break
            except BufferError:  # the queue is full
                producer.poll(0.1)
        counts[record.partition] += 1
        if number % _POLL_EVERY == 0:
            producer.poll(0)
            progress.update(number)
            if stop.is_set():
                raise StoppedError
            if failures:
                break
    left = producer.flush(_FLUSH_S)
    if failures or left:
        raise PenstockError(
            f"archived records cannot be copied: {failures[0].str() if failures else 'Kafka does not answer'}",
            where=f"topic {topic} at {kafka}",
            safe="the archive, and the live pipeline",
            next="penstock status; then run the same command, which copies them again",
        )
    held = {number: count for number, count in counts.items() if count}
    return Restored(topic=topic, start=dict.fromkeys(held, 0), end=held)
