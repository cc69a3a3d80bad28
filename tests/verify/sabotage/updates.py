"""What can be wrong with events that give no records and only update windows."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable

from streams.plan.project import Project
from tests.verify.sabotage.catalogue import first, mutant
from verify.published import Position, Published
from verify.run_data import RunData


def _named(run: RunData, change: Callable[[tuple[Position, ...]], tuple[Position, ...]]) -> RunData:
    """The run with other updating events in the last record of an event that names several as the only one.

    Another record, of a timer or of an earlier run of the job, would tell where they were.
    """
    features = list(run.features)
    named = Counter(place for record in features for place in _places(record))
    own = {
        n: tuple(place for place in _places(record) if named[place] == 1)
        for n, record in enumerate(features)
        if not record.is_timer
    }
    several = (n for n in reversed(own) if len(own[n]) > 1)
    index = first(several, "record of an event that names two updating events which no other record names")
    others = tuple(place for place in _places(features[index]) if place not in own[index])
    features[index] = dataclasses.replace(features[index], updates={"by_card": (*others, *change(own[index]))})
    return dataclasses.replace(run, features=features)


def _places(record: Published) -> tuple[Position, ...]:
    return record.updates.get("by_card") or ()


@mutant("feature_mismatches")
def an_updating_event_that_no_record_names(_: Project, run: RunData) -> RunData:
    return _named(run, lambda places: places[1:])


@mutant("feature_mismatches")
def an_updating_event_named_twice(_: Project, run: RunData) -> RunData:
    return _named(run, lambda places: (places[0], *places[:-1]))


@mutant("feature_mismatches")
def two_updating_events_in_another_order(_: Project, run: RunData) -> RunData:
    return _named(run, lambda places: (places[1], places[0], *places[2:]))


@mutant("feature_mismatches")
def an_updating_event_that_is_no_event_of_the_card(_: Project, run: RunData) -> RunData:
    return _named(run, lambda places: (*places[:-1], places[-1]._replace(source=0)))


@mutant("feature_mismatches")
def an_updating_event_that_was_counted_for_another_card(_: Project, run: RunData) -> RunData:
    return _raw(run, 0, card="another")


@mutant("feature_mismatches")
def an_updating_event_that_no_window_counted(_: Project, run: RunData) -> RunData:
    """The raw topic without the second of two equal events, as if the job had counted one event too few."""
    raw = run.sources[1]
    again = first((n for n in range(1, len(raw)) if raw[n].value == raw[n - 1].value), "refund that was sent twice")
    return _raw(run, again, id="another")


def _raw(run: RunData, place: int, **changes: str) -> RunData:
    """The run with another event at a place of the topic of updating events."""
    raw = list(run.sources[1])
    raw[place] = dataclasses.replace(
        raw[place], value=json.dumps(json.loads(raw[place].value or b"") | changes).encode()
    )
    return dataclasses.replace(run, sources=(run.sources[0], raw))


@mutant("unchecked")
def updating_events_that_no_record_names_at_all(_: Project, run: RunData) -> RunData:
    return dataclasses.replace(run, features=[dataclasses.replace(record, updates={}) for record in run.features])
