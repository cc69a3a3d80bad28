"""Intervals of means and their ratios on the same events, from columns. Pure.

They are asymptotic confidence sequences: valid however often one looks, from a late start on
(:func:`scoring.rollout.always_valid.asymptotic_reach`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scoring.rollout.always_valid import asymptotic_reach
from scoring.rollout.evidence import Interval

Numbers = NDArray[np.float64]

LEAST = 100
"""Of the rarer label, or of what else makes up most of a mean, so many are needed before anything is known."""
BEST_AT = 10_000
"""At how many events an interval is narrowest: about where they decide at a base rate of 1 %."""
# Scores of 0 and 1 would have an infinite log-loss.
_LEAST_SCORE = 1e-6


def mean(values: Numbers, alpha: float) -> Interval:
    """Of the mean of values that are not below 0, [N]."""
    n = len(values)
    if n < LEAST:
        return Interval(0.0, np.inf)
    middle, reach = float(values.mean()), float(asymptotic_reach(n, values.var(), alpha, BEST_AT))
    return Interval(max(middle - reach, 0.0), middle + reach)


def ratio_of_means(values: Numbers, others: Numbers, alpha: float) -> Interval:
    """Of the mean of values divided by that of others, which belong to the same events; none is below 0; both [N].

    A ratio r is excluded when the mean of ``values - r * others`` is surely not 0 (Fieller 1954). For each r this is a
    confidence sequence, so together they miss the true ratio with a probability of at most alpha.
    """
    n = len(values)
    if n < LEAST or not others.any():
        return Interval(0.0, np.inf)
    middle, other = float(values.mean()), float(others.mean())
    share = float(asymptotic_reach(n, 1.0, alpha, BEST_AT)) ** 2
    variance, other_variance = share * float(values.var()), share * float(others.var())
    both = share * float(((values - middle) * (others - other)).mean())
    square = other**2 - other_variance
    if square <= 0:
        return Interval(0.0, np.inf)
    half = middle * other - both
    root = float(np.sqrt(max(half**2 - square * (middle**2 - variance), 0.0)))
    return Interval(max((half - root) / square, 0.0), (half + root) / square)


def counts_as(values: Numbers) -> float:
    """As how many equal ones the values count in their mean: few, if a few make up most of it (Kish 1965)."""
    squares = float((values**2).sum())
    return float(values.sum()) ** 2 / squares if squares else 0.0


def losses(scores: Numbers, labels: Numbers, loss: str) -> Numbers:
    """The squared errors of scores, or their log-losses, [N]."""
    if loss == "log":
        inside = np.clip(scores, _LEAST_SCORE, 1 - _LEAST_SCORE)
        found: Numbers = -np.log(np.where(labels > 0, inside, 1 - inside))
        return found
    return np.asarray((scores - labels) ** 2, np.float64)
