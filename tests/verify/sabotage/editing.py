"""Edits of feature records that stay consistent: what follows from the change is recomputed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

from streams.oracle.derived_features import derived_features
from streams.oracle.reference import Timed, vector
from streams.plan.entity_text import entity_text
from streams.plan.model import ViewPlan
from streams.plan.project import Project
from verify.emissions import JudgedEvent
from verify.judge import judged_sources
from verify.published import Position, Published
from verify.run_data import RunData


def with_values(record: Published, **changes: Any) -> Published:
    return dataclasses.replace(record, value={**record.value, **changes})


def with_part(record: Published, view: str, **changes: Any) -> Published:
    return with_values(record, **{view: {**record.value[view], **changes}})


def edit_record(run: RunData, place: int, edit: Callable[[Published], Published | None]) -> RunData:
    """Change, or leave out, the feature record at ``place`` of the events' records."""
    features = list(run.features)
    index = event_records(run)[place]
    edited = edit(features[index])
    features[index : index + 1] = [] if edited is None else [edited]
    return dataclasses.replace(run, features=features)


def event_records(run: RunData) -> list[int]:
    """The places of events' records with both views, so that any change of them shows."""
    return [
        place
        for place, record in enumerate(run.features)
        if not record.is_timer and record.value["by_shop"] is not None and record.value["by_card"]["seq"] > 3
    ]


def recomputed(
    project: Project, run: RunData, view: ViewPlan, entity: str, chain: Sequence[Position], *, first_seq: int = 1
) -> RunData:
    """The run as if the view had seen exactly the events of ``chain``: every value follows from them.

    The records of these events get new numbers, from ``first_seq`` on, and the values that the oracle gives.
    """
    events = valid_events(project, run)
    values = {}
    for number, position in enumerate(chain):
        seen = [events[p] for p in chain[: number + 1]]
        found = vector(view, [Timed(event.time, event.row) for event in seen])
        numbers = {"entity": entity, "seq": first_seq + number, "as_of": found.as_of, "late": found.late}
        values[position] = numbers | found.features
    features = list(run.features)
    for place, record in enumerate(features):
        part = record.value[view.name]
        if not record.is_timer and part is not None and part["entity"] == entity and record.position in values:
            features[place] = with_derived(project, with_part(record, view.name, **values[record.position]))
    return dataclasses.replace(run, features=features)


def with_derived(project: Project, record: Published) -> Published:
    """The record with the derived features that follow from its values."""
    (derived,) = derived_features(project.plan, [record.value], [view.name for view in project.plan.views])
    value = deepcopy(dict(record.value))
    for name, one in derived.items():
        view, _, feature = name.partition(".")
        if value[view] is not None:
            value[view][feature] = one
    return dataclasses.replace(record, value=value)


def valid_events(project: Project, run: RunData) -> dict[Position, JudgedEvent]:
    return judged_sources(project, run, b"")[0].events


def busiest_entity(project: Project, run: RunData, view: ViewPlan) -> tuple[str, list[Position]]:
    """The entity with the most events, and the positions of these in offset order."""
    found: dict[str, list[Position]] = {}
    for position, event in valid_events(project, run).items():
        if event.row[view.key] is not None:
            found.setdefault(entity_text(event.row[view.key]), []).append(position)
    return max(found.items(), key=lambda item: len(item[1]))


def first_emissions(run: RunData) -> RunData:
    """The run with the first emission of each event only."""
    seen: set[Position] = set()
    kept = []
    for record in run.features:
        if record.is_timer or record.position not in seen:
            kept.append(record)
        if not record.is_timer:
            seen.add(record.position)
    return dataclasses.replace(run, features=[record for record in kept if not record.is_timer])
