"""A run's topics: what the readers had committed before, and where each topic has to be read from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from confluent_kafka import KafkaException

from backfill.gaps import require_after_gaps
from backfill.parity.sources import NOTHING_MISSING, Sources
from backfill.planning import replay_start_ms
from backfill.reference_data import require_reference_in_kafka
from backfill.retention import event_times_of, read_retained_topic
from backfill.topic_reading import Range, topics_of
from penstock.errors import PenstockError
from penstock.kafka.lag import Lag
from penstock.kafka.names import dead_letters_of, group_of
from penstock.kafka.reading import Record
from penstock.settings import Settings
from schemas.registry import registry_schemas
from streams.plan.project import Project, open_project


def kafka_sources(
    project: Project, settings: Settings, from_ms: int, archive: str | None = None, to_ms: int | None = None
) -> Sources:
    """Where a run for events of [``from_ms``, ``to_ms``) reads: each topic from where it can matter, and to its end.

    ``archive`` is the folder or URL of an archive, which has what Kafka has deleted.

    Raises:
        PenstockError: if Kafka or the archive cannot be reached, the raw or features topic is missing, there is no
            key of hashes, or the range lies before a gap between what the archive and Kafka have of raw events.
    """
    require_reference_in_kafka(project.plan, archive)
    plan, pipeline, topics = project.plan, project.pipeline, topics_of(settings.kafka.access, archive)
    if to_ms is not None:
        for source in pipeline.sources:
            require_after_gaps(topics, source.topic, to_ms, event_times_of(project, source, settings))
    start_ms = max(0, replay_start_ms(plan, from_ms))
    timed = [source.topic for source in plan.sources] + [plan.features_topic, pipeline.predictions_topic]
    starts: dict[str, dict[int, int]] = {}
    known_from: dict[tuple[str, int], int] = {}
    try:
        with Lag(settings.kafka.access) as lag:
            # Before anything is read: all that is published for these is there when it is.
            of_job = group_of(plan.pipeline, "features")
            taken = {topic: lag.committed_offsets(of_job, topic) for topic in plan.triggering_topics}
            scored = lag.committed_offsets(group_of(plan.pipeline, "scorer"), plan.features_topic, pending=False)
            # A pipeline without a scorer needs no predictions.
            optional = {
                pipeline.predictions_topic,
                *(source.dead_letter_topic for source in plan.sources),
                dead_letters_of(plan.features_topic),
                dead_letters_of(pipeline.predictions_topic),
            }
            absent = optional - topics.names()
            for topic in timed:
                if topic in absent:
                    continue
                by_time = topics.starts(topic, start_ms) if start_ms else None
                starts[topic], of_topic = _starts(topics.ranges(topic), by_time, start_ms)
                known_from |= {(topic, partition): since for partition, since in of_topic.items()}
    except KafkaException as error:
        raise _unreadable(project, settings, error) from error

    def read(topic: str) -> Iterator[Record]:
        return iter(()) if topic in absent else topics.read(topic, start=starts.get(topic))

    return Sources(
        read=read,
        decoder_of=lambda name: open_project(name).features_decoder(),
        pii_key=settings.pii.require_key().get_secret_value().encode() if plan.hashed_fields else b"",
        registry=registry_schemas(settings.schema_registry_url),
        known_from=known_from,
        taken=taken,
        scored=scored,
    )


def newest_event_ms(project: Project, settings: Settings, archive: str | None = None) -> int | None:
    """The greatest event time at the ends of the topics whose events are scored; None if they have no valid event.

    Raises:
        PenstockError: if Kafka cannot be reached, or a topic does not exist.
    """
    scored = [source for source in project.pipeline.sources if source.triggers]
    try:
        newest = [read_retained_topic(project, source, settings, 0, archive).newest_ms for source in scored]
        return max((newest_ms for newest_ms in newest if newest_ms is not None), default=None)
    except KafkaException as error:
        raise _unreadable(project, settings, error) from error


def _unreadable(project: Project, settings: Settings, error: KafkaException) -> PenstockError:
    return PenstockError(
        f"the topics of {project.name} cannot be read: {error.args[0].str()}",
        where=str(settings.kafka.access),
        safe="nothing was changed",
        next="penstock status",
    )


def _starts(
    ranges: Mapping[int, Range], by_time: Mapping[int, int] | None, start_ms: int
) -> tuple[dict[int, int], dict[int, int]]:
    """Where the partitions of a topic are read from, and the time before which records are left out or gone.

    ``by_time`` says where the records of ``start_ms`` begin; None to read all.
    """
    if by_time is None:
        # Nothing tells when the deleted records of an empty partition were written.
        known = {p: 0 if first else NOTHING_MISSING for p, (first, end) in ranges.items() if not first or first == end}
        return {partition: first for partition, (first, _) in ranges.items()}, known
    starts, known_from = {}, {}
    for partition, (first, end) in ranges.items():
        starts[partition] = max(first, by_time[partition])
        if by_time[partition] > first or (first and first == end):
            known_from[partition] = start_ms
        elif not first:
            known_from[partition] = NOTHING_MISSING
    return starts, known_from
