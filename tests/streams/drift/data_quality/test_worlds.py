"""Calm worlds raise no more false alarms than allowed, and each fault is found and named.

`make bench-drift` simulates more of them for longer.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from streams.drift.data_quality.raw_events import RawEvent
from tests.streams.drift.data_quality.quality_worlds import (
    AMOUNT,
    BEGIN_MS,
    CURRENCY,
    DAY_MS,
    HOUR_MS,
    NAMES,
    PARTITIONS,
    World,
    learnt,
    watch_of,
    watched,
)

LEARNT_MS = BEGIN_MS + 28 * DAY_MS
FAULT_MS = LEARNT_MS + DAY_MS


@pytest.fixture(scope="module")
def rhythmic():
    """A world with a daily and a weekly rhythm, and what was learnt of four weeks of it."""
    world = World("rhythm", days=30, per_hour=40)
    return world, learnt(world, LEARNT_MS)


def with_value(event: RawEvent, column: int, value: object, *, is_invalid: bool = False) -> RawEvent:
    values = (*event.values[:column], value, *event.values[column + 1 :])
    return event._replace(values=values, invalid=(column,) if is_invalid else ())


FAULTS: dict[str, tuple[Callable[[RawEvent, int], RawEvent | None], str, str]] = {
    "null in one producer": (
        lambda event, _: with_value(event, AMOUNT, None) if event.producer == "4.2" else event,
        "amount:null",
        "amount: null in 100 % of the records of producer 4.2, usually 0 %",
    ),
    "cents": (
        lambda event, number: with_value(event, AMOUNT, event.values[AMOUNT] * 100) if number % 3 == 0 else event,
        "amount:range",
        "amount: out of range (",
    ),
    "another type": (
        lambda event, number: with_value(event, AMOUNT, "12", is_invalid=True) if number % 5 == 0 else event,
        "amount:invalid",
        "amount: against the contract in ",
    ),
    "a new category": (
        lambda event, number: with_value(event, CURRENCY, "JPY") if number % 10 == 0 else event,
        "currency:category",
        "currency: new values, most of them 'JPY', in ",
    ),
    "one id for all": (
        lambda event, _: with_value(event, NAMES.index("card"), "card-1"),
        "card:distinct",
        "card: about ",
    ),
    "every event twice": (
        lambda event, number: event._replace(event_id=f"again-{number // 2}"),
        ":duplicate",
        "events.payments: an id that came before in ",
    ),
    "garbage": (
        lambda event, number: event._replace(values=None, event_id=None, event_time=None) if number % 8 == 0 else event,
        ":malformed",
        "events.payments: cannot be decoded in ",
    ),
    "events that wait": (
        lambda event, _: event._replace(timestamp=event.event_time + 2 * HOUR_MS),
        ":late",
        "events.payments: more than 60 s old on arrival in 100 % of the records",
    ),
    "a third less for a day": (
        lambda event, number: event if number % 3 else None,
        ":volume",
        "events.payments: ",
    ),
    "half the volume": (
        lambda event, number: event if number % 2 else None,
        ":volume",
        "events.payments: ",
    ),
}


@pytest.mark.parametrize(("fault", "check", "message"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_found_and_named_with_its_first_record(rhythmic, fault, check, message):
    world, reference = rhythmic
    first = [next(e.offset for e in world.events(FAULT_MS) if e.partition == number) for number in range(PARTITIONS)]
    found = watched(watch_of(reference), world.with_fault(fault, FAULT_MS), LEARNT_MS)
    assert {f"{one.column}:{one.kind}" for one in found} == {check}
    assert found[0].message.startswith(message), found[0].message
    assert found[0].offset >= first[found[0].partition]
    assert found[0].event_time <= FAULT_MS + DAY_MS


def test_a_source_that_stops_is_found_by_the_clock_and_is_well_again_with_the_next_event(rhythmic):
    world, reference = rhythmic
    watch = watch_of(reference)
    found = watched(watch, world.with_fault(lambda *_: None, FAULT_MS), LEARNT_MS)
    assert not found
    assert not watch.advance(range(PARTITIONS - 1), FAULT_MS + 6 * HOUR_MS)  # not everything was read
    (finding,) = watch.advance(range(PARTITIONS), FAULT_MS + 6 * HOUR_MS)
    assert finding.kind == "silence"
    assert finding.message.startswith("events.payments: no event for 6.0 h, in which about ")
    assert not watch.advance(range(PARTITIONS), FAULT_MS + 7 * HOUR_MS)
    assert list(watch.over) == ["|:silence"]
    watch.observe(next(world.events(FAULT_MS + 8 * HOUR_MS)))
    assert not watch.over


@pytest.mark.parametrize("keeps_timestamps", [True, False])
def test_a_replay_whose_times_do_not_follow_the_clock_is_neither_late_nor_silent(rhythmic, keeps_timestamps):
    world, reference = rhythmic
    watch, found = watch_of(reference), []
    for event in world.events(LEARNT_MS):
        timestamp = event.timestamp if keeps_timestamps else event.event_time + 90 * DAY_MS
        found += watch.observe(event._replace(timestamp=timestamp))
        found += watch.advance((), event.event_time + 90 * DAY_MS)
    assert not found + watch.advance(range(PARTITIONS), world.end_ms + 120 * DAY_MS)


def test_events_that_were_learnt_from_are_not_watched(rhythmic):
    watch = watch_of(rhythmic[1])
    faulty = World("rhythm", days=3, per_hour=40, fault=lambda event, _: with_value(event, AMOUNT, None))
    assert not watched(watch, faulty, BEGIN_MS)
    assert watch.observed == 0


@pytest.mark.parametrize("kind", ["independent", "rhythm", "heavy", "growing", "sticky"])
def test_calm_worlds_keep_the_budget(kind):
    world = World(kind, days=56, per_hour=30, seed=3)
    # In 20,000 events there may be a fifth of a false incident.
    assert not watched(watch_of(learnt(world, LEARNT_MS)), world, LEARNT_MS)


def test_a_check_whose_values_stay_alike_for_too_long_is_refused():
    world = World("rhythm", days=14, per_hour=40)
    (topic,) = learnt(world, world.end_ms).topics
    (refusal,) = topic.refused
    assert refusal.startswith("events.payments by volume: it stays correlated for ")
    assert refusal.endswith("from 28 days on, each hour of the week is compared with itself")
