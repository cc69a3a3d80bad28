"""Sums, means and higher moments."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from streams.definitions.aggregates.rounding import ROUNDING, TINY, greatest_magnitude, mean_error, sum_error
from streams.definitions.aggregates.signatures import of_column
from streams.definitions.aggregates.spec import AggregateSpec
from streams.definitions.aggregates.window_contents import WindowContents

# The fourth powers of a smaller deviation underflow. Those of a billion values of a greater one overflow.
_LEAST_SPREAD = 1e-75
_GREATEST_SPREAD = 1e70
# Sums and differences of so many values of a greater magnitude may leave the range of a double.
_GREATEST_MAGNITUDE = 1e290


def _scaled(values: Sequence[float]) -> tuple[list[float], int]:
    """The values over a power of two, and its exponent: powers of numbers up to 1 stay within the range of a double."""
    exponent = math.frexp(max(map(abs, values)))[1]
    return [math.ldexp(value, -exponent) for value in values], exponent


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _moment(values: Sequence[float], power: int) -> float:
    mean = _mean(values)
    return math.fsum((v - mean) ** power for v in values)


def _variance(values: Sequence[float]) -> float | None:
    if len(values) < 2:
        return None
    scaled, exponent = _scaled(values)
    return math.ldexp(_moment(scaled, 2) / (len(values) - 1), 2 * exponent)


def _std(values: Sequence[float]) -> float | None:
    if len(values) < 2:
        return None
    scaled, exponent = _scaled(values)
    return math.ldexp(math.sqrt(_moment(scaled, 2) / (len(values) - 1)), exponent)


def _spread(values: Sequence[float]) -> float | None:
    """The standard deviation to divide by; None with too few values, or if it is only rounding error."""
    std = _std(values)
    if std is None:
        return None
    scaled, exponent = _scaled(values)
    return std if std > max(_LEAST_SPREAD, ROUNDING * math.ldexp(abs(_mean(scaled)), exponent)) else None


def _standardized_moment(values: Sequence[float], power: int) -> float | None:
    """The sum of the deviations' powers, in units of the standard deviation; None without spread."""
    spread = _spread(values)
    if spread is None or spread > _GREATEST_SPREAD:
        return None
    scaled, exponent = _scaled(values)
    return _moment(scaled, power) / math.ldexp(spread, -exponent) ** power


def _skewness(values: Sequence[float]) -> float | None:
    n, third = len(values), _standardized_moment(values, 3)
    return None if n < 3 or third is None else n / ((n - 1) * (n - 2)) * third


def _kurtosis(values: Sequence[float]) -> float | None:
    n, fourth = len(values), _standardized_moment(values, 4)
    if n < 4 or fourth is None:
        return None
    return n * (n + 1) / ((n - 1) * (n - 2) * (n - 3)) * fourth - 3 * (n - 1) ** 2 / ((n - 2) * (n - 3))


def _zscore(window: WindowContents) -> float | None:
    spread = _spread(window.numbers)
    if window.current is None or spread is None:
        return None
    scaled, exponent = _scaled(window.numbers)
    return (float(window.current) - math.ldexp(_mean(scaled), exponent)) / spread


def _require_magnitude(*magnitudes: float) -> None:
    """Check that no deviation leaves the range of a double.

    Raises:
        OverflowError: if one may.
    """
    if max(magnitudes) > _GREATEST_MAGNITUDE:
        raise OverflowError


def _variance_error(window: WindowContents) -> float:
    _require_magnitude(greatest_magnitude(window))
    if len(window.numbers) < 2:
        return 0.0
    scaled, exponent = _scaled(window.numbers)
    variance, error = _moment(scaled, 2) / (len(scaled) - 1), ROUNDING * max(map(abs, scaled)) ** 2
    try:
        math.ldexp(max(0.0, variance - error), 2 * exponent)
    except OverflowError:
        return 0.0  # No engine has a double for it: it is null.
    math.ldexp(variance + error, 2 * exponent)
    return math.ldexp(error, 2 * exponent) + TINY


def _std_error(window: WindowContents) -> float:
    _require_magnitude(greatest_magnitude(window))
    return ROUNDING * greatest_magnitude(window) + TINY


def _error_of_power(power: int) -> Callable[[WindowContents], float]:
    """The tolerance of a moment divided by a power of the deviation: it grows with their ratio to the deviation."""

    def tolerance(window: WindowContents) -> float:
        spread = _spread(window.numbers)
        if spread is None or spread > _GREATEST_SPREAD:
            return 0.0
        return ROUNDING * len(window.matching) * (1 + greatest_magnitude(window) / spread) ** power

    return tolerance


def _zscore_error(window: WindowContents) -> float:
    # The event itself may be late, and its value far from all values of the window.
    magnitude = abs(float(window.current)) if window.current is not None else 0.0
    spread = _spread(window.numbers)
    _require_magnitude(magnitude, greatest_magnitude(window))
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
