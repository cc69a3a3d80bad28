"""When two values are the same, and what a difference is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from streams.plan.model import PipelinePlan


class Place(NamedTuple):
    """Where a raw event is: the number of its source in the plan, its partition and offset."""

    source: int
    partition: int
    offset: int


def scored_sources(plan: PipelinePlan) -> dict[str, int]:
    """The number of each source whose events are scored, by its topic."""
    return {source.topic: number for number, source in enumerate(plan.sources) if source.triggers}


class Cause(StrEnum):
    """Why a served value differs from the recomputed one. Each but the last was tested; the last is none of them."""

    LATE = "late"
    """The event came too late for its place: the job took it at once, the recomputation in its order."""
    INTERLEAVING = "interleaving"
    """In the order in which the job took the entity's events, of several partitions, the served value follows."""
    IN_FLIGHT = "in flight"
    """Nothing was served yet: the event, or its features, is after what the reader has committed."""
    EXPIRED = "expired"
    """A vector of another pipeline had expired, and its declared default was served."""
    VERSION = "version"
    """Served by another version of the view or the model, or by a job that had begun without the earlier events."""
    REFERENCE = "reference changed"
    """Reference data: the event was given another row than the one that its Kafka timestamp gives it now."""
    MISSING = "missing vector"
    """The vector was not there: it was too long to publish, or a store had none and the default was served."""
    UNEXPLAINED = "unexplained"


FEATURES, VECTOR, RECORD = "features", "vector", "record"
"""The steps on which a value can change: raw event to feature record, feature record to the vector that was scored;
and whether there is a record at all."""


@dataclass(frozen=True)
class Difference:
    """One value that was served otherwise than it is recomputed.

    Args:
        step: Where it arises: FEATURES, VECTOR or RECORD.
        view: The view's id (``name@version``); of other columns ``event``; of a whole record empty.
        name: The feature or input.
        cause: Why.
        entity: The entity, if it is of one.
        place: The raw event.
        served_at: ``topic[partition]@offset`` of the record that was served; None if there is none.
        served: The served value.
        recomputed: The recomputed value.
        root: The event at which the entity's values began to differ; ``place`` itself if it is that one.
    """

    step: str
    view: str
    name: str
    cause: Cause
    entity: str | None
    place: Place
    served_at: str | None
    served: Any
    recomputed: Any
    root: Place

    @property
    def is_root(self) -> bool:
        """Whether it explains later differences, and none explains it."""
        return self.root == self.place


def same(left: Any, right: Any) -> bool:
    """Whether two values are equal bit for bit. NaN is null.

    >>> same(0.1 + 0.2, 0.3), same(0.0, -0.0), same(1, 1.0), same(float("nan"), None), same([1.5], [1.5])
    (False, False, False, True, True)
    """
    left, right = _null(left), _null(right)
    if isinstance(left, float) and isinstance(right, float):
        return left == right and math.copysign(1, left) == math.copysign(1, right)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return type(left) is type(right) and bool(left == right)


# DuckDB's and Flink's mathematics libraries may differ in a logarithm's last bit.
_SQL_TOLERANCE = 1e-12


def same_in_sql(left: Any, right: Any) -> bool:
    """Whether two results of one SQL expression on the same values are equal, but for rounding; lists are never."""
    if isinstance(left, float) and isinstance(right, float):
        return left == right or abs(left - right) <= _SQL_TOLERANCE * abs(right)
    return same(left, right)


def _null(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value
