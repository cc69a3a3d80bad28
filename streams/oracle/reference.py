"""The oracle of windows: recomputes each value from all raw rows of the entity in the window.

Engine tests and the verifier compare with it. It has no tiles, no merging and no state: it should be easy to check by
eye, and need not be fast. docs/concepts/semantics.md describes the semantics.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any, TypeAlias

from schemas.feature_types import FeatureValue, Value
from streams.definitions.aggregates.window_contents import WindowContents
from streams.definitions.windows import LIFETIME_MS
from streams.oracle.values import allowed_error, reference_value
from streams.plan.model import FeaturePlan, SourcePlan, ViewPlan

Row: TypeAlias = Mapping[str, Any]
"""The values of a row's columns: each a :data:`~schemas.feature_types.Value`, or a list of them without nulls."""


@dataclass(frozen=True)
class ReferenceVector:
    """The features of one view that an engine must emit for an event."""

    as_of: int
    late: bool
    features: dict[str, FeatureValue]


@dataclass(frozen=True)
class Timed:
    """A row and its event time, in epoch milliseconds."""

    time: int
    row: Row


def in_window(time: int, as_of: int, window_ms: int, hop_ms: int) -> bool:
    """Whether the tile i of an event is in the window: ``floor((as_of - W) / h) < i <= floor(as_of / h)``.

    No event leaves a lifetime, whatever the times.

    >>> in_window(59_999, 120_000, 60_000, 1_000), in_window(61_000, 120_000, 60_000, 1_000)
    (False, True)
    """
    return window_ms >= LIFETIME_MS or (as_of - window_ms) // hop_ms < time // hop_ms <= as_of // hop_ms


def vector(view: ViewPlan, history: Sequence[Timed]) -> ReferenceVector:
    """The view's vector after the last row of ``history``, which has all rows of one entity in arrival order."""
    as_of = max(timed.time for timed in history)
    newest = history[-1].time
    late = not any(in_window(newest, as_of, f.window_ms, f.hop_ms) for f in view.features)
    return ReferenceVector(
        as_of=as_of,
        late=late,
        features={f.name: reference_value(_window_contents(f, history, as_of)) for f in view.features},
    )


def timer_features(view: ViewPlan, history: Sequence[Timed], as_of: int) -> dict[str, FeatureValue]:
    """The view's features that a timer at ``as_of``, after the newest row, emits.

    A feature that depends on the triggering event keeps its value after the last row of ``history`` until the window
    has passed the newest row.
    """
    newest = max(timed.time for timed in history)
    return {
        f.name: reference_value(_window_contents(f, history, timer_as_of(f, history, as_of)))
        if in_window(newest, as_of, f.window_ms, f.hop_ms) or not f.depends_on_event
        else f.empty
        for f in view.features
    }


def timer_as_of(feature: FeaturePlan, history: Sequence[Timed], as_of: int) -> int:
    """The time as of which a timer at ``as_of`` computes a feature."""
    return max(timed.time for timed in history) if feature.depends_on_event else as_of


def vectors(view: ViewPlan, rows: Sequence[Timed]) -> list[ReferenceVector | None]:
    """The vector of each row, in arrival order; None for a row without a value for the view's entity."""
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


def accept_events(ids: Sequence[tuple[Value, str, int]], horizon_ms: int) -> list[bool]:
    """Whether each event passes de-duplication.

    An event is a duplicate if one of the same key and id was accepted with a time later than ``now - horizon``, where
    ``now`` is the greatest time among the key's accepted events and this one. For an event without a key, its id is
    the key.

    Args:
        ids: Key, event id and event time (epoch ms) of each event, in arrival order.
        horizon_ms: The horizon of de-duplication.
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


def accept_rows(source: SourcePlan, rows: Sequence[Row]) -> list[bool]:
    """Whether each row of a source passes de-duplication, in arrival order; all do if its contract has no event id."""
    if source.event_id is None:
        return [True] * len(rows)
    ids: list[tuple[Value, str, int]] = []
    for row in rows:
        event_id, time = row[source.event_id], row[source.event_time]
        assert isinstance(event_id, str)
        assert isinstance(time, int)
        ids.append((None if source.key is None else row[source.key], event_id, time))
    return accept_events(ids, source.dedup_horizon_ms)


def tolerance(feature: FeaturePlan, history: Sequence[Timed], as_of: int) -> float:
    """The allowed difference between an engine and the oracle; see :func:`~streams.oracle.values.allowed_error`."""
    return allowed_error(_window_contents(feature, history, as_of))


def agrees(engine: FeatureValue, oracle: FeatureValue, allowed: float) -> bool:
    """Whether the engine's value equals the oracle's within ``allowed`` (negative zero equals zero).

    Lists are compared element by element. If ``allowed`` is infinite, any two values agree.
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
    inside = [timed for timed in history if in_window(timed.time, as_of, feature.window_ms, feature.hop_ms)]
    newest = history[-1]
    before = inside[:-1] if in_window(newest.time, as_of, feature.window_ms, feature.hop_ms) else inside
    return WindowContents(
        feature=feature,
        as_of=as_of,
        matching=tuple((timed.time, value) for timed in inside for value in values_of(feature, timed.row)),
        others=tuple((timed.time, value) for timed in before for value in values_of(feature, timed.row)),
        # An aggregate over elements does not depend on the event's own value.
        current=next(iter(values_of(feature, newest.row)), None),
    )


def values_of(feature: FeaturePlan, row: Row) -> Sequence[str | int | float | bool]:
    """A row's values for a feature: none if it does not match or is null, else one, or the elements of a list in order.

    Without a column, the value is True.
    """
    if feature.where is not None and row[feature.where] is not True:
        return ()
    value = True if feature.column is None else row[feature.column]
    if isinstance(value, list):
        return value
    return () if value is None else (value,)
