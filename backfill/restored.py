"""Copies archived events for the job of a backfill.

The job reads Kafka alone. So the records that an archive and Kafka have together are copied to a topic of the
backfill's own, each with its position in a header, which the kernel takes in the place of the copy's own
(``RawRecordSchema.java``).
"""

from __future__ import annotations

import struct
import threading

from confluent_kafka import KafkaError, Message, Producer

from backfill import scratch
from backfill.progress_bar import ProgressBar
from backfill.resumable import StoppedError
from backfill.topic_reading import topics_of
from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from penstock.kafka.records import MAX_RECORD_BYTES
from streams.definitions.sources import Source
from streams.flink.submission import Offsets, Restored

POSITION_HEADER = "__penstock.position"
# Offset and timestamp.
_POSITION = struct.Struct(">qq")
_FLUSH_S = 60.0
_POLL_EVERY = 5_000


def restore(
    source: Source,
    archive: str,
    kafka: KafkaAccess,
    offsets: Offsets,
    topic: str,
    progress: ProgressBar,
    stop: threading.Event,
) -> Restored:
    """Copy the records of a source to a topic, which is made anew.

    Args:
        source: The source.
        archive: The folder or URL of the archive that has its records, at least those that Kafka no longer has.
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
    producer = Producer(
        {
            **kafka.client(),
            "enable.idempotence": True,
            "linger.ms": 20,
            "compression.type": "lz4",
            # Of a record before compression; the default, a megabyte, is less than a raw topic takes.
            "message.max.bytes": MAX_RECORD_BYTES,
        }
    )
    failures: list[KafkaError] = []

    def delivered(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            failures.append(error)

    progress.start_step(f"copy {source.topic}", offsets.records)
    counts = dict.fromkeys(offsets.start, 0)
    records = topics_of(kafka, archive).read(source.topic, start=offsets.start, end=offsets.end)
    for number, record in enumerate(records, 1):
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
            except BufferError:  # the queue is full, for minutes if Kafka is away
                producer.poll(0.1)
                if stop.is_set():
                    raise StoppedError from None
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
