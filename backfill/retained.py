"""What the raw topic still holds: offsets, and the times at both ends of each partition."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from backfill.planning import Partition, RetainedTopic
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
# The newest event is seldom the last, since some are late: as many records of each end are looked at.
_LOOKED_AT = 1_000


def retained(project: Project, source: Source, settings: Settings, start_ms: int) -> RetainedTopic:
    """Look at the topic of one of a pipeline's sources; ``start_ms`` is the time that the partitions' ``start`` is for.

    Raises:
        PenstockError: if the topic does not exist, or Kafka or the schema registry cannot be reached.
    """
    kafka, topic = settings.kafka.access, source.topic
    require_topics([topic], kafka, partitions=source.partitions, pipeline=project.reference)
    admin, numbers = admin_client(kafka), range(source.partitions)
    firsts = _offsets(admin, topic, dict.fromkeys(numbers, OffsetSpec.earliest()))
    ends = _offsets(admin, topic, dict.fromkeys(numbers, OffsetSpec.latest()))
    starts = _starts(admin, topic, start_ms, ends)
    heads = {n: min(firsts[n] + _LOOKED_AT, ends[n]) for n in numbers}
    tails = {n: max(heads[n], ends[n] - _LOOKED_AT) for n in numbers}
    head = list(read_topic(kafka, topic, start=firsts, end=heads))
    ends_of_partitions = [*head, *read_topic(kafka, topic, start=tails, end=ends)]
    first_timestamps: dict[int, int] = {}
    for record in head:
        first_timestamps.setdefault(record.partition, record.timestamp)
    times = _event_times(source, project.schemas, settings, ends_of_partitions)
    return RetainedTopic(
        partitions={
            n: Partition(
                first=firsts[n],
                start=starts[n],
                end=ends[n],
                first_timestamp=first_timestamps.get(n),
            )
            for n in numbers
        },
        oldest_ms=min(times, default=None),
        newest_ms=max(times, default=None),
        newest_timestamp=max((record.timestamp for record in ends_of_partitions), default=0),
    )


def first_offsets(kafka: KafkaAccess, topic: str, partitions: Iterable[int]) -> dict[int, int]:
    """The first offset that is retained, of each of these partitions of a topic that exists."""
    return _offsets(admin_client(kafka), topic, dict.fromkeys(partitions, OffsetSpec.earliest()))


def offsets_at(kafka: KafkaAccess, topic: str, partitions: Iterable[int], time_ms: int) -> dict[int, int]:
    """Where the first record of each partition is whose Kafka timestamp is ``time_ms`` or later; the end if none is.

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
    # A negative timestamp has a meaning of its own to Kafka.
    found = _offsets(admin, topic, dict.fromkeys(ends, OffsetSpec.for_timestamp(max(0, time_ms))))
    return {n: end if found[n] < 0 else min(end, found[n]) for n, end in ends.items()}


def _offsets(admin: AdminClient, topic: str, wanted: Mapping[int, OffsetSpec]) -> dict[int, int]:
    futures = admin.list_offsets(
        {TopicPartition(topic, number): spec for number, spec in wanted.items()},
        isolation_level=IsolationLevel.READ_COMMITTED,
        request_timeout=_TIMEOUT_S,
    )
    # Longer than the request may take: Kafka's error says more than that of a future.
    return {partition.partition: future.result(2 * _TIMEOUT_S).offset for partition, future in futures.items()}


def _event_times(source: Source, schemas: Path, settings: Settings, records: Iterable[Record]) -> list[int]:
    writers = Decoder(*writer_schemas(source.contract, schemas))
    url = settings.schema_registry_url
    registry = None if url is None else registry_schemas(url)
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
