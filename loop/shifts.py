"""How one column has changed between two periods, and whether the change looks like a fault. Pure.

A distance between two periods says little by itself: neighbouring events are alike, so any two periods differ. Each
distance is therefore held against the distances of stretches of the reference, which are as long as the present period,
from the whole reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from loop.onsets import Mark
from loop.sample import Column, Sample, blocks

Fault = Literal["nulls", "unit", "default"]

# A smaller distance is of no interest, however sure it is.
_LEAST_DISTANCE = 0.05
# How many standard deviations beyond what stretches of the reference show; it allows for many columns.
_SIGMAS = 5.0
# The limit of a Kolmogorov-Smirnov distance of independent samples at a chance of 1 in 20,000, for sizes of 1.
_CHANCE = 2.3
# What is left of the distance once a fault is undone, at most this share of it.
_EXPLAINED = 0.35
# A value is a default, or null a fault, where its share has grown by so much, and its odds so many times: values that
# are often null by themselves, as a delay that nobody knows yet, are so more often in other weather.
_GROWN = 0.04
_GROWN_ODDS = 3.0
# Between a unit and another one. Smaller factors, as of pounds or miles, are also what prices do by themselves.
_UNITS = (10.0, 100.0, 1_000.0, 1e6, 60.0, 3_600.0, 24.0, 86_400.0, 1_024.0)
_UNIT_TOLERANCE = 0.08
_QUANTILES = 512


@dataclass(frozen=True)
class Shift:
    """How a column differs from its reference.

    Args:
        column: Its name.
        distance: Kolmogorov-Smirnov of numbers (nulls included, as a value of their own), total variation of texts.
        usual: The greatest distance that stretches of the reference show, by chance and by seasons.
        fault: What a fault would explain it.
        detail: The fault in words: ``values are 100 times as large``.
        first: The position in the present period of the first event with the fault; None without a fault.
        mark: Which values have the fault; None without one.
    """

    column: str
    distance: float
    usual: float
    fault: Fault | None = None
    detail: str = ""
    first: int | None = None
    mark: Mark | None = None

    @property
    def excess(self) -> float:
        """The part of the distance that is unusual."""
        return max(0.0, self.distance - self.usual)


def shifted(before: Sample, now: Sample) -> list[Shift]:
    """The columns that have shifted, the most shifted first."""
    found = [shift for name in before.columns if (shift := _shift(name, before, now)) is not None]
    return sorted(found, key=lambda shift: -shift.excess)


def contributions(shifts: list[Shift]) -> Mapping[str, float]:
    """The share of each column in the shift: its unusual distance, of the sum over all columns."""
    total = sum(shift.excess for shift in shifts)
    return {shift.column: shift.excess / total for shift in shifts} if total else {}


def is_shifted(before: Column, now: Column) -> tuple[bool, float, float]:
    """Whether a column has shifted; its distance, and the usual one."""
    reference = _Reference.of(before)
    at = reference.distance(now)
    usual = [reference.distance(before[each]) for each in blocks(len(before), len(now))] or [0.0]
    by_dependence = float(np.mean(usual) + _SIGMAS * np.std(usual))
    by_chance = _CHANCE * float(np.sqrt(1 / max(len(before), 1) + 1 / max(len(now), 1)))
    limit = max(by_dependence, by_chance, _LEAST_DISTANCE)
    return at > limit, at, min(max(*usual, by_chance / 2, _LEAST_DISTANCE), limit)


def _shift(name: str, before: Sample, now: Sample) -> Shift | None:
    old, new = before.columns[name], now.columns[name]
    moved, distance, usual = is_shifted(old, new)
    if not moved:
        return None
    fault = _fault(old, new)
    return Shift(name, distance, usual) if fault is None else fault.shift(name, distance, usual)


class _Found(NamedTuple):
    """A fault, in words; which values have it, and the position of the first one."""

    kind: Fault
    detail: str
    mark: Mark
    first: int = 0

    def shift(self, name: str, distance: float, usual: float) -> Shift:
        """The shift that it explains."""
        return Shift(name, distance, usual, self.kind, self.detail, self.first, self.mark)


def _fault(before: Column, now: Column) -> _Found | None:
    """The fault that explains the shift.

    A fault that began within the period is found in its later part.
    """
    for start in (0, len(now) // 2, 3 * len(now) // 4):
        if (found := _fault_of(before, now[start:])) is not None:
            return found._replace(first=found.mark.first_in(now))
    return None


def _fault_of(before: Column, now: Column) -> _Found | None:
    distance = _Reference.of(before).distance(now)
    nulls_before, nulls = _is_null(before).mean(), _is_null(now)
    if _has_grown(nulls_before, nulls.mean()) and _is_explained(before[~_is_null(before)], now[~nulls], distance):
        detail = f"{nulls.mean():.0%} of the values are null, {nulls_before:.0%} before"
        return _Found("nulls", detail, Mark("null", None, float(nulls_before), float(nulls.mean())))
    return _default(before, now, distance) or _unit(before, now, distance)


def _default(before: Column, now: Column, distance: float) -> _Found | None:
    known = now[~_is_null(now)]
    if not len(known):
        return None
    values, counts = np.unique(known.astype(str) if known.dtype == object else known, return_counts=True)
    value = values[np.argmax(counts)]
    is_it, was_it = _equals(now, value), _equals(before, value)
    if not _has_grown(was_it.mean(), is_it.mean()) or not _is_explained(before[~was_it], now[~is_it], distance):
        return None
    shares = f"{is_it.mean():.0%} of the values are {value}, {was_it.mean():.0%} before"
    return _Found("default", shares, Mark("equal", value.item(), float(was_it.mean()), float(is_it.mean())))


def _has_grown(before: float, now: float) -> bool:
    """Whether the share of a value has grown more than it does by itself."""
    return now - before > _GROWN and now * (1 - before) >= _GROWN_ODDS * before * (1 - now)


def _unit(before: Column, now: Column, distance: float) -> _Found | None:
    if now.dtype == object:
        return None
    reference = _Reference.of(before)
    old, new = (values[np.isfinite(values) & (values != 0)] for values in (before, now))
    if len(old) < 20 or len(new) < 20:
        return None
    ratio = float(np.median(np.abs(new)) / np.median(np.abs(old)))
    for unit in (*_UNITS, *(1 / each for each in _UNITS)):
        if abs(np.log(ratio / unit)) < _UNIT_TOLERANCE + abs(np.log(unit)) * 0.03:
            left = reference.distance(now / unit)
            if left < max(_EXPLAINED * distance, _LEAST_DISTANCE) and distance > 2 * _LEAST_DISTANCE:
                size, edge = np.abs(new), float(np.quantile(np.abs(old), 0.999 if unit > 1 else 0.001))
                share = float(((size > edge) if unit > 1 else (size < edge)).mean())
                mark = Mark("above" if unit > 1 else "below", edge, 0.001, share)
                return _Found("unit", f"values are {_times(unit)}", mark)
    return None


def _times(unit: float) -> str:
    return f"{unit:,.6g} times as large" if unit > 1 else f"1/{1 / unit:,.6g} of what they were"


def _is_explained(before: Column, now: Column, distance: float) -> bool:
    """Whether little of the distance is left without the faulty values; nothing is left of nothing."""
    if len(now) < 20 or len(before) < 20:
        return True
    return _Reference.of(before).distance(now) < max(_EXPLAINED * distance, _LEAST_DISTANCE)


@dataclass(frozen=True)
class _Reference:
    """The distribution of a column, which others are held against."""

    nulls: float
    sorted_values: NDArray[np.float64] | None
    shares: dict[str, float]

    @classmethod
    def of(cls, column: Column) -> _Reference:
        nulls = _is_null(column)
        known = column[~nulls]
        if column.dtype != object:
            return cls(float(nulls.mean()) if len(column) else 0.0, np.sort(known), {})
        return cls(0.0, None, _shares(column))

    def distance(self, column: Column) -> float:
        """The distance of a column from this one, from 0 to 1."""
        if not len(column):
            return 0.0
        if self.sorted_values is None:
            shares = _shares(column)
            return 0.5 * sum(abs(shares.get(text, 0.0) - self.shares.get(text, 0.0)) for text in shares | self.shares)
        nulls = _is_null(column)
        new = np.sort(column[~nulls])
        apart = abs(float(nulls.mean()) - self.nulls)
        if not len(new) or not len(self.sorted_values):
            return max(apart, 0.0 if len(new) == len(self.sorted_values) else 1.0)
        at = np.quantile(np.concatenate([self.sorted_values, new]), np.linspace(0, 1, _QUANTILES), method="nearest")
        was, is_now = (np.searchsorted(values, at, side="right") / len(values) for values in (self.sorted_values, new))
        return max(apart, float(np.max(np.abs(was - is_now))))


def _shares(column: Column) -> dict[str, float]:
    values, counts = np.unique(np.where(_is_null(column), "\0", column).astype(str), return_counts=True)
    return dict(zip(values.tolist(), (counts / len(column)).tolist(), strict=True))


def _is_null(column: Column) -> NDArray[np.bool_]:
    nulls: NDArray[np.bool_] = column == None if column.dtype == object else np.isnan(column)  # noqa: E711 - by element
    return nulls


def _equals(column: Column, value: object) -> NDArray[np.bool_]:
    same: NDArray[np.bool_] = column == value
    return same
