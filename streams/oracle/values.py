"""The reference value of every aggregate: one function each, of all that is in the window.

To add an aggregate to the oracle is to write its function into ``_REFERENCE``, and how exact an engine must be into
``_ALLOWED`` if that is not to the last bit.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, TypeAlias

from schemas.feature_types import FeatureValue, Value
from streams.definitions.aggregates import MOST_COUNTED, Operation
from streams.plan.model import FeaturePlan

TimedValue: TypeAlias = tuple[int, str | int | float | bool]

# Merged sums, means and deviations add in another order than the reference.
_ROUNDING = 1e-9
# The least doubles have few digits: what is computed through them is rounded to a multiple of 5e-324.
_TINY = 1e-300
# Of a smaller deviation the fourth power is not a number with all its digits.
_LEAST_SPREAD = 1e-75


@dataclass(frozen=True)
class Seen:
    """What one feature sees when an event arrives.

    ``matching`` are the times and values that count, in arrival order, ``others`` the same without this event's, and
    ``current`` is this event's value wherever its time lies (None: it does not match). The value of a row is True.
    """

    feature: FeaturePlan
    as_of: int
    matching: tuple[TimedValue, ...]
    others: tuple[TimedValue, ...]
    current: Value

    @property
    def times(self) -> list[int]:
        """Event times, in arrival order."""
        return [time for time, _ in self.matching]

    @property
    def numbers(self) -> list[float]:
        """Values as doubles, in arrival order; those that are no numbers are left out."""
        return [float(value) for _, value in self.matching if not isinstance(value, str)]

    def seconds_since(self, time: int) -> float:
        """From ``time`` to ``as_of``."""
        return (self.as_of - time) / 1000.0


def reference_value(seen: Seen) -> FeatureValue:
    """The feature's value; None if no double can hold it."""
    if not seen.matching:
        return seen.feature.empty
    try:
        value = _REFERENCE[seen.feature.operation](seen)
    except OverflowError:
        return None
    return None if isinstance(value, float) and not math.isfinite(value) else value


def allowed_error(seen: Seen) -> float:
    """How far a correct engine may be from the reference value, in the feature's unit; 0 for most.

    Infinite where the calculation may leave a double's range on its way: what comes out then is null, or anything.
    """
    allowed = _ALLOWED.get(seen.feature.operation)
    if allowed is None or not seen.matching:
        return 0.0
    try:
        return allowed(seen)
    except OverflowError:
        return math.inf


def _variance(values: Sequence[float]) -> float | None:
    return _moment(values, 2) / (len(values) - 1) if len(values) > 1 else None


def _std(values: Sequence[float]) -> float | None:
    variance = _variance(values)
    return None if variance is None else math.sqrt(variance)


def _skewness(values: Sequence[float]) -> float | None:
    n, spread = len(values), _spread(values)
    return None if n < 3 or spread is None else n / ((n - 1) * (n - 2)) * _moment(values, 3) / spread**3


def _kurtosis(values: Sequence[float]) -> float | None:
    n, spread = len(values), _spread(values)
    if n < 4 or spread is None:
        return None
    fourth = n * (n + 1) / ((n - 1) * (n - 2) * (n - 3)) * _moment(values, 4) / spread**4
    return fourth - 3 * (n - 1) ** 2 / ((n - 2) * (n - 3))


def _zscore(seen: Seen) -> float | None:
    spread = _spread(seen.numbers)
    if seen.current is None or spread is None:
        return None
    return (float(seen.current) - _mean(seen.numbers)) / spread


def _first(seen: Seen) -> Value:
    return min(seen.matching, key=lambda pair: pair[0])[1]


def _latest(matching: Sequence[TimedValue]) -> TimedValue | None:
    """Of the greatest time; of several, the one that arrived last."""
    return max(reversed(matching), key=lambda pair: pair[0], default=None)


def _last(seen: Seen) -> Value:
    latest = _latest(seen.matching)
    return latest and latest[1]


def _changed(seen: Seen) -> bool | None:
    previous = _latest(seen.others)
    return None if seen.current is None or previous is None else seen.current != previous[1]


def _time_since_previous(seen: Seen) -> float | None:
    previous = _latest(seen.others)
    return None if previous is None else seen.seconds_since(previous[0])


def _weights(seen: Seen, at: int) -> list[float]:
    assert seen.feature.half_life_ms is not None
    return [2.0 ** (-(at - time) / seen.feature.half_life_ms) for time in seen.times]


def _decayed_sum(seen: Seen) -> float:
    return math.fsum(w * v for w, v in zip(_weights(seen, seen.as_of), seen.numbers, strict=True))


def _decayed_mean(seen: Seen) -> float:
    # Weights as of the newest value: at as_of all of them may be too small to be told from zero.
    weights = _weights(seen, max(seen.times))
    return math.fsum(w * v for w, v in zip(weights, seen.numbers, strict=True)) / math.fsum(weights)


def _at_rank(values: Sequence[float], share: float) -> float:
    """The least value that a share of at least ``share`` of them does not exceed."""
    return sorted(values)[max(1, min(math.ceil(share * len(values)), len(values))) - 1]


def _quantile(seen: Seen) -> float:
    assert seen.feature.q is not None
    return _at_rank(seen.numbers, seen.feature.q)


def _sessions(seen: Seen) -> list[list[int]]:
    """Event times, in order, cut wherever the next one is more than a gap later."""
    assert seen.feature.gap_ms is not None
    sessions: list[list[int]] = []
    for time in sorted(seen.times):
        if sessions and time - sessions[-1][-1] <= seen.feature.gap_ms:
            sessions[-1].append(time)
        else:
            sessions.append([time])
    return sessions


def _session_length(seen: Seen) -> float:
    newest = _sessions(seen)[-1]
    return (newest[-1] - newest[0]) / 1000.0


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _moment(values: Sequence[float], power: int) -> float:
    mean = _mean(values)
    return math.fsum((v - mean) ** power for v in values)


def _spread(values: Sequence[float]) -> float | None:
    """The deviation to divide by; None if there are too few values, or all it shows is rounding."""
    std = _std(values)
    return std if std is not None and std > max(_LEAST_SPREAD, _ROUNDING * abs(_mean(values))) else None


def _by_time(seen: Seen) -> list[Any]:
    """The values by event time; of equal times in arrival order."""
    return [value for _, value in sorted(seen.matching, key=lambda pair: pair[0])]


def _most_frequent(seen: Seen) -> list[Any]:
    counts: list[tuple[Any, int]] = list(Counter(value for _, value in seen.matching).items())
    return [value for value, _ in sorted(counts, key=lambda pair: (-pair[1], pair[0]))[: seen.feature.k]]


def _histogram(seen: Seen) -> list[int]:
    assert seen.feature.buckets is not None
    counts = Counter(bisect_right(seen.feature.buckets, value) for value in seen.numbers)
    return [counts[bucket] for bucket in range(len(seen.feature.buckets) + 1)]


_REFERENCE: Mapping[Operation, Callable[[Seen], FeatureValue]] = {
    "count": lambda seen: len(seen.matching),
    "rate": lambda seen: len(seen.matching) / (seen.feature.window_ms / 1000.0),
    "approx_distinct": lambda seen: len({value for _, value in seen.matching}),
    "distinct": lambda seen: len({value for _, value in seen.matching}),
    "quantile": _quantile,
    "frequency": lambda seen: sum(value == seen.current for _, value in seen.matching),
    "session_count": lambda seen: len(_sessions(seen)),
    "session_length": _session_length,
    "sum": lambda seen: math.fsum(seen.numbers),
    "mean": lambda seen: _mean(seen.numbers),
    "min": lambda seen: min(seen.numbers),
    "max": lambda seen: max(seen.numbers),
    "variance": lambda seen: _variance(seen.numbers),
    "std": lambda seen: _std(seen.numbers),
    "skewness": lambda seen: _skewness(seen.numbers),
    "kurtosis": lambda seen: _kurtosis(seen.numbers),
    "zscore": _zscore,
    "first": _first,
    "last": _last,
    "changed": _changed,
    "time_since_first": lambda seen: seen.seconds_since(min(seen.times)),
    "time_since_last": lambda seen: seen.seconds_since(max(seen.times)),
    "time_since_previous": _time_since_previous,
    "decayed_count": lambda seen: math.fsum(_weights(seen, seen.as_of)),
    "decayed_sum": _decayed_sum,
    "decayed_mean": _decayed_mean,
    "first_k": lambda seen: _by_time(seen)[: seen.feature.k],
    "last_k": lambda seen: _by_time(seen)[::-1][: seen.feature.k],
    "top_k": lambda seen: sorted(seen.numbers, reverse=True)[: seen.feature.k],
    "bottom_k": lambda seen: sorted(seen.numbers)[: seen.feature.k],
    "most_frequent": _most_frequent,
    "histogram": _histogram,
}


def _greatest(seen: Seen) -> float:
    return max(abs(value) for value in seen.numbers)


def _magnitude(seen: Seen) -> float:
    """The sum of magnitudes.

    Raises:
        OverflowError: if no double can hold it.
    """
    return math.fsum(map(abs, seen.numbers))


def _require_range(seen: Seen, power: int) -> None:
    """What the sums of such powers of deviations come to at most must be a double.

    Raises:
        OverflowError: if it is none.
    """
    if not math.isfinite((2 * _greatest(seen)) ** power * len(seen.matching) ** 3):
        raise OverflowError


def _mean_error(seen: Seen) -> float:
    _magnitude(seen)
    return _ROUNDING * _greatest(seen) + _TINY


def _sum_error(seen: Seen) -> float:
    return _ROUNDING * _magnitude(seen) + _TINY


def _variance_error(seen: Seen) -> float:
    _require_range(seen, 2)
    return _ROUNDING * _greatest(seen) ** 2 + _TINY


def _std_error(seen: Seen) -> float:
    _require_range(seen, 2)
    return _ROUNDING * _greatest(seen) + math.sqrt(_TINY)


def _of_power(power: int) -> Callable[[Seen], float]:
    """For a moment that is divided by a power of the deviation: rounding grows as values are great beside it."""

    def allowed(seen: Seen) -> float:
        _require_range(seen, power)
        spread = _spread(seen.numbers)
        return 0.0 if spread is None else _ROUNDING * len(seen.matching) * (1 + _greatest(seen) / spread) ** power

    return allowed


def _zscore_error(seen: Seen) -> float:
    # The value itself may be late and lie far from all that is in the window.
    own = abs(float(seen.current)) if seen.current is not None else 0.0
    spread = _spread(seen.numbers)
    _require_range(seen, 2)
    if spread is None or not math.isfinite(own / spread):
        return 0.0
    return _ROUNDING * len(seen.matching) * (1 + max(own, _greatest(seen)) / spread) ** 2


def _hll(seen: Seen) -> float:
    # An HLL with lg k = 12 has 1.6 % standard error: five of them; exact below 192, where it still lists its values.
    distinct = len({value for _, value in seen.matching})
    return 0.0 if distinct <= max(191, seen.feature.bound or 0) else math.ceil(0.08 * distinct)


def _kll(seen: Seen) -> float:
    # A KLL with k = 200 has a rank within 1.33 % at 99 % confidence: twice that, which is five standard errors.
    if len(seen.numbers) <= 200:
        return 0.0
    assert seen.feature.q is not None
    value, q = _quantile(seen), seen.feature.q
    return max(value - _at_rank(seen.numbers, q - 0.027), _at_rank(seen.numbers, q + 0.027) - value)


def _lowered(seen: Seen) -> float:
    assert seen.feature.bound is not None
    is_counted = len({value for _, value in seen.matching}) <= seen.feature.bound
    return 0.0 if is_counted else len(seen.matching) / (seen.feature.bound + 1)


def _too_late_for_sessions(seen: Seen) -> float:
    # Of a tile the newest 1,000 sessions can still change: a late event that is older may be one more or one less.
    if len(_sessions(seen)) <= 1_000:
        return 0.0
    return float(sum(time < newest for time, newest in zip(seen.times, accumulate(seen.times, max), strict=True)))


def _beyond_counting(seen: Seen) -> float:
    # No distance tells one list from another: tests/streams/kernel/test_semantics.py holds such lists to their error.
    return 0.0 if len({value for _, value in seen.matching}) <= MOST_COUNTED else math.inf


_ALLOWED: Mapping[Operation, Callable[[Seen], float]] = {
    "sum": _sum_error,
    "mean": _mean_error,
    "variance": _variance_error,
    "std": _std_error,
    "skewness": _of_power(3),
    "kurtosis": _of_power(4),
    "zscore": _zscore_error,
    "most_frequent": _beyond_counting,
    "approx_distinct": _hll,
    "distinct": _hll,
    "quantile": _kll,
    "frequency": _lowered,
    "session_count": _too_late_for_sessions,
    "decayed_count": lambda seen: _ROUNDING * len(seen.matching),
    "decayed_sum": _sum_error,
    "decayed_mean": _mean_error,
}
