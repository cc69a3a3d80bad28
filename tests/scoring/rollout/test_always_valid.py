"""E-processes are worth at most 1 while the null hypothesis is true, and agree with other implementations.

``ville.json`` has the results of ville 0.1.0, an independent implementation, on the data that it names.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import integrate, stats

from scoring.rollout.always_valid import (
    asymptotic_reach,
    log_e_above,
    log_e_below,
    log_e_rate,
    log_e_ratio,
    log_e_split,
    log_mixture,
)

VILLE = json.loads((Path(__file__).parent / "ville.json").read_text())
SEQUENCES = np.array(list(itertools.product((0, 1), repeat=10)))


def expected(log_e: np.ndarray, outcomes: np.ndarray, rate: float | np.ndarray) -> float:
    """The expected value over all sequences of hits, each with its probability."""
    return float(np.exp(log_e) @ np.prod(np.where(outcomes == 1, rate, 1 - np.asarray(rate)), axis=1))


def worth_when_stopped(log_e: np.ndarray, outcomes: np.ndarray, rate: float, at: float) -> float:
    """The expected value if one stops as soon as an e-process is worth ``at``; ``log_e`` is [sequences, events]."""
    reached = log_e >= np.log(at)
    stop = np.where(reached.any(axis=1), reached.argmax(axis=1), log_e.shape[1] - 1)
    return expected(log_e[np.arange(len(log_e)), stop], outcomes, rate)


@pytest.mark.parametrize("bound", [0.02, 0.3, 0.9])
@pytest.mark.parametrize("at", [1.2, 3.0, 100.0])
def test_whenever_one_stops_evidence_of_a_high_rate_is_worth_at_most_1_if_the_rate_is_low(
    bound: float, at: float
) -> None:
    log_e = log_e_above(SEQUENCES.cumsum(axis=1), np.arange(1, 11), bound)
    assert worth_when_stopped(log_e, SEQUENCES, bound, at) == pytest.approx(1)
    assert worth_when_stopped(log_e, SEQUENCES, 0.7 * bound, at) < 1
    assert worth_when_stopped(log_e, SEQUENCES, (1 + bound) / 2, at) > 1


@pytest.mark.parametrize("bound", [0.1, 0.7, 0.98])
@pytest.mark.parametrize("at", [1.2, 3.0, 100.0])
def test_whenever_one_stops_evidence_of_a_low_rate_is_worth_at_most_1_if_the_rate_is_high(
    bound: float, at: float
) -> None:
    log_e = log_e_below(SEQUENCES.cumsum(axis=1), np.arange(1, 11), bound)
    assert worth_when_stopped(log_e, SEQUENCES, bound, at) == pytest.approx(1)
    assert worth_when_stopped(log_e, SEQUENCES, (1 + bound) / 2, at) < 1
    assert worth_when_stopped(log_e, SEQUENCES, bound / 2, at) > 1


def test_a_rate_that_wanders_below_the_bound_is_no_evidence() -> None:
    wandering = np.linspace(0.0, 0.3, 10)
    assert expected(log_e_above(SEQUENCES.sum(axis=1), 10, 0.3), SEQUENCES, wandering) < 1


@pytest.mark.parametrize("rate", [0.001, 0.2, 0.5])
@pytest.mark.parametrize("at", [1.5, 20.0])
def test_evidence_against_a_rate_is_worth_1_if_it_is_the_rate(rate: float, at: float) -> None:
    log_e = log_e_rate(SEQUENCES.cumsum(axis=1), np.arange(1, 11), rate)
    assert worth_when_stopped(log_e, SEQUENCES, rate, at) == pytest.approx(1)


@pytest.mark.parametrize("ratio", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("other", [0.01, 0.2, 0.33])
@pytest.mark.parametrize("at", [1.1, 5.0])
def test_evidence_against_a_ratio_is_worth_at_most_1_if_it_is_the_ratio(ratio: float, other: float, at: float) -> None:
    arm = np.array([1, 0, 0, 1, 1, 0, 1, 0, 0, 1], bool)
    of, hits = arm.cumsum(), (SEQUENCES * arm).cumsum(axis=1)
    log_e = log_e_ratio(hits, of, (SEQUENCES * ~arm).cumsum(axis=1), np.arange(1, 11) - of, ratio)
    assert worth_when_stopped(log_e, SEQUENCES, np.where(arm, ratio * other, other), at) <= 1
    far = (0.01, 0.99) if ratio > 1 else (0.99, 0.01)
    assert worth_when_stopped(log_e, SEQUENCES, np.where(arm, *far), at) > 1


@pytest.mark.parametrize("counts", [(3, 40, 5, 200, 1.0), (0, 40, 5, 200, 2.0), (4, 4, 3, 3, 0.5), (0, 0, 3, 9, 3.0)])
def test_the_denominator_of_a_ratio_is_the_greatest_likelihood(counts: tuple[int, int, int, int, float]) -> None:
    hits, of, others, other_of, ratio = counts
    rates = np.linspace(0, min(1, 1 / ratio), 200_001)
    likelihood = stats.binom.logpmf(hits, of, ratio * rates) + stats.binom.logpmf(others, other_of, rates)

    def marginal(hits: int, of: int, mean: float) -> float:
        return float(np.log(stats.betabinom.pmf(hits, of, 0.5, 0.5 / mean - 0.5)))

    means = (0.5, 0.05, 0.005, 0.0005, 0.00005)
    mixed = np.logaddexp.reduce([marginal(hits, of, one) + marginal(others, other_of, one) for one in means])
    found = log_e_ratio(hits, of, others, other_of, ratio)
    assert float(found) == pytest.approx(mixed - np.log(5) - likelihood.max(), abs=1e-6)


@pytest.mark.parametrize(("hits", "of", "bound"), [(3, 355, 0.001), (0, 100, 0.02), (6, 50, 0.04)])
def test_a_mixture_over_rates_is_the_integral_of_likelihood_ratios(hits: int, of: int, bound: float) -> None:
    def integral(prior: stats.rv_continuous, low: float, high: float) -> float:
        def value(log_rate: float) -> float:
            rate = np.exp(log_rate)
            log_ratio = hits * np.log(rate / bound) + (of - hits) * np.log1p(-rate) - (of - hits) * np.log1p(-bound)
            return float(np.exp(log_ratio + prior.logpdf(rate)) * rate)

        points = np.linspace(np.log(low), np.log(high), 40)
        parts = [integrate.quad(value, *pair)[0] for pair in itertools.pairwise(points)]
        return sum(parts) / float(prior.cdf(high) - prior.cdf(low))

    mean = min(10 * bound, (1 + bound) / 2)
    above = integral(stats.beta(0.5, 0.5 / mean - 0.5), bound, 1 - 1e-12)
    below = integral(stats.beta(0.5, 0.5 / bound - 0.5), 1e-14, bound)
    assert float(log_e_above(hits, of, bound)) == pytest.approx(np.log(above), abs=1e-4)
    assert float(log_e_below(hits, of, bound)) == pytest.approx(np.log(below), abs=1e-4)


@pytest.mark.parametrize("bound", [0.0, 1.0, -0.1, float("nan")])
def test_a_bound_that_is_no_rate_is_refused(bound: float) -> None:
    with pytest.raises(ValueError, match="above 0 and below 1"):
        log_e_above(1, 10, bound)


def test_evidence_against_a_split_is_worth_1_if_it_is_the_split() -> None:
    sequences = np.array(list(itertools.product(range(3), repeat=6)))
    weights = np.array([0.7, 0.2, 0.1])
    counts = np.stack([(sequences == arm).sum(axis=1) for arm in range(3)], axis=-1)
    probabilities = np.prod(weights[sequences], axis=1)
    assert probabilities.sum() == pytest.approx(1)
    assert np.exp(log_e_split(counts, weights, 4.0)) @ probabilities == pytest.approx(1)


def test_weights_that_do_not_sum_up_to_1_are_refused() -> None:
    with pytest.raises(ValueError, match="sum up to 1"):
        log_e_split((1, 2), (0.5, 0.6))


def test_evidence_against_a_rate_is_that_of_ville() -> None:
    of = np.array(VILLE["looks"])
    hits = np.searchsorted(VILLE["hits"], of)
    expected = log_mixture(list(VILLE["log_e_of_prior_means"].values()), axis=0)
    np.testing.assert_allclose(log_e_rate(hits, of, VILLE["rate"]), expected, rtol=1e-9)


def test_evidence_against_a_split_is_that_of_ville() -> None:
    of = np.array(VILLE["looks"])
    hits = np.searchsorted(VILLE["hits"], of)
    weight = VILLE["split_weight"]
    found = log_e_split(np.stack([hits, of - hits], axis=-1), (weight, 1 - weight))
    np.testing.assert_allclose(found, VILLE["split_log_e"], rtol=1e-9, atol=1e-12)


def test_an_asymptotic_confidence_sequence_is_as_wide_as_that_of_ville() -> None:
    differences, n = np.array(VILLE["differences"]), np.array(VILLE["mean_looks"])
    # ville divides by n - 1.
    variance = np.array([differences[:one].var(ddof=1) for one in n])
    reach = asymptotic_reach(n, variance, VILLE["alpha"], VILLE["best_at"])
    mean = np.array([differences[:one].mean() for one in n])
    np.testing.assert_allclose(mean - reach, VILLE["mean_low"], rtol=1e-5)
    np.testing.assert_allclose(mean + reach, VILLE["mean_high"], rtol=1e-5)


def test_an_asymptotic_confidence_sequence_narrows_and_is_narrowest_where_it_shall_be() -> None:
    n = np.arange(10, 20_000)
    reach = asymptotic_reach(n, 1.0, 0.01, 1_000)
    assert (np.diff(reach) < 0).all()
    at_1_000 = [float(asymptotic_reach(1_000, 1.0, 0.01, best_at)) for best_at in (500, 900, 1_000, 1_100, 2_000)]
    assert min(at_1_000) == at_1_000[2]
