"""The vectors in a feature record, and which of two vectors of the same entity is newer.

Pure functions of the plan and the record: every store uses them, so that all stores agree. The columns of
:mod:`sinks.feature_batches` are tested against them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from schemas.codec import Undecodable
from schemas.records import TIMER
from streams.plan.model import PipelinePlan, ViewPlan

Order: TypeAlias = tuple[int, int, int, int]
"""``(epoch, seq, attempt, as_of)``: the greater is the newer.

``epoch`` and ``seq`` count the vectors emitted for an entity. After a failure, the same (epoch, seq) can be emitted
again, with other values if events of several partitions feed the entity. Then the later ``attempt`` is the newer, so
that every store converges to the state of the restored job, in whatever order records arrive. A timer's vector has the
(epoch, seq) of the entity's last event, and a later ``as_of``.
"""


@dataclass(frozen=True, slots=True)
class EmittedVector:
    """One view's vector as the job emitted it.

    Args:
        view: The view.
        event_id: The event that triggered it; empty if a timer did.
        attempt: The run of the job that emitted it.
        record: The view's part of the feature record.
        newest_ms: The time of the entity's newest event, epoch ms, if a timer emitted the vector; else None.
    """

    view: ViewPlan
    event_id: str
    attempt: int
    record: Mapping[str, Any]
    newest_ms: int | None = None

    @property
    def entity(self) -> str:
        """The entity that the vector describes."""
        return str(self.record["entity"])

    @property
    def order(self) -> Order:
        """Its place among the vectors of the same entity and view."""
        return self.record["epoch"], self.record["seq"], self.attempt, self.record["as_of"]


def emitted_vectors(plan: PipelinePlan, features: Mapping[str, Any]) -> list[EmittedVector]:
    """The vectors in a feature record; a view that is null, because the event has no such entity, has none.

    Raises:
        Undecodable: if epoch, seq or attempt is negative: such a vector has no place in the order.
    """
    newest_ms = features["event_time"] if features["trigger"] == TIMER else None
    vectors = [
        EmittedVector(view, features["event_id"], features["attempt"], features[view.name], newest_ms)
        for view in plan.views
        if features[view.name] is not None
    ]
    for vector in vectors:
        if min(vector.order[:3]) < 0:
            raise Undecodable(f"view {vector.view.id}: epoch, seq and attempt cannot be negative")
    return vectors
