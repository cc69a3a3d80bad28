"""Reads the events of one entity that the raw topics still have."""

from __future__ import annotations

from backfill.kafka_offsets import offsets_at
from penstock.settings import Settings
from streams.oracle.reference import Row
from streams.plan.model import ViewPlan
from streams.plan.project import Project
from verify.check_events import with_shared_ids
from verify.emissions import JudgedEvent, by_entity
from verify.judged_sources import judged_source
from verify.published import clocks


def entity_events(project: Project, view: ViewPlan, entity: str, as_of: int, settings: Settings) -> list[Row]:
    """The rows of the entity that can be in the view's windows at ``as_of``, in the order of a replay.

    Reads all partitions from the first record that can have such an event; for a lifetime, from the beginning. And all
    dead letters: only they say which events the live job refused because they were ahead of its clock.

    Raises:
        PenstockError: if a topic cannot be read.
    """
    events: list[tuple[tuple[int, ...], int, JudgedEvent]] = []
    judged = []
    for number, source in enumerate(project.plan.sources):
        start = None
        if view.longest_window_ms is not None:
            # An event time is at most max_future_ms ahead of its Kafka timestamp.
            oldest = as_of - view.longest_window_ms - source.max_future_ms
            start = offsets_at(settings.kafka.access, source.topic, range(source.partitions), oldest)
        judged.append(judged_source(project, number, settings, start, with_letters=True))
    for number, (source, one) in enumerate(
        zip(project.plan.sources, with_shared_ids(project.plan, judged, ()), strict=True)
    ):
        clock = clocks(one.timestamps.items())
        for event in by_entity(view, one.events.values()).get(entity, []):
            order_key = event.time if source.order == "event_time" else clock[event.position]
            events.append(((order_key, number, *event.position), number, event))
    events.sort(key=lambda item: item[0])
    return [{**event.row, "__source": number} for _, number, event in events]
