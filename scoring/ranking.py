"""How well scores rank: the area under the ROC curve, the chance that a positive event has a greater score. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


def area(negative: Numbers, positive: Numbers) -> Numbers:
    """Of the weights of both classes by groups of scores in ascending order, each [..., groups]; ties count half.

    NaN without events of both classes.
    """
    below = np.cumsum(negative, axis=-1) - negative / 2
    pairs = np.asarray(negative.sum(axis=-1) * positive.sum(axis=-1))
    found = np.full(pairs.shape, np.nan)
    np.divide((positive * below).sum(axis=-1), pairs, out=found, where=pairs > 0)
    return found


def area_of_scores(scores: Numbers, negative: Numbers, positive: Numbers) -> float:
    """Of single events [N] that are negative and positive by weights; ties count half."""
    values, place = np.unique(scores, return_inverse=True)
    negatives, positives = (
        np.bincount(place, weights, len(values)).astype(np.float64) for weights in (negative, positive)
    )
    return float(area(negatives, positives))
