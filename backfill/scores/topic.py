"""Publishes scores on a topic, each once.

Every record says of which run it is, and which row of its partition. A partition's rows are written in order, so its
last committed record says how far it has come: there is no other progress that could be lost. Each partition has a
transactional id of its own, whose producer is started before the records are read: whoever wrote before has finished
then, or is fenced.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Protocol

from confluent_kafka import OFFSET_BEGINNING, TopicPartition

from backfill.resumable import StoppedError
from backfill.scores.delivered import key_of, scores_in
from backfill.scores.manifest import ScoresManifest
from penstock.counts import counted
from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from penstock.kafka.names import Topic, group_of
from penstock.kafka.reading import Record, read_topic
from penstock.kafka.records import Produced
from penstock.kafka.topics import create_topics
from penstock.kafka.transactions import (
    OutcomeUnknownError,
    TransactionAbortedError,
    TransactionalProducer,
    producer_factory,
)
from schemas.codec import Encoder
from schemas.records import SCORE_SCHEMA
from streams.definitions.pipeline import Pipeline
from streams.plan.pipeline_topics import pipeline_topics

RUN, ROW, VERSION = "penstock.score.run", "penstock.score.row", "penstock.score.model_version"
"""Headers of a score: the run that it is of, the number of its row in its partition, and the version."""

_BATCH = 1_000
_WRITE_S = 20.0
_ATTEMPTS = 3

_log = logging.getLogger(__name__)


class Writer(Protocol):
    """Writes transactions; :class:`TransactionalProducer` does."""

    def start(self) -> bool: ...  # noqa: D102
    def write(  # noqa: D102
        self, records: list[Produced], offsets: list[TopicPartition], group_metadata: None, timeout_s: float, /
    ) -> None: ...


def prepare_topic(pipeline: Pipeline, topic: str, kafka: KafkaAccess) -> None:
    """Make the topic if there is none: compacted, so that of each event and version the newest score stays.

    Raises:
        PenstockError: if it is a topic of the pipeline, has another number of partitions, or Kafka does not answer.
    """
    if topic in {of.name for of in pipeline_topics(pipeline)}:
        raise PenstockError(
            f"{topic} is a topic of the pipeline",
            where="--topic",
            safe="nothing was published",
            next=f"give scores a topic of their own, such as --topic scores.{pipeline.name}",
        )
    create_topics([Topic(topic, pipeline.source.partitions, {"cleanup.policy": "compact"})], kafka)


def publish(
    folder: Path,
    manifest: ScoresManifest,
    topic: str,
    read: Callable[[int], Iterable[Record]],
    writer: Callable[[int], Writer],
    now: Callable[[], int],
    is_stopping: Callable[[], bool],
) -> int:
    """Publish the rows that are not on the topic yet; returns how many these are.

    Args:
        folder: Has the scores.
        manifest: Theirs, which is complete.
        topic: Where to.
        read: The committed records of a partition of the topic.
        writer: What writes to a partition.
        now: Wall-clock epoch milliseconds.
        is_stopping: Whether to stop after the present transaction.

    Raises:
        StoppedError: if it was to stop; what was published stays, and is not published again.
        PenstockError: if the topic has records that are no scores, a part is damaged, or transactions fail.
    """
    written = 0
    for partition in sorted({part.partition for part in manifest.parts}):
        producer, why = writer(partition), ""
        for _ in range(_ATTEMPTS):
            producer.start()
            done = rows_on(read(partition), manifest.run, topic)
            try:
                for batch in _batches(folder, manifest, topic, partition, done, now):
                    if is_stopping():
                        raise StoppedError
                    producer.write(batch, [], None, _WRITE_S)
                    written += len(batch)
                break
            except (TransactionAbortedError, OutcomeUnknownError) as error:
                why = str(error)
                _log.warning("partition %d: a transaction failed (%s); going on after the last one", partition, why)
        else:
            raise PenstockError(
                f"{counted(_ATTEMPTS, 'transaction')} failed; another command may publish the same scores: {why}",
                where=f"{topic}[{partition}]",
                safe="each score is published once or not at all",
                next="penstock status; then the same command again, which goes on where this one has ended",
            )
    return written


def rows_on(records: Iterable[Record], run: str, topic: str) -> int:
    """How many rows of a run its records of one partition have.

    Raises:
        PenstockError: if one is no score.
    """
    rows = 0
    for record in records:
        headers = dict(record.headers)
        row = headers.get(ROW) or b""
        if RUN not in headers or not row.isdigit():
            raise PenstockError(
                "the topic has records that are no scores",
                where=f"{topic}[{record.partition}]@{record.offset}",
                safe="nothing more was published",
                next="give scores a topic of their own: --topic NAME",
            )
        if headers[RUN] == run.encode():
            rows = max(rows, int(row) + 1)
    return rows


def kafka_writer(kafka: KafkaAccess, pipeline: str, topic: str) -> Callable[[int], Writer]:
    """What writes to the partitions of a topic in Kafka."""

    def writer(partition: int) -> Writer:
        transactional_id = group_of(pipeline, f"score-{topic}-{partition}")
        return TransactionalProducer(
            producer_factory(kafka, transactional_id),
            transactional_id,
            clock=time.monotonic,
            wait=time.sleep,
            stopping=lambda: False,
        )

    return writer


def kafka_reader(kafka: KafkaAccess, topic: str) -> Callable[[int], Iterator[Record]]:
    """What reads the partitions of a topic in Kafka."""
    return lambda partition: read_topic(kafka, topic, start={partition: OFFSET_BEGINNING})


def _batches(
    folder: Path, manifest: ScoresManifest, topic: str, partition: int, done: int, now: Callable[[], int]
) -> Iterator[list[Produced]]:
    """The records of the rows after the first ``done`` of a partition."""
    encoder, run, row = Encoder(SCORE_SCHEMA), manifest.run.encode(), 0

    def records() -> Iterator[Produced]:
        nonlocal row
        for part in manifest.of_partition(partition):
            if row + part.rows <= done:
                row += part.rows
                continue
            for score in scores_in(folder, manifest, part):
                if row >= done:
                    headers = [(RUN, run), (ROW, b"%d" % row), (VERSION, score["model_version"].encode())]
                    key = key_of(score).encode()
                    yield Produced(topic, partition, key, encoder.encode(score), headers, now(), part.file)
                row += 1

    found = records()
    while batch := list(islice(found, _BATCH)):
        yield batch
