"""One entity's events, as the raw topics still hold them."""

from __future__ import annotations

from backfill.retention import offsets_at
from penstock.settings import Settings
from streams.oracle.reference import Row
from streams.plan.model import ViewPlan
from streams.plan.project import Project
from verify.emissions import JudgedEvent
from verify.judged_sources import judged_source
from verify.published import clocks
from verify.updates import by_entity


def entity_events(project: Project, view: ViewPlan, entity: str, as_of: int, settings: Settings) -> list[Row]:
    """The rows that the view's windows can hold at ``as_of``, in the order in which a replay brings them.

    All partitions are read from the first record that may be of such an event; of a lifetime, from the beginning.

    Raises:
        PenstockError: if a topic cannot be read.
    """
    found: list[tuple[tuple[int, ...], int, JudgedEvent]] = []
    for number, source in enumerate(project.plan.sources):
        start = None
        if view.longest_window_ms is not None:
            # An event is at most so much ahead of the time when Kafka had it.
            oldest = as_of - view.longest_window_ms - source.max_future_ms
            start = offsets_at(settings.kafka.access, source.topic, range(source.partitions), oldest)
        judged = judged_source(project, number, settings, start)
        read = clocks(judged.timestamps.items())
        for event in by_entity(view, judged.events.values()).get(entity, []):
            turn = event.time if source.order == "event_time" else read[event.position]
            found.append(((turn, number, *event.position), number, event))
    found.sort(key=lambda one: one[0])
    return [{**event.row, "__source": number} for _, number, event in found]
