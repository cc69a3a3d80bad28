"""Whether an engine's results are right: a sample of its records against the oracle, each from the raw events."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from penstock.errors import PenstockError
from streams.oracle.reference import Timed, agrees, tolerance, vector
from streams.plan.model import FeaturePlan, ViewPlan
from tests.bench.engine.workload import OPERATIONS, Payments, Workload


def check(
    work: Workload,
    events: Payments,
    number: int,
    results: Sequence[Sequence[float | None]],
    *,
    windows: int | None = None,
    tiled: bool = True,
) -> None:
    """Hold one event's results against the oracle.

    Args:
        work: The workload.
        events: Its events.
        number: Which of them the results are of.
        results: For each entity, by window and operation.
        windows: How many windows there are results of; None for all.
        tiled: Whether windows move by hops; else they reach back from the event to the millisecond, and events of the
            same time are in them whichever came first, as SQL has it.

    Raises:
        PenstockError: naming the event, the entity, the value and what it should be.
    """
    for entity, got in zip(work.keyed_by, results, strict=True):
        who = events.who(entity)
        same = np.flatnonzero(who == who[number])
        known = same[same <= number] if tiled else same[events.times[same] <= events.times[number]]
        view = _view(work, entity, windows, tiled)
        # The event itself is the last one: the oracle's vector is as of the last.
        history = [Timed(int(events.times[n]), {"amount": float(events.amounts[n])}) for n in known if n != number]
        history.append(Timed(int(events.times[number]), {"amount": float(events.amounts[number])}))
        oracle = vector(view, history)
        for feature, value in zip(view.features, got, strict=True):
            wanted = oracle.features[feature.name]
            if not agrees(value, wanted, tolerance(feature, history, oracle.as_of)):
                raise PenstockError(f"event {number}, {entity}: {feature.name} is {value}, not {wanted}")


def _view(work: Workload, entity: str, windows: int | None, tiled: bool) -> ViewPlan:
    spans = list(zip(work.windows, work.spans_ms, strict=True))[:windows]
    return ViewPlan(
        name=entity,
        version=1,
        entity=entity,
        key=entity,
        key_type="string",
        hash="",
        features=tuple(
            FeaturePlan(
                name=f"{operation}_{label}",
                operation=operation,
                column=None if operation == "count" else "amount",
                column_type=None if operation == "count" else "double",
                where=None,
                # SQL's window holds the row of just its length ago too.
                window_ms=size if tiled else size + 1,
                hop_ms=hop if tiled else 1,
                type="long" if operation == "count" else "double",
            )
            for label, (size, hop) in spans
            for operation in OPERATIONS
        ),
    )
