"""The statistics of the gates cover the truth as often as they say, by simulation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import LogisticRegression

from scoring.gates.statistics import (
    Interval,
    calibration_error,
    mean_interval,
    quantile_ratio,
    ratio_of_rates,
    recalibration,
    wilson,
)

RUNS = 400


def covered(interval: Callable[[np.random.Generator], Interval], truth: float, runs: int = RUNS) -> float:
    """How often an interval has the truth in it."""
    found = [interval(np.random.default_rng(seed)) for seed in range(runs)]
    return float(np.mean([low <= truth <= high for _, low, high in found]))


def least(alpha: float, runs: int = RUNS) -> float:
    """A share that chance goes below once in 10,000 times, if the interval keeps its alpha."""
    return float(stats.binom.ppf(1e-4, runs, 1 - alpha)) / runs


def test_the_interval_of_a_mean_is_students() -> None:
    values = np.array([1.0, 2.0, 4.0, 7.0])
    expected = stats.t.interval(0.95, 3, values.mean(), stats.sem(values))
    assert mean_interval(values, 0.05)[1:] == pytest.approx(expected)
    assert np.isnan(mean_interval(values[:1], 0.05).low)
    assert np.isnan(mean_interval(values[:0], 0.05).estimate)


@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_the_ratio_of_two_rates_is_covered(alpha: float) -> None:
    def interval(rng: np.random.Generator) -> Interval:
        return ratio_of_rates(int(rng.binomial(500, 0.08)), 500, int(rng.binomial(2_000, 0.1)), 2_000, alpha)

    assert covered(interval, 0.8) >= least(alpha)


@pytest.mark.parametrize(
    ("ratio", "others", "hits"), [(0.8, 1_000_000, 170), (0.8, 330, 330), (0.5, 1_000_000, 20), (0.5, 35, 35)]
)
def test_equal_rates_are_surely_within_the_ratio_from_the_numbers_of_hits_on_that_the_guide_gives(
    ratio: float, others: int, hits: int
) -> None:
    alpha = 0.05 / 3 / 4  # of three rates of four groups

    def between(own: int, other: int) -> bool:
        interval = ratio_of_rates(own, 100 * own, other, 100 * other, alpha)
        return ratio <= interval.low and interval.high <= 1 / ratio

    assert between(hits, others)
    assert not between(hits // 2, hits // 2 if others == hits else others)


def test_a_rate_of_zero_has_a_wide_interval_and_no_events_have_none() -> None:
    zero = ratio_of_rates(0, 50, 40, 400, 0.05)
    assert zero.low < 0.02 < zero.high
    assert np.isnan(ratio_of_rates(0, 0, 40, 400, 0.05).low)


def scores_and_labels(
    rng: np.random.Generator, n: int, slope: float, shift: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Scores, and labels whose logit is ``slope`` times the score's logit plus ``shift``."""
    logit = rng.normal(-1, 1, n)
    labels = rng.random(n) < 1 / (1 + np.exp(-(slope * logit + shift)))
    return 1 / (1 + np.exp(-logit)), labels.astype(np.float64)


@pytest.mark.parametrize(("slope", "shift"), [(1.0, 0.0), (0.6, 0.5), (1.5, -0.3)])
def test_the_line_of_the_recalibration_is_covered(slope: float, shift: float) -> None:
    def fitted(rng: np.random.Generator) -> tuple[Interval, Interval]:
        return recalibration(*scores_and_labels(rng, 800, slope, shift), 0.05)

    assert covered(lambda rng: fitted(rng)[0], slope) >= least(0.05)
    assert covered(lambda rng: fitted(rng)[1], shift) >= least(0.05)


def test_the_line_is_that_of_scikit_learn() -> None:
    scores, labels = scores_and_labels(np.random.default_rng(1), 2_000, 0.7, 0.2)
    logit = np.log(scores / (1 - scores))[:, None]
    model = LogisticRegression(C=np.inf).fit(logit, labels)
    found = recalibration(scores, labels, 0.05)
    assert (found.slope.estimate, found.intercept.estimate) == pytest.approx(
        (model.coef_[0, 0], model.intercept_[0]), abs=1e-3
    )


def test_scores_that_tell_the_classes_apart_without_error_have_a_line_all_the_same() -> None:
    labels = np.repeat([0.0, 1.0], 200)
    assert np.isfinite(recalibration(np.repeat([0.2, 0.8], 200), labels, 0.05).slope.estimate)
    assert np.isfinite(recalibration(labels, labels, 0.05).slope.estimate)


@pytest.mark.parametrize("shift", [0.0, 0.03, 0.05, 0.1])
def test_the_calibration_error_is_covered(shift: float) -> None:
    def interval(rng: np.random.Generator) -> Interval:
        scores = rng.uniform(0.2, 0.6, 2_000)
        labels = (rng.random(2_000) < scores + shift).astype(np.float64)
        return calibration_error(scores, labels, 0.05)

    assert covered(interval, shift) >= least(0.05)


def test_the_ratio_of_quantiles_is_covered() -> None:
    def interval(rng: np.random.Generator) -> Interval:
        return quantile_ratio(2 * rng.exponential(1, 400), rng.exponential(1, 400), 0.9, 0.1, seed=1)

    assert covered(interval, 2.0, runs=60) >= least(0.1, runs=60)


def test_wilson_is_the_textbooks():
    assert wilson(0.1, 100, 0.05) == pytest.approx((0.1, 0.0552, 0.1744), abs=1e-4)
    assert wilson(1.0, 20, 0.05).high == 1.0
    assert np.isnan(wilson(np.nan, 0, 0.05)).all()
