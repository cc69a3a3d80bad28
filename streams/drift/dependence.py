"""How long values stay correlated, and how far thresholds must widen because a reference has few independent samples.

A reference of T days whose values stay correlated for τ days tells of T / 2τ levels only, however many rows it has
(Bartlett, J. R. Statist. Soc. 1946). A level that is to be exceeded hardly ever must be extrapolated from those few.
For normal levels, the right factor is the quantile of Student's t over that of the normal distribution. Where the
factor is large, this assumption decides alone: such a budget is refused.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# Largest factor on a threshold; the statistics grow with the square of a level.
MOST_WIDENING = 1.4
# Means over so many intervals of the reference's time: slow levels show in the coarse ones, fast ones in the fine.
_INTERVALS = (2_000, 500, 125)
_FEWEST_INTERVALS = 30
_FEWEST_ROWS_PER_INTERVAL = 4
# Samples count so many standard errors fewer than they seem. With one, six weeks of values that stay correlated for a
# day were accepted once in seven times, and just those then exceeded their budget.
_STANDARD_ERRORS = 2.0
# A correlation counts if chance would give a thousandth of independent series as much.
_SIGNIFICANT = 3.0
_HOUR_MS, _DAY_MS = 3_600_000, 86_400_000
# A rhythm is taken out if it came back so often.
_TIMES = 4


class Support(NamedTuple):
    """What a reference supports: ``samples`` of independent levels; ``widening`` is the factor on thresholds.

    ``correlation_ms`` is 0 if no correlation was found. ``needs_ms`` is the length that the reference needs for its
    budget, by what this one tells of the correlation.
    """

    correlation_ms: float
    samples: float
    widening: float
    needs_ms: float

    @property
    def suffices(self) -> bool:
        """Whether thresholds can be widened enough."""
        return self.widening <= MOST_WIDENING


def support(times: Ints, values: Floats, return_ms: float) -> Support:
    """What values, [N] with epoch ms int64 [N] in order, support: a level exceeded once in ``return_ms``.

    NaN is left out.
    """
    known = np.isfinite(values)
    correlation = correlation_ms(times[known], values[known])
    span = float(times[-1] - times[0]) if len(times) else 0.0
    if not correlation:
        return Support(0.0, float(known.sum()), 1.0, 0.0)
    samples, exceeded = span / (2 * correlation), min(2 * correlation / return_ms, 0.01)
    return Support(correlation, samples, _widening_less(samples, exceeded), _fewest_samples(exceeded) * 2 * correlation)


def widening(samples: float, exceeded: float) -> float:
    """The factor on a threshold that one of ``samples`` independent levels exceeds with probability ``exceeded``."""
    if samples <= 2:
        return math.inf
    quantile = float(stats.t.isf(exceeded, samples - 1)) * math.sqrt(1 + 1 / samples)
    return (quantile / float(stats.norm.isf(exceeded))) ** 2


def _fewest_samples(exceeded: float) -> float:
    low, high = 3.0, 1e6
    while high - low > 0.5:
        middle = (low + high) / 2
        low, high = (low, middle) if _widening_less(middle, exceeded) <= MOST_WIDENING else (middle, high)
    return high


def _widening_less(samples: float, exceeded: float) -> float:
    # The correlation was estimated from these samples, too, and must not seem short enough by chance.
    return widening(samples / (1 + _STANDARD_ERRORS * math.sqrt(2 / samples)), exceeded)


def correlation_ms(times: Ints, values: Floats) -> float:
    """The time within which the correlation of values falls to 1/e, [N] with epoch ms int64 [N] in order; 0 if none.

    Daily and weekly rhythms are no correlation: they are taken out first. Of means over long intervals and over short
    ones, those with the longest correlation count.
    """
    if len(values) < _FEWEST_INTERVALS * _FEWEST_ROWS_PER_INTERVAL or times[-1] <= times[0]:
        return 0.0
    rest = _without_rhythm(times, values)
    return max(_at_scale(times, rest, intervals) for intervals in _INTERVALS)


def _without_rhythm(times: Ints, values: Floats) -> Floats:
    rest = values - values.mean()
    span = times[-1] - times[0]
    for unit, period in ((_HOUR_MS, 24), (_DAY_MS, 7)):
        if span >= _TIMES * unit * period:
            places = times // unit % period
            counts = np.maximum(np.bincount(places, minlength=period), 1)
            rest = rest - (np.bincount(places, rest, minlength=period) / counts)[places]
    without: Floats = rest
    return without


def _at_scale(times: Ints, values: Floats, intervals: int) -> float:
    intervals = min(intervals, len(values) // _FEWEST_ROWS_PER_INTERVAL)
    if intervals < _FEWEST_INTERVALS:
        return 0.0
    width = (times[-1] - times[0]) / intervals
    places = np.minimum(((times - times[0]) / width).astype(np.int64), intervals - 1)
    counts = np.bincount(places, minlength=intervals)
    means = (np.bincount(places, values, minlength=intervals) / np.maximum(counts, 1))[counts > 0]
    if len(means) < _FEWEST_INTERVALS or not np.ptp(means):
        return 0.0
    correlations = _correlations(means)
    if correlations[1] < _SIGNIFICANT / math.sqrt(len(means)):
        return 0.0
    lag = _fallen(correlations, 0.0)
    for _ in range(3):
        # Less its own mean, a series seems less correlated than it is.
        lag = _fallen(correlations, 2 * lag / len(means))
    return float(lag * width)


def _fallen(correlations: Floats, bias: float) -> float:
    """The lag at which correlations fall to 1/e of that at lag one, less one: noise only lowers all of them alike."""
    bias = min(bias, 0.5)
    actual = (correlations + bias) / (1 + bias)
    limit = actual[1] / math.e
    below = np.flatnonzero(actual[1:] < limit)
    if not len(below):
        return float(len(correlations))
    before, after = actual[below[0]], actual[below[0] + 1]
    return float(below[0] - 1 + (before - limit) / (before - after))


def _correlations(series: Floats) -> Floats:
    """The autocorrelation at lags from 0 to half the length."""
    rest, n = series - series.mean(), len(series)
    spectrum = np.fft.rfft(rest, 2 * n)
    products: Floats = np.fft.irfft(spectrum * spectrum.conj())[: n // 2 + 1]
    correlations: Floats = products / products[0]
    return correlations
