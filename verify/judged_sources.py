"""Reads a pipeline's sources from Kafka and judges their events by the reference semantics."""

from __future__ import annotations

from collections.abc import Mapping

from penstock.kafka.reading import read_topic
from penstock.settings import Settings
from schemas.registry import registry_schemas
from streams.oracle.lookups import LookedUp, read_history
from streams.oracle.reference import Row
from streams.plan.model import PipelinePlan
from streams.plan.project import Project
from verify.check_events import Judged, judge_source
from verify.emissions import LookUp
from verify.published import Position


def judged_source(
    project: Project,
    number: int,
    settings: Settings,
    start: Mapping[int, int] | None = None,
    *,
    with_letters: bool = False,
) -> Judged:
    """Judge the events of the pipeline's source with this number, from the offsets in ``start``; by default all events.

    The result is that of a replay; ``with_letters`` also refuses what a live job refused by its own clock, which only
    the source's dead letters say. All of them are read: with a wrong clock, an event's Kafka timestamp says nothing
    about the time of its letter.

    Raises:
        PenstockError: if Kafka or the schema registry cannot be read.
    """
    source, key = project.plan.sources[number], pii_key(project.plan, settings)
    registry = registry_schemas(settings.schema_registry_url)
    look_up: LookUp | None = None
    if project.plan.lookups:
        history = read_history(project, lambda topic: read_topic(settings.kafka.access, topic), key, registry)

        def look_up(_position: Position, clock: int, row: Row) -> LookedUp:
            return history.columns(clock, row, triggers=source.triggers)

    return judge_source(
        project,
        number,
        read_topic(settings.kafka.access, source.topic, start=start),
        key,
        registry,
        letters=read_topic(settings.kafka.access, source.dead_letter_topic) if with_letters else (),
        look_up=look_up,
    )


def pii_key(plan: PipelinePlan, settings: Settings) -> bytes:
    """The key that hashes the pipeline's personal data; empty if no field is hashed.

    Raises:
        PenstockError: if the pipeline needs a key and none is configured.
    """
    return settings.pii.require_key().get_secret_value().encode() if plan.hashed_fields else b""
