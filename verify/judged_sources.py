"""Reads a pipeline's sources from Kafka and judges their events by the reference semantics."""

from __future__ import annotations

from collections.abc import Mapping

from penstock.kafka.reading import read_topic
from penstock.settings import Settings
from schemas.codec import Decoder
from schemas.committed import writer_schemas
from schemas.registry import registry_schemas
from streams.flink.submit import personal_key_of
from streams.plan.project import Project
from verify.check_events import Judged, judge_events


def judged_source(
    project: Project,
    number: int,
    settings: Settings,
    start: Mapping[int, int] | None = None,
) -> Judged:
    """Judge the events of the pipeline's source with this number, from the offsets in ``start``; by default all events.

    Raises:
        PenstockError: if Kafka or the schema registry cannot be read.
    """
    plan = project.plan
    source, url = project.pipeline.sources[number], settings.schema_registry_url
    return judge_events(
        plan,
        plan.sources[number],
        source.contract,
        read_topic(settings.kafka.access, source.topic, start=start),
        Decoder(*writer_schemas(source.contract, project.schemas)),
        personal_key_of(plan, settings).encode(),
        None if url is None else registry_schemas(url),
    )
