"""One entity's events, as the raw topics still hold them."""

from __future__ import annotations

from backfill.retained import offsets_at
from backfill.verify.features import Event
from backfill.verify.sources import judged_source
from backfill.verify.updates import by_entity
from penstock.settings import Settings
from streams.definitions import Pipeline
from streams.plan import PipelinePlan, ViewPlan
from streams.reference import Row


def entity_events(
    pipeline: Pipeline, planned: PipelinePlan, view: ViewPlan, entity: str, as_of: int, settings: Settings
) -> list[Row]:
    """The rows that the view's windows can hold at ``as_of``, in the order in which a replay brings them.

    All partitions are read from the first record that may be of such an event; of a lifetime, from the beginning.

    Raises:
        PenstockError: if a topic cannot be read.
    """
    found: list[tuple[Event, int]] = []
    for number, source in enumerate(planned.sources):
        start = None
        if view.longest_window_ms is not None:
            # An event is at most so much ahead of the time when Kafka had it.
            oldest = as_of - view.longest_window_ms - source.max_future_ms
            start = offsets_at(settings.kafka, source.topic, range(source.partitions), oldest)
        judged = judged_source(pipeline, planned, number, settings, start)
        found += [(event, number) for event in by_entity(view, judged.events.values()).get(entity, [])]
    if planned.source.order == "event_time":
        found.sort(key=lambda pair: (pair[0].time, pair[0].position))
    else:
        found.sort(key=lambda pair: (pair[0].timestamp, pair[1], pair[0].position))
    return [{**event.row, "__source": number} for event, number in found]
