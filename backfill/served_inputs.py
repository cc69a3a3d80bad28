"""Inputs of other pipelines for a training set, which a backfill does not have: as they were served, by predictions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from penstock.kafka.reading import Record
from schemas.categories import cached_codes
from schemas.codec import Undecodable, UnknownSchema
from schemas.history import record_decoder
from scoring.other_views import default_inputs
from scoring.training_set import FeatureRow
from scoring.vectors import FloatArray
from streams.definitions.other_inputs import is_other
from streams.plan.project import Project


@dataclass
class ServedInputs:
    """Fills the inputs of other pipelines into rows of a backfill; rows of events without a prediction are left out.

    Args:
        project: The pipeline.
        found: The inputs of other pipelines that each event was scored with, by partition and offset of the event, and
            the greatest ``as_of`` of the vectors that they come from.

    Attributes:
        unserved: How many rows were left out so far.
    """

    project: Project
    found: Mapping[tuple[int, ...], tuple[FloatArray, int]]
    unserved: int = field(default=0, init=False)

    def rows(self, rows: Iterable[FeatureRow]) -> Iterator[FeatureRow]:
        """The rows with these inputs, each known when the latest vector of its prediction was."""
        places = places_of(self.project.pipeline.model.inputs)
        for row in rows:
            _, *place = row.position
            served = self.found.get(tuple(place))
            if served is None:
                self.unserved += 1
                continue
            inputs, as_of = served
            row.vector[places] = inputs
            yield replace(row, known_at_ms=max(row.known_at_ms, as_of))


def served_inputs(project: Project, records: Iterable[Record]) -> ServedInputs:
    """What the predictions of the pipeline's model were made with.

    Predictions by another model, or on other versions of the views, do not count.
    """
    pipeline, decoder = project.pipeline, record_decoder("prediction")
    places, ids = places_of(pipeline.model.inputs), {other.id for other in project.other_views}
    found: dict[tuple[int, ...], tuple[FloatArray, int]] = {}
    for record in records:
        try:
            value = decoder.decode(record.value or b"")
        except (Undecodable, UnknownSchema):
            continue
        vectors = [view for view in value["views"] if ":" in view["view"]]
        if value["model"] not in pipeline.model.names or not {view["view"] for view in vectors} <= ids:
            continue
        source, as_of = value["source"], max((view["as_of"] for view in vectors), default=value["event_time"])
        vector = np.frombuffer(value["vector"], "<f4")
        found[source["partition"], source["offset"]] = vector[places], as_of
    return ServedInputs(project, found)


def defaults_of(project: Project) -> FloatArray:
    """The declared defaults of the inputs of other pipelines, in the model's order."""
    model, categories = project.pipeline.model, project.pipeline.categories
    defaults = {name: model.defaults[name] for name in filter(is_other, model.inputs)}
    return default_inputs(defaults, categories, cached_codes())


def places_of(inputs: Sequence[str]) -> NDArray[np.int64]:
    """The places of the inputs of other pipelines."""
    return np.flatnonzero([is_other(name) for name in inputs])
