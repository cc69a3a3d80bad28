"""Tests and bounds that hold at every event, however often one looks: the formulas, of numbers or arrays.

Two kinds of result. An *e-process* has, while the null hypothesis is true, an expected value of at most 1 whenever one
stops, so it ever reaches 1/alpha with a probability of at most alpha (Ville's inequality). A *confidence sequence* is
an interval for each number of events; all of them together miss the truth with a probability of at most alpha.
Logarithms are natural. Arguments may be arrays, which are broadcast. States that can be added up are in
:mod:`scoring.rollout.evidence`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

Numbers = NDArray[np.float64]

# Mixtures of Beta(1/2, b) with these means: for rates of any size from one in 20,000. A smaller one costs power only.
_MEANS = (0.5, 0.05, 0.005, 0.0005, 0.00005)
# How far from the bound a rate is expected that must be seen fast: errors 0.1 → 1 %.
_TIMES = 10.0


def log_e_above(hits: ArrayLike, of: ArrayLike, bound: float) -> Numbers:
    """The logarithm of an e-process against "the probability of a hit is at most ``bound``".

    It mixes the likelihood ratios of all rates above the bound to the bound, by a Beta(1/2, b) that is cut off at the
    bound and has ten times the bound as its mean before that. Each ratio is a supermartingale for every rate up to the
    bound, so the probability of a hit may change from event to event, as long as it stays at or below the bound
    (beta-binomial mixture: Robbins, Ann. Math. Statist. 1970; Howard et al., Ann. Statist. 2021).

    Args:
        hits: How many events were hits.
        of: Of how many events.
        bound: The greatest rate of the null hypothesis, above 0 and below 1.

    Raises:
        ValueError: if the bound is not between 0 and 1.
    """
    a, b = _beta(min(_TIMES * _proper(bound), (1 + bound) / 2))
    hits, misses = _split(hits, of)
    with np.errstate(divide="ignore"):  # almost no mass above the bound: no evidence at all
        mass: Numbers = np.log(special.betaincc(a + hits, b + misses, bound)) - np.log(special.betaincc(a, b, bound))
    return _marginal(hits, misses, a, b) + mass - _likelihood(hits, misses, bound)


def log_e_below(hits: ArrayLike, of: ArrayLike, bound: float) -> Numbers:
    """The logarithm of an e-process against "the probability of a hit is at least ``bound``".

    As :func:`log_e_above`, with a Beta(1/2, b) of mean ``bound`` that is cut off above it.
    """
    a, b = _beta(_proper(bound))
    hits, misses = _split(hits, of)
    with np.errstate(divide="ignore"):
        mass: Numbers = np.log(special.betainc(a + hits, b + misses, bound)) - np.log(special.betainc(a, b, bound))
    return _marginal(hits, misses, a, b) + mass - _likelihood(hits, misses, bound)


def log_e_rate(hits: ArrayLike, of: ArrayLike, rate: ArrayLike) -> Numbers:
    """The logarithm of an e-process against "the probability of a hit is ``rate``".

    A mixture of beta-binomials of several scales, over the likelihood of the rate (as for :func:`log_e_above`).
    """
    hits, misses = _split(hits, of)
    mixed = [_marginal(hits, misses, *_beta(mean)) for mean in _MEANS]
    return _mean(mixed) - _likelihood(hits, misses, np.asarray(rate, np.float64))


def log_e_ratio(
    hits: ArrayLike, of: ArrayLike, other_hits: ArrayLike, other_of: ArrayLike, ratio: ArrayLike
) -> Numbers:
    """The logarithm of an e-process against "the rate of one arm is ``ratio`` times that of the other".

    Universal inference (Wasserman, Ramdas, Balakrishnan, PNAS 2020): a mixture over both rates, in the numerator, has a
    likelihood that was fixed before the events; the denominator is the greatest likelihood that the null hypothesis
    allows. The order and the share of the arms may be anything that does not depend on the outcomes to come: an arm may
    get more events than its weight says. But both rates stay what they are: where weights change, begin anew, else a
    rate that changes for both arms alike looks like a difference (Simpson's paradox).

    Args:
        hits: Hits of the arm, and ``of`` how many events.
        of: Events of the arm.
        other_hits: Hits of the other arm.
        other_of: Events of the other arm.
        ratio: The rate of the arm divided by that of the other, above 0.
    """
    hits, misses = _split(hits, of)
    others, other_misses = _split(other_hits, other_of)
    priors = [_beta(mean) for mean in _MEANS]
    mixed = [_marginal(hits, misses, *prior) + _marginal(others, other_misses, *prior) for prior in priors]
    return _mean(mixed) - _greatest_likelihood(hits, misses, others, other_misses, np.asarray(ratio, np.float64))


def _greatest_likelihood(
    hits: Numbers, misses: Numbers, others: Numbers, other_misses: Numbers, ratio: Numbers
) -> Numbers:
    """Over all rates of the other arm, of which the arm has ``ratio`` times as much: the root of a quadratic."""
    both = hits + others
    of = both + misses + other_misses
    half = (both * (1 + ratio) + ratio * misses + other_misses) / 2
    root = np.sqrt(np.maximum(half**2 - ratio * of * both, 0.0))
    rate = np.minimum(both / np.where(of > 0, half + root, 1.0), 1.0)
    return _likelihood(hits, misses, np.minimum(ratio * rate, 1.0)) + _likelihood(others, other_misses, rate)


def log_e_split(counts: ArrayLike, weights: ArrayLike, concentration: float = 100.0) -> Numbers:
    """The logarithm of an e-process against "each unit falls into arm i with probability ``weights[i]``".

    A Dirichlet around the weights is mixed over (Lindon, Malek, *Anytime-Valid Inference for Multinomial Count Data*,
    NeurIPS 2022). Units must be independent: count each entity once, as all its events have one arm.

    Args:
        counts: Units of each arm, on the last axis.
        weights: The declared probabilities, above 0, which sum up to 1.
        concentration: How near to the weights a wrong split is expected: about one over the variance of its error.

    Raises:
        ValueError: if the weights are not probabilities that sum up to 1.
    """
    counts, weights = np.asarray(counts, np.float64), np.asarray(weights, np.float64)
    if not (weights > 0).all() or abs(weights.sum() - 1) > 1e-9:
        raise ValueError(f"weights must be above 0 and sum up to 1, not {weights.tolist()}")
    prior = concentration * weights
    gained: Numbers = special.gammaln(prior + counts) - special.gammaln(prior) - counts * np.log(weights)
    total = counts.sum(axis=-1)
    rest: Numbers = special.gammaln(concentration) - special.gammaln(concentration + total)
    log_e: Numbers = gained.sum(axis=-1) + rest
    return log_e


def asymptotic_reach(n: ArrayLike, variance: ArrayLike, alpha: float, best_at: int) -> Numbers:
    """How far an asymptotic confidence sequence of a mean reaches to either side of the running mean.

    Robbins' normal mixture with the estimated variance (Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas, *Time-uniform
    Central Limit Theory and Asymptotic Confidence Sequences*, Ann. Statist. 2024, Theorem 2.2). It needs independent
    values with a little more than two moments. Its guarantee is a limit for a late start: nothing may be decided before
    the central limit theorem holds.

    Args:
        n: How many values, at least 1.
        variance: Their mean squared distance from their mean.
        alpha: The probability of ever missing the mean.
        best_at: The number of values at which the sequence shall be narrowest.
    """
    n, variance = np.asarray(n, np.float64), np.asarray(variance, np.float64)
    # The best precision of the mixture at that number, by Lambert's function (ibid., appendix).
    rho: float = (-special.lambertw(-(alpha**2) / np.e, -1).real - 1) / best_at
    grown = n * rho + 1
    reach: Numbers = np.sqrt(variance * grown * np.log(grown / alpha**2) / rho) / n
    return reach


def log_mixture(logs: ArrayLike, axis: int) -> Numbers:
    """The logarithm of the mean of values that are given by their logarithms."""
    logs = np.asarray(logs, np.float64)
    mixed: Numbers = special.logsumexp(logs, axis=axis) - np.log(logs.shape[axis])
    return mixed


def _beta(mean: float) -> tuple[float, float]:
    return 0.5, 0.5 / mean - 0.5


def _proper(bound: float) -> float:
    if not 0 < bound < 1:
        raise ValueError(f"a bound of a rate must be above 0 and below 1, not {bound:g}")
    return bound


def _split(hits: ArrayLike, of: ArrayLike) -> tuple[Numbers, Numbers]:
    hits = np.asarray(hits, np.float64)
    return hits, np.asarray(of, np.float64) - hits


def _marginal(hits: Numbers, misses: Numbers, a: float, b: float) -> Numbers:
    marginal: Numbers = special.betaln(a + hits, b + misses) - special.betaln(a, b)
    return marginal


def _likelihood(hits: Numbers, misses: Numbers, rate: float | Numbers) -> Numbers:
    likelihood: Numbers = special.xlogy(hits, rate) + special.xlog1py(misses, -rate)
    return likelihood


def _mean(logs: list[Numbers]) -> Numbers:
    return log_mixture(np.stack(np.broadcast_arrays(*logs)), axis=0)
