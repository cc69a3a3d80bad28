"""The order in which the job took an entity's events, as its records say, and whether it can have been so.

A record's ``seq`` says which event a view counted when. That alone proves nothing: a job that lost an event, or counted
one twice, numbers on. So an order counts only as far as it is a possible one. Events that take the same way through the
job (:func:`lane_columns`) stay in the order of their offsets, each once and none left out; of a source in event-time
order, only events that came after the watermark had passed their time may be out of place.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from backfill.parity.raw import RawEvent
from backfill.parity.served import Emission
from backfill.parity.values import Place
from streams.plan.model import PipelinePlan, ViewPlan


class Order(NamedTuple):
    """The events of an entity as one run of the job took them.

    Args:
        epoch, attempt: Which run.
        events: The events, in order. What is not known any more is left out.
        at: The index in ``events`` of each event whose record this run wrote, as far as the order is possible.
        is_whole: Whether it begins with the entity's first event; else the job had begun without the earlier ones.
    """

    epoch: int
    attempt: int
    events: list[RawEvent]
    at: dict[Place, int]
    is_whole: bool


def lane_columns(plan: PipelinePlan, view: ViewPlan) -> list[str] | None:
    """The key columns by which the job exchanges events before a view takes them; None if it does so by event id."""
    if plan.source.key is None:
        return None
    stages = sorted(plan.stages, key=lambda stage: stage.key != plan.source.key)
    until = next(number for number, stage in enumerate(stages) if any(view.name == own.name for own in stage.views))
    return [plan.source.key, *(stage.key for stage in stages[: until + 1])]


def served_orders(
    plan: PipelinePlan,
    view: ViewPlan,
    emissions: Sequence[Emission],
    events: Mapping[Place, RawEvent],
    lacking: Mapping[tuple[int, int], int],
) -> list[Order]:
    """The order of each run of the job for one entity.

    Args:
        plan: The plan.
        view: The view.
        emissions: What the view counted for the entity.
        events: All events of the entity that count, by place.
        lacking: For each (source, partition), the last offset at which the job did not have the view.
    """
    columns = lane_columns(plan, view)
    named = {place for one in emissions for place in (one.place, *(one.updates or ()))}
    unnamed = [event for event in sorted(events.values(), key=lambda e: e.turn) if event.place not in named]
    found = []
    epochs = sorted({emission.epoch for emission in emissions})
    # An updating event has no record to tell; where the job had not the view, it may have come before the view.
    has_records = [source.triggers for source in plan.sources]
    earlier = {p for p in events if (p.offset <= lacking.get(p[:2], -1) if has_records[p.source] else lacking)}
    for epoch in epochs:
        chain: list[Place | None] = []
        attempts = sorted({emission.attempt for emission in emissions if emission.epoch == epoch})
        for attempt in attempts:
            own = sorted(
                {e.seq: e for e in reversed(emissions) if (e.epoch, e.attempt) == (epoch, attempt)}.values(),
                key=lambda e: e.seq,
            )
            chain, indexes = _continued(chain, own)
            known = _filled(chain, unnamed if len(epochs) == 1 else ())
            possible, is_whole = _possible(known, _lanes(plan, events, columns), earlier)
            kept = [events[place] for place in known if place is not None and place in events]
            rank = {event.place: number for number, event in enumerate(kept)}
            at = {place: rank[place] for place, index in indexes.items() if index < possible and place in rank}
            found.append(Order(epoch, attempt, kept, at, is_whole))
        earlier |= {place for place in chain if place is not None}
    return found


def _continued(chain: list[Place | None], own: Sequence[Emission]) -> tuple[list[Place | None], dict[Place, int]]:
    """The chain that an attempt makes of the one before its checkpoint, and the index of each event that it wrote."""
    indexes: dict[Place, int] = {}
    for emission in own:
        if emission.updates is None or emission.seq < 1:
            break
        begin = emission.seq - 1 - len(emission.updates)
        if not indexes:
            chain = chain[: max(0, begin)]
        if begin < len(chain):
            break  # two records say that they are the same number
        chain = [*chain, *[None] * (begin - len(chain)), *emission.updates, emission.place]
        indexes[emission.place] = len(chain) - 1
    return chain, indexes


def _filled(chain: list[Place | None], unnamed: Sequence[RawEvent]) -> list[Place | None]:
    """The chain with the events that no record names in its gaps, if that is possible in one way only."""
    gaps = [index for index, place in enumerate(chain) if place is None]
    candidates = [event.place for event in unnamed][: len(gaps)]
    is_prefix = gaps == list(range(len(gaps)))
    if len(candidates) < len(gaps) and not is_prefix:
        return chain
    filled = list(chain)
    for index, place in zip(gaps[len(gaps) - len(candidates) :], candidates, strict=True):
        filled[index] = place
    return filled


def _lanes(
    plan: PipelinePlan, events: Mapping[Place, RawEvent], columns: Sequence[str] | None
) -> tuple[dict[Place, Hashable], dict[Hashable, list[Place]]]:
    """The lane of each event, and the events of each lane in the order in which a view must take them."""
    lanes: dict[Hashable, list[Place]] = defaultdict(list)
    lane_of: dict[Place, Hashable] = {}
    by_time = plan.source.order == "event_time"
    for event in sorted(events.values(), key=event_time_turn if by_time else lambda e: e.place):
        if by_time:
            lane: Hashable = event.place if event.may_be_late else None
        else:
            values = (None,) if columns is None else tuple(event.row[name] for name in columns)
            lane = event.place if None in values else (event.place[:2], values)
        lane_of[event.place] = lane
        lanes[lane].append(event.place)
    return lane_of, lanes


def _possible(
    chain: Sequence[Place | None],
    of_events: tuple[Mapping[Place, Hashable], Mapping[Hashable, Sequence[Place]]],
    earlier: AbstractSet[Place],
) -> tuple[int, bool]:
    """How many of the chain's first events are in a possible order, and whether none before them was left out.

    Args:
        chain: The chain; None where an event is not known.
        of_events: What :func:`_lanes` returns.
        earlier: The events of epochs before: a job without its state may begin after them.
    """
    lane_of, lanes = of_events
    next_in: dict[Hashable, int] = {}
    is_whole = True
    for index, place in enumerate(chain):
        if place is None or place not in lane_of:
            continue
        lane = lane_of[place]
        of_lane = lanes[lane]
        if lane not in next_in:
            begin = of_lane.index(place)
            if not earlier >= set(of_lane[:begin]):
                return index, is_whole
            is_whole = is_whole and begin == 0
            next_in[lane] = begin
        expected = next_in[lane]
        if expected >= len(of_lane) or of_lane[expected] != place:
            return index, is_whole
        next_in[lane] = expected + 1
    return len(chain), is_whole


def event_time_turn(event: RawEvent) -> tuple[int, ...]:
    """The place of an event in event-time order."""
    return event.time, *event.place
