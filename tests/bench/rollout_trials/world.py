"""The payments of the trials: what a model is given, and how probable it is that a payment is fraud. Pure."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

INPUTS = ("event.amount", "event.region", "activity.amount_sum_1h", "activity.count_1h")
# The logarithm of the odds of fraud is linear in the inputs; the region and the count say nothing.
INTERCEPT = -3.2
WEIGHTS = np.array([1.6, 0.0, 0.8, 0.0])
REGIONS = 3


class Payments(NamedTuple):
    """Payments, as columns of length N.

    Args:
        vectors: (N, inputs) What models are given.
        is_fraud: Whether each is fraud.
    """

    vectors: Numbers
    is_fraud: NDArray[np.bool_]


def payments(rng: np.random.Generator, count: int) -> Payments:
    """Payments by chance; one in ten is fraud."""
    vectors = np.stack(
        [
            rng.normal(size=count),
            rng.integers(REGIONS, size=count).astype(np.float64),
            rng.normal(size=count),
            rng.integers(1, 20, size=count).astype(np.float64),
        ],
        axis=1,
    )
    # As a feature record has them.
    vectors = vectors.astype(np.float32).astype(np.float64)
    return Payments(vectors, rng.random(count) < probabilities(vectors))


def probabilities(vectors: Numbers, intercept: float = INTERCEPT, weights: Numbers = WEIGHTS) -> Numbers:
    """The probability of fraud by a model with these weights; by default the true one."""
    found: Numbers = 1 / (1 + np.exp(-(intercept + vectors @ weights)))
    return found


def brier(vectors: Numbers, intercept: float, weights: Numbers) -> float:
    """The mean squared error of a model's scores, as expected by the true probabilities."""
    true, found = probabilities(vectors), probabilities(vectors, intercept, weights)
    return float((true * (1 - found) ** 2 + (1 - true) * found**2).mean())


def noise_weight(worse: float, seed: int = 1) -> float:
    """The weight of the count, which says nothing, that makes the mean squared error greater by a share of it."""
    vectors = payments(np.random.default_rng(seed), 200_000).vectors
    middle, best = vectors[:, 3].mean(), brier(vectors, INTERCEPT, WEIGHTS)
    low, high = 0.0, 1.0
    for _ in range(40):
        weight = (low + high) / 2
        found = brier(vectors, INTERCEPT - weight * middle, WEIGHTS + np.array([0, 0, 0, weight]))
        low, high = (weight, high) if found < best * (1 + worse) else (low, weight)
    return (low + high) / 2
