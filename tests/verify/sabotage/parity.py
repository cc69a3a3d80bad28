"""What can be wrong with what was served, which only a recomputation of it tells: parity must have no cause for it."""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from backfill.parity.sources import Sources
from penstock.kafka.reading import Record
from schemas.codec import Decoder, Encoder
from schemas.history import record_decoder
from schemas.records import PREDICTION_SCHEMA, TIMER
from streams.plan.feature_records import features_schema
from streams.plan.project import Project
from tests.verify.sabotage.catalogue import first

Change = Callable[[Project, Sources], Sources]
Values = list[dict[str, Any]]


class ParityMutant(NamedTuple):
    """A change of the topics of a good run."""

    name: str
    change: Change


PARITY_MUTANTS: list[ParityMutant] = []


def _mutant(change: Change) -> Change:
    PARITY_MUTANTS.append(ParityMutant(change.__name__.replace("_", " "), change))
    return change


def _edited(sources: Sources, topic: str, edit: Callable[[list[Record]], list[Record]]) -> Sources:
    records = edit(list(sources.read(topic)))
    return dataclasses.replace(sources, read=lambda name: iter(records) if name == topic else sources.read(name))


def _edit_values(
    sources: Sources, topic: str, decoder: Decoder, encoder: Encoder, edit: Callable[[Values], object]
) -> Sources:
    """Change decoded records, in place; those that are emptied are lost."""

    def of_records(records: list[Record]) -> list[Record]:
        before = [decoder.decode(record.value or b"") for record in records]
        values = [decoder.decode(record.value or b"") for record in records]
        edit(values)
        return [
            record if value == old else dataclasses.replace(record, value=encoder.encode(value))
            for record, value, old in zip(records, values, before, strict=True)
            if value
        ]

    return _edited(sources, topic, of_records)


def _edit_features(project: Project, sources: Sources, edit: Callable[[Values], object]) -> Sources:
    encoder = Encoder(features_schema(project.plan))
    return _edit_values(sources, project.plan.features_topic, project.features_decoder(), encoder, edit)


def _edit_predictions(project: Project, sources: Sources, edit: Callable[[Values], object]) -> Sources:
    decoder, encoder = record_decoder("prediction"), Encoder(PREDICTION_SCHEMA)
    return _edit_values(sources, project.pipeline.predictions_topic, decoder, encoder, edit)


def _served(values: Values) -> Values:
    """The first record of each event, which is the one that is scored."""
    seen, found = set(), []
    for value in values:
        place = value["source"]["partition"], value["source"]["offset"]
        if value["trigger"] != TIMER and place not in seen:
            seen.add(place)
            found.append(value)
    return found


def _with_window(project: Project, values: Values) -> tuple[dict[str, Any], str]:
    """A view's part of a served record, and a feature of it that is a finite number."""
    found = (
        (part, output.name)
        for value in _served(values)
        for view in project.plan.views
        if (part := value[view.name]) is not None and part["seq"] > 3
        for output in view.outputs
        if isinstance(part[output.name], float)
    )
    return first(found, "served number of a window")


@_mutant
def a_served_value_off_in_its_last_bit(project: Project, sources: Sources) -> Sources:
    def edit(values: Values) -> None:
        part, name = _with_window(project, values)
        part[name] = math.nextafter(part[name], math.inf)

    return _edit_features(project, sources, edit)


@_mutant
def a_served_value_that_became_null(project: Project, sources: Sources) -> Sources:
    def edit(values: Values) -> None:
        part, name = _with_window(project, values)
        part[name] = None

    return _edit_features(project, sources, edit)


@_mutant
def a_late_event_that_says_it_is_not(project: Project, sources: Sources) -> Sources:
    def edit(values: Values) -> None:
        part, _ = _with_window(project, values)
        part["late"] = not part["late"]

    return _edit_features(project, sources, edit)


@_mutant
def a_vector_as_of_another_time(project: Project, sources: Sources) -> Sources:
    def edit(values: Values) -> None:
        part, _ = _with_window(project, values)
        part["as_of"] += 1

    return _edit_features(project, sources, edit)


@_mutant
def two_events_of_an_entity_with_each_others_values(project: Project, sources: Sources) -> Sources:
    def edit(values: Values) -> None:
        view = project.plan.views[0]
        by_entity: dict[str, Values] = defaultdict(list)
        for value in _served(values):
            if value[view.name] is not None:
                by_entity[value[view.name]["entity"]].append(value)
        one, other = max(by_entity.values(), key=len)[2:4]
        one[view.name], other[view.name] = other[view.name], one[view.name]

    return _edit_features(project, sources, edit)


@_mutant
def a_column_of_an_event_edited(project: Project, sources: Sources) -> Sources:
    def edit(values: Values) -> None:
        columns = next(value["event"] for value in _served(values))
        name = first((name for name, one in columns.items() if isinstance(one, float)), "column of numbers")
        columns[name] += 1.0

    return _edit_features(project, sources, edit)


@_mutant
def a_feature_record_dropped(project: Project, sources: Sources) -> Sources:
    def edit(values: Values) -> None:
        dropped = _served(values)[3]["source"]
        for value in values:
            if value["source"] == dropped:
                value.clear()

    return _edit_features(project, sources, edit)


@_mutant
def a_prediction_dropped(project: Project, sources: Sources) -> Sources:
    return _edit_predictions(project, sources, lambda values: values[3].clear())


@_mutant
def a_vector_off_in_its_last_bit(project: Project, sources: Sources) -> Sources:
    def edit(values: Values) -> None:
        vector = np.frombuffer(values[3]["vector"], "<f4").copy()
        vector[0] = np.nextafter(vector[0], np.float32(np.inf))
        values[3]["vector"] = vector.tobytes()

    return _edit_predictions(project, sources, edit)


@_mutant
def a_prediction_that_names_another_version_of_a_view(project: Project, sources: Sources) -> Sources:
    def edit(values: Values) -> None:
        view = next(value["views"][0] for value in values if value["views"])
        view["view"] = f"{view['view'].partition('@')[0]}@7"

    return _edit_predictions(project, sources, edit)


@_mutant
def a_prediction_that_names_another_vector(project: Project, sources: Sources) -> Sources:
    def edit(values: Values) -> None:
        next(value["views"][0] for value in values if value["views"])["seq"] += 1

    return _edit_predictions(project, sources, edit)
