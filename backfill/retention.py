"""Reads what is left of a topic: offsets, and the event times at both ends of each partition."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from backfill.gaps import EventTimes, run_with
from backfill.planning import RetainedPartition, RetainedTopic, first_timestamp_of
from backfill.topic_reading import topics_of
from penstock.errors import PenstockError
from penstock.kafka.reading import Record
from penstock.kafka.topics import require_topics
from penstock.settings import Settings
from schemas.codec import Decoder, decode_event
from schemas.committed import writer_schemas
from schemas.contract import Contract
from schemas.registry import registry_schemas
from streams.definitions.sources import Source
from streams.plan.project import Project

# Records read at each end of a partition: late events make the newest event seldom the last one.
_SAMPLED_RECORDS = 1_000


def read_retained_topic(
    project: Project,
    source: Source,
    settings: Settings,
    start_ms: int,
    archive: str | None = None,
    to_ms: int | None = None,
) -> RetainedTopic:
    """Return the records of a source that can be read; each partition's ``start`` is for Kafka timestamp ``start_ms``.

    Records of both ends of each partition are looked at. Where a gap parts those that the archive and Kafka have
    together, only one run without a gap is taken: the first with an event of ``to_ms`` or later, or else the last. So a
    range before a gap is as it would have been if the topic had ended there.

    Args:
        project: The pipeline.
        source: The source.
        settings: The settings.
        start_ms: Epoch ms.
        archive: The folder or URL of an archive that has records which Kafka has deleted; None: those of Kafka alone.
        to_ms: The event time, epoch ms, before which the events are wanted; None: the newest ones.

    Raises:
        PenstockError: if the topic does not exist or has other partitions, or Kafka, the archive or the schema registry
            cannot be reached.
    """
    kafka, topic = settings.kafka.access, source.topic
    if archive is None:
        require_topics([topic], kafka, partitions=source.partitions, pipeline=project.reference)
    topics = topics_of(kafka, archive)
    ranges = run_with(topics, topic, topics.runs(topic), to_ms, event_times_of(project, source, settings))
    starts = topics.starts(topic, start_ms, ranges)
    if others := sorted({*ranges} - {*range(source.partitions)}):
        raise PenstockError(
            f"the archive has partition {others[0]} of {topic}, which declares {source.partitions}",
            next="correct the source's partitions, or give another archive",
        )
    ranges = {n: ranges.get(n, (0, 0)) for n in range(source.partitions)}
    firsts, ends = ({n: of[side] for n, of in ranges.items()} for side in (0, 1))
    head_ends = {n: min(firsts[n] + _SAMPLED_RECORDS, ends[n]) for n in ends}
    tail_starts = {n: max(head_ends[n], ends[n] - _SAMPLED_RECORDS) for n in ends}
    head = list(topics.read(topic, start=firsts, end=head_ends))
    sampled = [*head, *topics.read(topic, start=tail_starts, end=ends)]
    heads: dict[int, list[int]] = {n: [] for n in ends}
    for record in head:
        heads[record.partition].append(record.timestamp)
    times = _event_times(source, project.schemas, settings, sampled)
    return RetainedTopic(
        partitions={
            n: RetainedPartition(
                first=firsts[n],
                start=starts.get(n, 0),
                end=ends[n],
                first_timestamp=first_timestamp_of(heads[n], ends[n] - firsts[n]),
            )
            for n in ends
        },
        oldest_ms=min(times, default=None),
        newest_ms=max(times, default=None),
        newest_timestamp=max((record.timestamp for record in sampled), default=0),
    )


def event_times_of(project: Project, source: Source, settings: Settings) -> EventTimes:
    """Reads the event times of a source's valid events."""

    def event_times(records: Iterable[Record]) -> list[int]:
        return _event_times(source, project.schemas, settings, records)

    return event_times


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
            headers=record.headers,
            envelope=source.envelope,
        )
        if isinstance(event, Contract):
            times.append(getattr(event, source.event_time))
    return times
