"""Reads a pipeline's sources from Kafka and judges their events by the reference semantics."""

from __future__ import annotations

from collections.abc import Mapping

from penstock.kafka.reading import read_topic
from penstock.settings import Settings
from schemas.codec import Decoder
from schemas.committed import writer_schemas
from schemas.contract import Pii
from schemas.registry import registry_schemas
from streams.plan.model import PipelinePlan
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
        pii_key(plan, settings),
        None if url is None else registry_schemas(url),
    )


def pii_key(plan: PipelinePlan, settings: Settings) -> bytes:
    """The key that hashes the pipeline's personal data; empty if no field is hashed.

    Raises:
        PenstockError: if the pipeline needs a key and none is configured.
    """
    hashes = any(field.pii is Pii.HASH for source in plan.sources for field in source.fields)
    return settings.pii.require_key().get_secret_value().encode() if hashes else b""
