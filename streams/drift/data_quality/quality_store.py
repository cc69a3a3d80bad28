"""What data quality keeps in Kafka: the reference, and what is counted, with the offsets that are included.

One transaction has the alerts, what has changed and the offsets. So a process that is killed anywhere goes on from
counts that fit its offsets, and an alert is visible exactly if the state that remembers it is.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from confluent_kafka import TopicPartition
from pydantic import BaseModel, ConfigDict, ValidationError

from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from penstock.kafka.lag import Partition
from penstock.kafka.names import group_of
from penstock.kafka.reading import ReadTopic
from penstock.kafka.records import Produced
from penstock.kafka.single_writer import start_writer
from scoring.rollout.controller_store import Writer
from streams.definitions.monitors import Monitors
from streams.definitions.pipeline import Pipeline
from streams.drift.data_quality.partition_counts import PartitionState
from streams.drift.data_quality.quality_reference import (
    QualityReference,
    UnreadableReferenceError,
    read_quality_reference,
)
from streams.drift.data_quality.quality_watch import QualityState, QualityWatch

_log = logging.getLogger(__name__)

PART = "data-quality"
REFERENCE, NOTE = b"reference", b"note"
# For one transaction: less than transaction.timeout.ms, or the broker would abort it meanwhile.
_WRITE_S = 20.0


class NotLearntError(PenstockError):
    """Nothing is known of how raw events usually are, or not by the settings of the definition."""


class Note(BaseModel):
    """What is counted, and the offset of the next record of each partition, by topic."""

    model_config = ConfigDict(extra="forbid")

    state: QualityState
    positions: dict[str, dict[int, int]]


class _SavedPartition(BaseModel):
    model_config = ConfigDict(extra="forbid")

    reference: str
    state: PartitionState


class Kept(NamedTuple):
    """What was saved; ``partitions`` are those of the reference, by topic and number."""

    reference: QualityReference | None
    note: Note | None
    partitions: dict[str, dict[int, PartitionState]]


def read_kept(read: ReadTopic, pipeline: Pipeline) -> Kept:
    """What was saved; of an earlier reference only the offsets.

    Raises:
        RecordsGoneError: if the topic does not exist.
        PenstockError: if the reference cannot be read, or Kafka does not answer or does not allow it.
    """
    latest: dict[bytes, bytes] = {}
    for record in read(pipeline.data_quality_topic):
        if record.value is not None:
            latest[record.key or b""] = record.value
    if REFERENCE not in latest:
        return Kept(None, None, {})
    reference = read_quality_reference(latest.pop(REFERENCE), pipeline.data_quality_topic)
    partitions: dict[str, dict[int, PartitionState]] = {}
    try:
        note = Note.model_validate_json(latest.pop(NOTE)) if NOTE in latest else None
        for key, value in latest.items():
            topic, _, number = key.decode().rpartition("/")
            saved = _SavedPartition.model_validate_json(value)
            if saved.reference == reference.hash:
                partitions.setdefault(topic, {})[int(number)] = saved.state
    except (ValidationError, ValueError) as error:
        _log.warning(
            "%s is of another release, and begins anew: %s", pipeline.data_quality_topic, str(error).partition("\n")[0]
        )
        return Kept(reference, None, {})
    return Kept(reference, note, partitions)


def require_declared(pipeline: Pipeline) -> Monitors:
    """The monitors, if they watch data quality.

    Raises:
        PenstockError: if they do not.
    """
    if pipeline.monitors is None or pipeline.monitors.data_quality is None:
        raise PenstockError(
            f"pipeline {pipeline.name} does not watch its raw events",
            next="from penstock import DataQuality, Monitors; give the pipeline "
            "monitors=Monitors(data_quality=DataQuality()); docs/guides/data-quality.md has the settings",
        )
    return pipeline.monitors


def require_reference(kept: Kept, pipeline: Pipeline, reference: str) -> QualityReference:
    """The reference, if it was made with the settings of the definition.

    Raises:
        NotLearntError: if there is none, or settings have changed.
    """
    monitors, command = require_declared(pipeline), f"penstock data-quality profile {reference}"
    found = kept.reference
    if found is None:
        raise NotLearntError(
            f"nothing is known of how the raw events of pipeline {pipeline.name} usually are",
            where=pipeline.data_quality_topic,
            next=command,
        )
    if (found.window, found.false_alarm_every) != (monitors.window, monitors.false_alarm_every):
        raise NotLearntError(
            "the settings of the monitors have changed since the raw events were profiled",
            where=pipeline.data_quality_topic,
            safe="all published alerts",
            next=command,
        )
    return found


def write_reference(kafka: KafkaAccess, pipeline: Pipeline, reference: QualityReference, now_ms: int) -> None:
    """Replace the reference: a process that runs takes it up.

    Raises:
        PenstockError: if it could not be read again, as with a number that is not finite, or if Kafka does not answer
            or does not allow it.
    """
    value = reference.model_dump_json().encode()
    try:
        read_quality_reference(value, pipeline.data_quality_topic)
    except UnreadableReferenceError as error:
        raise PenstockError(
            f"what was learnt of raw events could not be read again: {error.what}",
            where=pipeline.data_quality_topic,
            safe="the reference of before, if there is one",
            next="penstock data-quality profile PIPELINE --from TIME --to TIME, of a time without such events",
        ) from error
    producer = start_writer(kafka, group_of(pipeline.name, PART))
    record = Produced(pipeline.data_quality_topic, 0, REFERENCE, value, [], now_ms, "the reference")
    producer.write([record], [], None, _WRITE_S)


class DataQualityStore:
    """The one writer of a pipeline's data quality.

    Args:
        pipeline: The pipeline.
        read: Reads a topic.
        producer: Writes under a transactional id of its own.
    """

    def __init__(self, pipeline: Pipeline, read: ReadTopic, producer: Writer) -> None:
        self._pipeline, self._read, self._producer = pipeline, read, producer

    def start(self) -> bool:
        """Fence every other writer, and end what it was writing; waits for Kafka. False if the process shall stop.

        Raises:
            PenstockError: if Kafka does not allow it.
        """
        return self._producer.start()

    def serve(self) -> None:
        """Take in what the client tells between transactions. Never waits."""
        self._producer.serve()

    def read(self) -> Kept:
        """What the last process has left, after :meth:`start`; raises as :func:`read_kept`."""
        return read_kept(self._read, self._pipeline)

    def write(
        self,
        watch: QualityWatch,
        alerts: Sequence[Produced],
        positions: Mapping[Partition, int],
        group: Any,
        now_ms: int,
    ) -> int:
        """Write alerts, what has changed, and the offsets, in one transaction; returns the bytes of what has changed.

        Raises:
            TransactionAbortedError: nothing was written.
            OutcomeUnknownError: it is not known what was written: start again.
            InstanceFencedError: another process writes, or has replaced the reference.
            PenstockError: if Kafka refuses a record, or does not allow it.
        """
        by_topic: dict[str, dict[int, int]] = {}
        for (topic, number), offset in sorted(positions.items()):
            by_topic.setdefault(topic, {})[number] = offset
        values = {NOTE: Note(state=watch.state(), positions=by_topic)} | {
            f"{topic}/{number}".encode(): _SavedPartition(reference=watch.reference.hash, state=state)
            for topic, number, state in watch.changed_partitions()
        }
        topic = self._pipeline.data_quality_topic
        records = [
            Produced(topic, 0, key, value.model_dump_json().encode(), [], now_ms, key.decode())
            for key, value in values.items()
        ]
        offsets = [TopicPartition(*place, offset) for place, offset in positions.items()]
        self._producer.write([*alerts, *records], offsets, group, _WRITE_S)
        return sum(len(record.value or b"") for record in records)
