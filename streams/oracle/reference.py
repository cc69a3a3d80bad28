"""The reference semantics: features by naive re-computation from the raw rows, and nothing else.

This is the oracle of every engine test and of the verifier. It is written to be checked by eye, not to be fast: each
value is computed from all rows of the entity that are in the window, with no tiles kept, no merging and no state.
docs/concepts/semantics.md is its prose.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import TypeAlias

from schemas.feature_types import FeatureValue, Value
from streams.definitions.aggregates.window_contents import WindowContents
from streams.oracle.values import allowed_error, reference_value
from streams.plan.model import FeaturePlan, ViewPlan

Row: TypeAlias = Mapping[str, Value]


@dataclass(frozen=True)
class ReferenceVector:
    """One view's features as of an event: what the engine must emit for it."""

    as_of: int
    late: bool
    features: dict[str, FeatureValue]


@dataclass(frozen=True)
class Timed:
    """A row and its event time, in epoch milliseconds."""

    time: int
    row: Row


def in_window(time: int, as_of: int, window_ms: int, hop_ms: int) -> bool:
    """Whether an event's tile is one of the tiles ``floor((as_of - W) / h) < i <= floor(as_of / h)``.

    >>> in_window(59_999, 120_000, 60_000, 1_000), in_window(61_000, 120_000, 60_000, 1_000)
    (False, True)
    """
    return (as_of - window_ms) // hop_ms < time // hop_ms <= as_of // hop_ms


def vector(view: ViewPlan, history: Sequence[Timed]) -> ReferenceVector:
    """The view's vector after the last row of ``history``: all rows of one entity, in the order they arrived."""
    as_of = max(timed.time for timed in history)
    newest = history[-1].time
    late = not any(in_window(newest, as_of, f.window_ms, f.hop_ms) for f in view.features)
    return ReferenceVector(
        as_of=as_of,
        late=late,
        features={f.name: reference_value(_window_contents(f, history, as_of)) for f in view.features},
    )


def later(view: ViewPlan, history: Sequence[Timed], as_of: int) -> dict[str, FeatureValue]:
    """The view's features at a time after the newest row, when no event asks: what a timer of that time emits.

    What depends on the triggering event stays what it was after the last row of ``history``, as long as the window
    reaches back to the newest.
    """
    newest = max(timed.time for timed in history)
    return {
        f.name: reference_value(_window_contents(f, history, asked_at(f, history, as_of)))
        if in_window(newest, as_of, f.window_ms, f.hop_ms) or not f.depends_on_event
        else f.empty
        for f in view.features
    }


def asked_at(feature: FeaturePlan, history: Sequence[Timed], as_of: int) -> int:
    """As of when a feature is computed that a timer of ``as_of`` emits."""
    return max(timed.time for timed in history) if feature.depends_on_event else as_of


def vectors(view: ViewPlan, rows: Sequence[Timed]) -> list[ReferenceVector | None]:
    """The vector that each row emits, in arrival order; None where the row has no value for the view's entity."""
    histories: dict[Value, list[Timed]] = {}
    emitted: list[ReferenceVector | None] = []
    for timed in rows:
        entity = timed.row[view.key]
        if entity is None:
            emitted.append(None)
            continue
        history = histories.setdefault(entity, [])
        history.append(timed)
        emitted.append(vector(view, history))
    return emitted


def accepted(ids: Sequence[tuple[Value, str, int]], horizon_ms: int) -> list[bool]:
    """Which events pass de-duplication: for each (key, event id, event time), in arrival order.

    An event is a duplicate if one of the same key and id was accepted with a time later than ``now - horizon``, where
    ``now`` is the greatest time among the key's accepted events and this one. A null key is as good as the id itself.
    """
    clocks: dict[tuple[bool, Value], int] = {}
    seen: dict[tuple[bool, Value, str], int] = {}
    verdicts = []
    for key, event_id, time in ids:
        scope = (True, event_id) if key is None else (False, key)
        now = max(clocks.get(scope, time), time)
        before = seen.get((*scope, event_id))
        verdict = before is None or before <= now - horizon_ms
        if verdict:
            clocks[scope] = now
            seen[(*scope, event_id)] = time
        verdicts.append(verdict)
    return verdicts


def tolerance(feature: FeaturePlan, history: Sequence[Timed], as_of: int) -> float:
    """How far a correct engine may be from the oracle, in the feature's unit; see :mod:`streams.oracle.values`."""
    return allowed_error(_window_contents(feature, history, as_of))


def agrees(engine: FeatureValue, oracle: FeatureValue, allowed: float) -> bool:
    """Whether the engine's value is the oracle's, or within ``allowed`` of it (negative zero is zero).

    Lists agree element by element; if ``allowed`` is infinite, any two values do.
    """
    if allowed == math.inf:
        return True
    if isinstance(engine, list) and isinstance(oracle, list):
        return len(engine) == len(oracle) and all(map(agrees, engine, oracle, repeat(allowed)))
    if isinstance(engine, list) or isinstance(oracle, list):
        return False
    if engine is None or oracle is None or isinstance(oracle, str | bool):
        return engine == oracle
    if isinstance(engine, str | bool):
        return False
    return engine == oracle or abs(engine - oracle) <= allowed


def _window_contents(feature: FeaturePlan, history: Sequence[Timed], as_of: int) -> WindowContents:
    matching = [
        (timed.time, _value(feature, timed.row))
        for timed in history
        if in_window(timed.time, as_of, feature.window_ms, feature.hop_ms)
    ]
    newest = history[-1]
    before = matching[:-1] if in_window(newest.time, as_of, feature.window_ms, feature.hop_ms) else matching
    return WindowContents(
        feature=feature,
        as_of=as_of,
        matching=tuple((time, value) for time, value in matching if value is not None),
        others=tuple((time, value) for time, value in before if value is not None),
        current=_value(feature, newest.row),
    )


def _value(feature: FeaturePlan, row: Row) -> Value:
    """What a row brings to a feature: the column's value, or True to a count of rows; None if it does not count."""
    if feature.where is not None and row[feature.where] is not True:
        return None
    return True if feature.column is None else row[feature.column]
