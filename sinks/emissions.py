"""Emissions: the vectors that one feature record brings, and which of two of the same entity is the newer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from schemas.codec import Undecodable
from schemas.records import TIMER
from streams.plan.model import PipelinePlan, ViewPlan

Order: TypeAlias = tuple[int, int, int, int]
"""``(epoch, seq, attempt, as_of)``: the greater is the newer.

``epoch`` and ``seq`` count an entity's emissions. After a failure the same (epoch, seq) can be emitted again, with
other values if the entity is fed from several partitions; then the later ``attempt`` stands, so that every store
converges to what the restored job holds, in whatever order the records arrive. A timer's vector has the (epoch, seq) of
the entity's last event, and a later ``as_of``.
"""


@dataclass(frozen=True, slots=True)
class Emission:
    """One view's vector as the job emitted it; ``record`` is the view's part of the feature record.

    ``newest_ms`` is the time of the entity's newest event, if a timer emitted the vector as of a later time.
    """

    view: ViewPlan
    event_id: str
    attempt: int
    record: Mapping[str, Any]
    newest_ms: int | None = None

    @property
    def entity(self) -> str:
        """Whose vector it is."""
        return str(self.record["entity"])

    @property
    def order(self) -> Order:
        """Its place among the emissions of the same entity and view."""
        return self.record["epoch"], self.record["seq"], self.attempt, self.record["as_of"]


def emissions(plan: PipelinePlan, features: Mapping[str, Any]) -> list[Emission]:
    """The vectors in a feature record; a view that is null, for want of an entity, brings none.

    Raises:
        Undecodable: if a vector has no place in the order: epoch, seq and attempt count from 0.
    """
    newest_ms = features["event_time"] if features["trigger"] == TIMER else None
    found = [
        Emission(view, features["event_id"], features["attempt"], features[view.name], newest_ms)
        for view in plan.views
        if features[view.name] is not None
    ]
    for emission in found:
        if min(emission.order[:3]) < 0:
            raise Undecodable(f"view {emission.view.id}: epoch, seq and attempt cannot be negative")
    return found


def newest(batch: Iterable[Emission]) -> list[Emission]:
    """Only the newest emission of each (view, entity); of equals the first."""
    latest: dict[tuple[str, str], Emission] = {}
    for emission in batch:
        key = emission.view.id, emission.entity
        if key not in latest or emission.order > latest[key].order:
            latest[key] = emission
    return list(latest.values())
