"""The reference semantics: features by naive re-computation from the raw rows, and nothing else.

This is the oracle of every engine test and of the verifier. It is written to be checked by eye, not to be fast: each
value is computed from all rows of the entity that are in the window, with no tiles kept, no merging and no state.
docs/semantics.md is its prose.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from streams.plan import FeaturePlan, ViewPlan

Value: TypeAlias = str | int | float | bool | None
Row: TypeAlias = Mapping[str, Value]


@dataclass(frozen=True)
class Vector:
    """One view's features as of an event: what the engine must emit for it."""

    as_of: int
    late: bool
    features: dict[str, Value]


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


def vector(view: ViewPlan, history: Sequence[Timed]) -> Vector:
    """The view's vector after the last row of ``history``: all rows of one entity, in the order they arrived."""
    as_of = max(timed.time for timed in history)
    newest = history[-1].time
    late = not any(in_window(newest, as_of, f.window_ms, f.hop_ms) for f in view.features)
    return Vector(as_of=as_of, late=late, features={f.name: _feature(f, history, as_of) for f in view.features})


def vectors(view: ViewPlan, rows: Sequence[Timed]) -> list[Vector | None]:
    """The vector that each row emits, in arrival order; None where the row has no value for the view's entity."""
    histories: dict[Value, list[Timed]] = {}
    emitted: list[Vector | None] = []
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
    """How far a correct engine may be from the oracle, in the feature's unit.

    Counts, extremes, last values and times are exact. Sums, means and deviations add in another order: 1e-9 of the
    magnitude that was summed. An HLL with lg k = 12 has 1.6 % standard error: five of them, and exact below 192,
    where the sketch still lists its values.
    """
    values = [float(v) for _, v in _matching(feature, history, as_of) if isinstance(v, int | float)]
    match feature.operation:
        case "sum":
            return 1e-9 * math.fsum(abs(v) for v in values)
        case "mean" | "std":
            return 1e-9 * max((abs(v) for v in values), default=0.0)
        case "approx_distinct":
            distinct = _feature(feature, history, as_of)
            assert isinstance(distinct, int)
            return 0.0 if distinct < 192 else math.ceil(0.08 * distinct)
        case _:
            return 0.0


def agrees(engine: Value, oracle: Value, allowed: float) -> bool:
    """Whether the engine's value is the oracle's, or within ``allowed`` of it (negative zero is zero)."""
    if engine is None or oracle is None or isinstance(oracle, str | bool):
        return engine == oracle
    if isinstance(engine, str | bool):
        return False
    return engine == oracle or abs(engine - oracle) <= allowed


def _matching(feature: FeaturePlan, history: Sequence[Timed], as_of: int) -> list[tuple[int, Value]]:
    """(time, value) of the rows that count, in arrival order; the value of a row-count is True."""
    return [
        (timed.time, True if feature.column is None else timed.row[feature.column])
        for timed in history
        if in_window(timed.time, as_of, feature.window_ms, feature.hop_ms)
        and (feature.where is None or timed.row[feature.where] is True)
        and (feature.column is None or timed.row[feature.column] is not None)
    ]


def _feature(feature: FeaturePlan, history: Sequence[Timed], as_of: int) -> Value:
    matching = _matching(feature, history, as_of)
    if feature.operation == "count":
        return len(matching)
    if feature.operation == "approx_distinct":
        return len({value for _, value in matching})
    if not matching:
        return None
    if feature.operation == "last":
        newest = max(time for time, _ in matching)
        return [value for time, value in matching if time == newest][-1]
    if feature.operation == "time_since_last":
        return (as_of - max(time for time, _ in matching)) / 1000.0
    return _of_numbers(feature, [float(value) for _, value in matching if value is not None])


def _of_numbers(feature: FeaturePlan, values: list[float]) -> float | None:
    match feature.operation:
        case "sum":
            return math.fsum(values)
        case "mean":
            return math.fsum(values) / len(values)
        case "min":
            return min(values)
        case "max":
            return max(values)
        case "std":
            if len(values) < 2:
                return None
            mean = math.fsum(values) / len(values)
            return math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1))
        case other:
            raise AssertionError(f"no reference for {other}")
