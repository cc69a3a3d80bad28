"""Compares an engine's results with the oracle, which recomputes them from the raw events."""

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
    """Compare the results of one event with the oracle.

    Args:
        work: The workload.
        events: Its events.
        number: The number of the event.
        results: The results of each entity, by window and operation.
        windows: How many windows have results; None for all.
        tiled: Whether windows move by hops. Else, as in SQL, they reach back from the event to the millisecond and
            include all events of the same time, whichever came first.

    Raises:
        PenstockError: if a value is wrong; it names the event, the entity and both values.
    """
    for entity, got in zip(work.keyed_by, results, strict=True):
        entity_column = events.entity_column(entity)
        same = np.flatnonzero(entity_column == entity_column[number])
        known = same[same <= number] if tiled else same[events.times[same] <= events.times[number]]
        view = _view(work, entity, windows, tiled)
        # The event itself is last, because the oracle's vector is as of the last event.
        history = [Timed(int(events.times[n]), {"amount": float(events.amounts[n])}) for n in known if n != number]
        history.append(Timed(int(events.times[number]), {"amount": float(events.amounts[number])}))
        oracle = vector(view, history)
        for feature, value in zip(view.features, got, strict=True):
            expected = oracle.features[feature.name]
            if not agrees(value, expected, tolerance(feature, history, oracle.as_of)):
                raise PenstockError(f"event {number}, {entity}: {feature.name} is {value}, not {expected}")


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
                # SQL's window includes the row that is exactly its length old.
                window_ms=size if tiled else size + 1,
                hop_ms=hop if tiled else 1,
                type="long" if operation == "count" else "double",
            )
            for label, (size, hop) in spans
            for operation in OPERATIONS
        ),
    )
