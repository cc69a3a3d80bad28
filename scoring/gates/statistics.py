"""The statistics of the gates: intervals of means, ratios, calibration and quantiles. Pure; randomness by seed.

All intervals are two-sided, with the given probability ``alpha`` of missing the truth.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

Numbers = NDArray[np.float64]

# Scores of 0 and 1 would have no logit.
_LEAST = 1e-6
_RESAMPLES = 1_000


class Interval(NamedTuple):
    """An estimate with its interval; NaN where there is too little data for one."""

    estimate: float
    low: float
    high: float


def mean_interval(values: Numbers, alpha: float) -> Interval:
    """Of the mean of independent values, by Student's t."""
    n = len(values)
    mean = float(values.mean()) if n else np.nan
    if n < 2:
        return Interval(mean, np.nan, np.nan)
    reach = float(stats.t.ppf(1 - alpha / 2, n - 1)) * float(values.std(ddof=1)) / np.sqrt(n)
    return Interval(mean, mean - reach, mean + reach)


def wilson(rate: float, n: float, alpha: float) -> Interval:
    """Of a rate among n events (Wilson 1927); n may be an effective number."""
    if not n or np.isnan(rate):
        return Interval(np.nan, np.nan, np.nan)
    z = float(stats.norm.ppf(1 - alpha / 2))
    middle = (rate + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z / (1 + z**2 / n) * float(np.sqrt(max(rate * (1 - rate) / n + z**2 / (4 * n * n), 0.0)))
    return Interval(rate, min(rate, max(0.0, middle - reach)), max(rate, min(1.0, middle + reach)))


def ratio_of_rates(hits: int, of: int, other_hits: int, other_of: int, alpha: float) -> Interval:
    """Of one rate divided by another, by the normal approximation of its logarithm (Katz et al. 1978).

    Half a hit is added to each count, so that a rate of zero has an interval, too.
    """
    if not of or not other_of:
        return Interval(np.nan, np.nan, np.nan)
    a, b = hits + 0.5, other_hits + 0.5
    log_ratio = np.log(a / (of + 0.5)) - np.log(b / (other_of + 0.5))
    error = np.sqrt(max(1 / a - 1 / (of + 0.5) + 1 / b - 1 / (other_of + 0.5), 0.0))
    reach = float(stats.norm.ppf(1 - alpha / 2)) * error
    return Interval(*(float(np.exp(each)) for each in (log_ratio, log_ratio - reach, log_ratio + reach)))


class Recalibration(NamedTuple):
    """What would recalibrate scores: the line of the true logit over the score's logit (Cox 1958).

    A calibrated model has slope 1 and intercept 0. A slope below 1 means that scores are too extreme.
    """

    slope: Interval
    intercept: Interval


def recalibration(scores: Numbers, labels: Numbers, alpha: float) -> Recalibration:
    """Fit the line by logistic regression (Newton's method), with Wald's intervals."""
    x = special.logit(np.clip(scores, _LEAST, 1 - _LEAST))
    design = np.stack([np.ones_like(x), x], axis=1)
    found = np.array([0.0, 1.0])
    for _ in range(50):
        fitted = special.expit(design @ found)
        weights = fitted * (1 - fitted)
        information = design.T @ (design * weights[:, None]) + 1e-9 * np.eye(2)
        step = np.linalg.solve(information, design.T @ (labels - fitted))
        found += np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-9:
            break
    errors = np.sqrt(np.diag(np.linalg.inv(information)))
    reach = float(stats.norm.ppf(1 - alpha / 2)) * errors
    intercept, slope = (
        Interval(float(value), float(value - by), float(value + by)) for value, by in zip(found, reach, strict=True)
    )
    return Recalibration(slope, intercept)


def calibration_error(scores: Numbers, labels: Numbers, alpha: float, bins: int = 10) -> Interval:
    """Of the root mean square, over bins of equally many scores, of how far mean label and mean score are apart.

    It is no less than the mean distance, the expected calibration error. The plain estimate takes noise for error; here
    the noise is subtracted from the square of each bin (Kumar, Liang, Ma 2019). The square has a normal interval.
    """
    order = np.argsort(scores, kind="stable")
    parts = np.array_split((labels - scores)[order], min(bins, max(len(order) // 2, 1)))
    share = np.array([len(part) for part in parts]) / max(len(order), 1)
    noise = np.array([part.var(ddof=1) / len(part) for part in parts])
    squares = np.array([part.mean() ** 2 for part in parts]) - noise
    variance = share**2 @ (4 * np.maximum(squares, 0) * noise + 2 * noise**2)
    reach = float(stats.norm.ppf(1 - alpha / 2)) * float(np.sqrt(variance))
    square = float(share @ squares)
    return Interval(*(float(np.sqrt(max(value, 0.0))) for value in (square, square - reach, square + reach)))


def quantile_ratio(times: Numbers, other: Numbers, quantile: float, alpha: float, seed: int) -> Interval:
    """Of a quantile of one sample divided by that of another, by the bootstrap."""
    rng = np.random.default_rng(seed)
    ratios = [
        np.quantile(rng.choice(times, len(times)), quantile) / np.quantile(rng.choice(other, len(other)), quantile)
        for _ in range(_RESAMPLES)
    ]
    low, high = np.quantile(ratios, (alpha / 2, 1 - alpha / 2))
    return Interval(float(np.quantile(times, quantile) / np.quantile(other, quantile)), float(low), float(high))
