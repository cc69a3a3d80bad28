"""Sums, means and higher moments."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from streams.definitions.aggregates.rounding import ROUNDING, TINY, greatest_magnitude, mean_error, sum_error
from streams.definitions.aggregates.signatures import of_column
from streams.definitions.aggregates.spec import AggregateSpec
from streams.definitions.aggregates.window_contents import WindowContents

# The fourth power of a smaller deviation is too small for a double with full precision.
_LEAST_SPREAD = 1e-75


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _moment(values: Sequence[float], power: int) -> float:
    mean = _mean(values)
    return math.fsum((v - mean) ** power for v in values)


def _variance(values: Sequence[float]) -> float | None:
    return _moment(values, 2) / (len(values) - 1) if len(values) > 1 else None


def _std(values: Sequence[float]) -> float | None:
    variance = _variance(values)
    return None if variance is None else math.sqrt(variance)


def _spread(values: Sequence[float]) -> float | None:
    """The standard deviation to divide by; None with too few values, or if it is only rounding error."""
    std = _std(values)
    return std if std is not None and std > max(_LEAST_SPREAD, ROUNDING * abs(_mean(values))) else None


def _skewness(values: Sequence[float]) -> float | None:
    n, spread = len(values), _spread(values)
    return None if n < 3 or spread is None else n / ((n - 1) * (n - 2)) * _moment(values, 3) / spread**3


def _kurtosis(values: Sequence[float]) -> float | None:
    n, spread = len(values), _spread(values)
    if n < 4 or spread is None:
        return None
    fourth = n * (n + 1) / ((n - 1) * (n - 2) * (n - 3)) * _moment(values, 4) / spread**4
    return fourth - 3 * (n - 1) ** 2 / ((n - 2) * (n - 3))


def _zscore(window: WindowContents) -> float | None:
    spread = _spread(window.numbers)
    if window.current is None or spread is None:
        return None
    return (float(window.current) - _mean(window.numbers)) / spread


def _require_range(window: WindowContents, power: int) -> None:
    """Check that sums of deviations, raised to this power, stay within the range of a double.

    Raises:
        OverflowError: if they may not.
    """
    if not math.isfinite((2 * greatest_magnitude(window)) ** power * len(window.matching) ** 3):
        raise OverflowError


def _variance_error(window: WindowContents) -> float:
    _require_range(window, 2)
    return ROUNDING * greatest_magnitude(window) ** 2 + TINY


def _std_error(window: WindowContents) -> float:
    _require_range(window, 2)
    return ROUNDING * greatest_magnitude(window) + math.sqrt(TINY)


def _error_of_power(power: int) -> Callable[[WindowContents], float]:
    """The tolerance of a moment divided by a power of the deviation: it grows with their ratio to the deviation."""

    def tolerance(window: WindowContents) -> float:
        _require_range(window, power)
        spread = _spread(window.numbers)
        if spread is None:
            return 0.0
        return ROUNDING * len(window.matching) * (1 + greatest_magnitude(window) / spread) ** power

    return tolerance


def _zscore_error(window: WindowContents) -> float:
    # The event itself may be late, and its value far from all values of the window.
    magnitude = abs(float(window.current)) if window.current is not None else 0.0
    spread = _spread(window.numbers)
    _require_range(window, 2)
    if spread is None or not math.isfinite(magnitude / spread):
        return 0.0
    return ROUNDING * len(window.matching) * (1 + max(magnitude, greatest_magnitude(window)) / spread) ** 2


sum_ = AggregateSpec(
    name="sum",
    signature=of_column,
    type="double",
    numeric=True,
    oracle=lambda window: math.fsum(window.numbers),
    tolerance=sum_error,
    summary="sum, as a double",
    agreement="1e-9 of the sum of magnitudes",
)
mean = AggregateSpec(
    name="mean",
    signature=of_column,
    type="double",
    numeric=True,
    oracle=lambda window: _mean(window.numbers),
    tolerance=mean_error,
    summary="arithmetic mean",
    agreement="1e-9 of the greatest magnitude",
)
variance = AggregateSpec(
    name="variance",
    signature=of_column,
    type="double",
    numeric=True,
    oracle=lambda window: _variance(window.numbers),
    tolerance=_variance_error,
    summary="sample variance (n − 1), as SQL's VAR_SAMP",
    when_empty="null if n < 2",
    agreement="1e-9 of the greatest magnitude, squared",
)
std = AggregateSpec(
    name="std",
    signature=of_column,
    type="double",
    numeric=True,
    oracle=lambda window: _std(window.numbers),
    tolerance=_std_error,
    summary="sample standard deviation (n − 1), as SQL's STDDEV",
    when_empty="null if n < 2",
    agreement="1e-9 of the greatest magnitude",
)
skewness = AggregateSpec(
    name="skewness",
    signature=of_column,
    type="double",
    numeric=True,
    oracle=lambda window: _skewness(window.numbers),
    tolerance=_error_of_power(3),
    summary="sample skewness, G1",
    when_empty="null if n < 3 or without spread",
    agreement="1e-9 · n · (1 + greatest magnitude / std)³",
)
kurtosis = AggregateSpec(
    name="kurtosis",
    signature=of_column,
    type="double",
    numeric=True,
    oracle=lambda window: _kurtosis(window.numbers),
    tolerance=_error_of_power(4),
    summary="sample excess kurtosis, G2",
    when_empty="null if n < 4 or without spread",
    agreement="1e-9 · n · (1 + greatest magnitude / std)⁴",
)
zscore = AggregateSpec(
    name="zscore",
    signature=of_column,
    type="double",
    numeric=True,
    depends_on_event=True,
    oracle=_zscore,
    tolerance=_zscore_error,
    summary="(this event's x − mean) / std, the window with this event",
    when_empty="null if n < 2, without spread, or if this event does not match",
    agreement="1e-9 · n · (1 + greatest magnitude / std)²",
)
