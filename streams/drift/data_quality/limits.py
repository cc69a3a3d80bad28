"""From what was usual to limits that keep a budget of false alarms. Pure.

A share of a window's records is binomial if records are independent; if windows differ by more than chance, it is taken
for beta-binomial, with the windows' own variance. What never occurred may still occur three times in as many records
(the rule of three). Limits are widened by how long the shares of windows stay correlated, and refused where the good
time has too few independent levels, as those of the drift detectors are (:mod:`streams.drift.dependence`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from streams.drift.data_quality.hours import HOUR_MS
from streams.drift.data_quality.quality_reference import Volume
from streams.drift.dependence import support, widening

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# A good time does not show everything: aim at a tenth of the allowed false alarms.
SAFETY_FACTOR = 10.0
_DAY_MS = 86_400_000
# Fewer values of a kind say nothing of how they vary.
_FEWEST = 10
# A number of different values is unusual if it is by so much beyond what any window had.
_DISTINCT_BEYOND = 1.5
_LEAST_DISTINCT = math.log(1.5)
_WEEK_HOURS, _DAY_HOURS = 168, 24
_FEWEST_DAYS, _FEWEST_WEEKS = 4, 4
# The first and the last hour are not whole.
_PARTS = 2
_GAPS = 100
_SILENCE_TIMES, _MOST_SILENCE_TIMES = 2, 10
_LEAST_MISSED = 10.0


class RefusedError(Exception):
    """A check cannot keep its budget, or has nothing to compare with; the message says why, for a person."""


@dataclass(frozen=True)
class Budget:
    """How seldom a check may be wrong.

    ``records`` is the number of records per expected false alarm of one check; ``rate`` is how many records of its
    topic come in a millisecond of event time.
    """

    records: float
    rate: float

    def chance(self, records: float) -> float:
        """The chance of a false alarm among so many records."""
        return min(records / self.records, 0.05)

    @property
    def return_ms(self) -> float:
        """The time between two false alarms."""
        return self.records / self.rate if self.rate else math.inf


def share_limit(shares: Floats, times: Ints, window: int, budget: Budget) -> tuple[float, float]:
    """The usual share, and the limit of a window's share.

    Args:
        shares: The shares of complete windows, [N].
        times: When they were complete, epoch ms int64 [N], in order.
        window: Records in a window.
        budget: The budget.

    Raises:
        RefusedError: if no share is unusual, or the budget cannot be kept.
    """
    if len(shares) < _FEWEST:
        raise RefusedError(f"{len(shares)} windows are too few")
    mean, chance = float(shares.mean()), budget.chance(window)
    usual = max(mean, 3.0 / (len(shares) * window))
    between = max(float(shares.var(ddof=1)) - mean * (1 - mean) / window, 0.0) if mean > 0 else 0.0
    clustering = min(between / (usual * (1 - usual)), 0.99) if usual < 1 else 0.0
    # By chance alone, the variance of so many windows would seem greater by so much.
    noise = 3.0 * math.sqrt(2 / len(shares)) * usual * (1 - usual) / window
    limit = _binomial(window, min(usual, 1.0), chance)
    if between > noise:
        alike = 1 / clustering - 1
        limit = max(limit, float(stats.betabinom.isf(chance, window, usual * alike, (1 - usual) * alike)) / window)
        limit = mean + (limit - mean) * _factor(times, shares, budget)
    limit = max(limit, float(shares.max()))
    if limit >= 1.0:
        raise RefusedError(f"a share of {_percent(limit)} is nothing unusual")
    return mean, limit


def distinct_limits(counts: Floats, times: Ints, window: int, budget: Budget) -> tuple[float, float, float]:
    """The usual number of different values in a window, and its limits; as :func:`share_limit`."""
    if len(counts) < _FEWEST:
        raise RefusedError(f"{len(counts)} windows are too few")
    logs = np.log(np.maximum(counts, 1.0))
    mean, deviation = float(logs.mean()), float(logs.std(ddof=1))
    quantile = float(stats.t.isf(budget.chance(window) / 2, len(logs) - 1)) * math.sqrt(1 + 1 / len(logs))
    by_chance = quantile * deviation * math.sqrt(_factor(times, logs, budget))
    beyond = max(by_chance, _DISTINCT_BEYOND * float(np.abs(logs - mean).max()), _LEAST_DISTINCT)
    if beyond > math.log(window):
        raise RefusedError("any number of different values is usual")
    return math.exp(mean), math.exp(mean - beyond), math.exp(mean + beyond)


def rhythm_of(hours: Sequence[int], events: Sequence[int]) -> Volume:
    """How many events are expected of each hour of the week, of the day, or of any hour, as the hours allow.

    Args:
        hours: Complete hours since the epoch, without a gap, at least one.
        events: The events of each.
    """
    at = np.asarray(hours, np.int64)
    slots = 1
    if len(at) + _PARTS >= _FEWEST_DAYS * _DAY_HOURS:
        slots = _WEEK_HOURS if len(at) + _PARTS >= _FEWEST_WEEKS * _WEEK_HOURS else _DAY_HOURS
    places = at % slots
    expected = np.bincount(places, np.asarray(events, np.float64), minlength=slots) / np.bincount(places)
    return Volume(expected=tuple(expected.tolist()), times=len(at) / slots)


def volume_limits(rhythm: Volume, hours: Sequence[int], events: Sequence[int], budget: Budget) -> Volume:
    """The rhythm with the limits of an hour and of 24 hours; arguments as of :func:`rhythm_of`.

    Raises:
        RefusedError: if there are too few hours, or the budget cannot be kept.
    """
    if len(hours) < 2 * _DAY_HOURS:
        raise RefusedError(f"{len(hours)} complete hours are too few, {2 * _DAY_HOURS} are needed")
    at, counts = np.asarray(hours, np.int64), np.asarray(events, np.float64)
    slots, times, usual = len(rhythm.expected), rhythm.times, np.array([rhythm.expected_at(hour) for hour in hours])
    # What an hour has in common with itself makes it seem more usual than another one would be.
    squares = (counts - usual) ** 2 * times / max(times - 1, 1)
    spread = math.sqrt(max(float((squares - usual).sum()) / max(float((usual**2).sum()), 1.0), 0.0))
    volume = rhythm.model_copy(update={"spread": spread})
    pairs = list(zip(at.tolist(), [int(count) for count in events], strict=True))
    of_hours = np.array([volume.deviation([pair]) for pair in pairs])
    of_days = np.array([volume.deviation(pairs[end - _DAY_HOURS : end]) for end in range(_DAY_HOURS, len(pairs) + 1)])
    chance = min(budget.rate * HOUR_MS / budget.records, 0.05)
    try:
        factor = math.sqrt(_factor(at * HOUR_MS, of_hours, budget))
    except RefusedError as error:
        if slots == _WEEK_HOURS:
            raise
        raise RefusedError(
            f"{error}; from {_FEWEST_WEEKS * 7} days on, each hour of the week is compared with itself"
        ) from error

    def limit(deviations: Floats, samples: float) -> float:
        quantile = float(stats.t.isf(chance / 2, max(samples, 3.0))) * factor
        return max(quantile * max(float(deviations.std()), 1.0), 1.2 * float(np.abs(deviations).max()))

    return volume.model_copy(
        update={"hour": limit(of_hours, len(at) - slots), "day": limit(of_days, len(at) / _DAY_HOURS - 1)}
    )


def silence_limit(rhythm: Volume, times: Ints, budget: Budget) -> float:
    """How many events must be missed in a row, by the rhythm, so that it is longer than ever before.

    Args:
        rhythm: How many events are expected.
        times: Event times, int64 [N], sorted.
        budget: The budget.

    Raises:
        RefusedError: if there are too few events.
    """
    if len(times) < 2 * _GAPS:
        raise RefusedError(f"{len(times)} events are too few")
    first, last = int(times[0]) // HOUR_MS, int(times[-1]) // HOUR_MS + 1
    passed = np.concatenate([[0.0], np.cumsum([rhythm.expected_at(hour) for hour in range(first, last)])])
    at = np.interp(times, np.arange(first, last + 1) * HOUR_MS, passed)
    gaps = np.sort(np.diff(at))[::-1]
    longest, threshold = float(gaps[0]), max(float(gaps[_GAPS]), 1e-9)
    # The tail of the longest gaps (Hill, Ann. Statist. 1975), up to the one gap in the whole budget.
    tail = float(np.log(np.maximum(gaps[:_GAPS], threshold) / threshold).mean())
    expected = threshold * math.exp(min(tail * math.log(max(budget.records * _GAPS / len(gaps), 1.0)), 50.0))
    return max(min(expected, _MOST_SILENCE_TIMES * longest), _SILENCE_TIMES * longest, _LEAST_MISSED)


def _binomial(window: int, share: float, chance: float) -> float:
    return float(stats.binom.isf(chance, window, share)) / window


def _factor(times: Ints, values: Floats, budget: Budget) -> float:
    """The factor on a limit, because the good time has so few levels that are independent of each other."""
    order = np.argsort(times, kind="stable")
    found = support(times[order], values[order], budget.return_ms)
    if not found.suffices:
        needs = math.ceil(found.needs_ms / _DAY_MS)
        raise RefusedError(
            f"it stays correlated for {found.correlation_ms / _DAY_MS:.2g} days, which takes {needs:,} days to learn"
        )
    return max(found.widening, widening(len(values), 1e-4))


def _percent(share: float) -> str:
    return f"{share:.0%}"
