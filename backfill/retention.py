"""Reads what retention has kept of a topic: offsets, and the event times at both ends of each partition."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Protocol

from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from backfill.planning import RetainedPartition, RetainedTopic
from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from penstock.kafka.reading import Record, read_topic
from penstock.kafka.topics import admin_client, require_topics
from penstock.settings import Settings
from schemas.codec import Decoder, Rejection, decode_event
from schemas.committed import writer_schemas
from schemas.registry import registry_schemas
from streams.definitions.sources import Source
from streams.plan.project import Project

_TIMEOUT_S = 15.0
# Records read at each end of a partition: late events make the newest event seldom the last one.
_SAMPLED_RECORDS = 1_000


class Read(Protocol):
    """Reads a topic as :func:`penstock.kafka.reading.read_topic` does."""

    def __call__(self, topic: str, *, start: Mapping[int, int], end: Mapping[int, int]) -> Iterator[Record]:
        """The records of [start, end), by partition."""


def read_retained_topic(project: Project, source: Source, settings: Settings, start_ms: int) -> RetainedTopic:
    """Return the retained records of a source's topic; each partition's ``start`` is for Kafka timestamp ``start_ms``.

    Raises:
        PenstockError: if the topic does not exist, or Kafka or the schema registry cannot be reached.
    """
    kafka, topic = settings.kafka.access, source.topic
    require_topics([topic], kafka, partitions=source.partitions, pipeline=project.reference)
    numbers = range(source.partitions)
    firsts, ends = first_offsets(kafka, topic, numbers), end_offsets(kafka, topic, numbers)
    starts = _starts(admin_client(kafka), topic, start_ms, ends)
    read = partial(read_topic, kafka)
    return retained_topic(project, source, settings, firsts=firsts, starts=starts, ends=ends, read=read)


def retained_topic(
    project: Project,
    source: Source,
    settings: Settings,
    *,
    firsts: Mapping[int, int],
    starts: Mapping[int, int],
    ends: Mapping[int, int],
    read: Read,
) -> RetainedTopic:
    """Describe the records of a source that can be read: these offsets, of which both ends are looked at.

    Raises:
        PenstockError: if they cannot be read.
    """
    topic = source.topic
    head_ends = {n: min(firsts[n] + _SAMPLED_RECORDS, ends[n]) for n in ends}
    tail_starts = {n: max(head_ends[n], ends[n] - _SAMPLED_RECORDS) for n in ends}
    head = list(read(topic, start=firsts, end=head_ends))
    sampled = [*head, *read(topic, start=tail_starts, end=ends)]
    first_timestamps: dict[int, int] = {}
    for record in head:
        first_timestamps.setdefault(record.partition, record.timestamp)
    times = _event_times(source, project.schemas, settings, sampled)
    return RetainedTopic(
        partitions={
            n: RetainedPartition(
                first=firsts[n],
                start=starts[n],
                end=ends[n],
                first_timestamp=first_timestamps.get(n),
            )
            for n in ends
        },
        oldest_ms=min(times, default=None),
        newest_ms=max(times, default=None),
        newest_timestamp=max((record.timestamp for record in sampled), default=0),
    )


def first_offsets(kafka: KafkaAccess, topic: str, partitions: Iterable[int]) -> dict[int, int]:
    """Return the first retained offset of each of these partitions; the topic must exist."""
    return _offsets(admin_client(kafka), topic, dict.fromkeys(partitions, OffsetSpec.earliest()))


def end_offsets(kafka: KafkaAccess, topic: str, partitions: Iterable[int]) -> dict[int, int]:
    """Return the offset after the last committed record of each of these partitions; the topic must exist."""
    return _offsets(admin_client(kafka), topic, dict.fromkeys(partitions, OffsetSpec.latest()))


def offsets_at(kafka: KafkaAccess, topic: str, partitions: Iterable[int], time_ms: int) -> dict[int, int]:
    """Return each partition's first offset with a Kafka timestamp of at least ``time_ms``; the end if there is none.

    Raises:
        PenstockError: if the topic cannot be read.
    """
    admin = admin_client(kafka)
    try:
        ends = _offsets(admin, topic, dict.fromkeys(partitions, OffsetSpec.latest()))
        return _starts(admin, topic, time_ms, ends)
    except KafkaException as error:
        raise PenstockError(
            f"topic {topic} cannot be read: {error.args[0].str()}", where=str(kafka), next="penstock status"
        ) from error


def _starts(admin: AdminClient, topic: str, time_ms: int, ends: Mapping[int, int]) -> dict[int, int]:
    # Kafka gives negative timestamps special meanings.
    found = _offsets(admin, topic, dict.fromkeys(ends, OffsetSpec.for_timestamp(max(0, time_ms))))
    return {n: end if found[n] < 0 else min(end, found[n]) for n, end in ends.items()}


def _offsets(admin: AdminClient, topic: str, specs: Mapping[int, OffsetSpec]) -> dict[int, int]:
    futures = admin.list_offsets(
        {TopicPartition(topic, number): spec for number, spec in specs.items()},
        isolation_level=IsolationLevel.READ_COMMITTED,
        request_timeout=_TIMEOUT_S,
    )
    # Longer than the request's timeout: Kafka's error says more than the future's TimeoutError.
    return {partition.partition: future.result(2 * _TIMEOUT_S).offset for partition, future in futures.items()}


def _event_times(source: Source, schemas: Path, settings: Settings, records: Iterable[Record]) -> list[int]:
    writers = Decoder(*writer_schemas(source.contract, schemas))
    registry = registry_schemas(settings.schema_registry_url)
    times = []
    for record in records:
        event = decode_event(
            record.value,
            source.contract,
            writers,
            kafka_timestamp_ms=record.timestamp,
            max_future_ms=source.max_future,
            max_bytes=source.max_bytes,
            registry=registry,
        )
        if not isinstance(event, Rejection):
            times.append(getattr(event, source.event_time))
    return times
