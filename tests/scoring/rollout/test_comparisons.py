"""Intervals of means and of their ratios hold the truth, and know nothing of too few."""

from __future__ import annotations

import numpy as np
import pytest

from scoring.rollout.always_valid import asymptotic_reach
from scoring.rollout.comparisons import counts_as, losses, mean, ratio_of_means
from scoring.rollout.evidence import Interval

ALPHA = 0.01


def pairs(n: int, ratio: float, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Positive values whose means have this ratio, alike for the same event."""
    both, own, other = np.random.default_rng(seed).exponential(size=(3, n))
    return ratio * (2 * both + own) / 3, (2 * both + other) / 3


@pytest.mark.parametrize("ratio", [0.5, 1.0, 1.05, 2.0])
def test_a_ratio_is_inside_of_its_interval(ratio: float) -> None:
    low, high = ratio_of_means(*pairs(5_000, ratio), ALPHA)
    assert low < ratio < high
    assert high - low < 0.2 * ratio


def test_a_ratio_is_seldom_ever_missed() -> None:
    looks, missed = range(200, 4_001, 200), 0
    for seed in range(200):
        values, others = pairs(4_000, 1.0, seed)
        intervals = [ratio_of_means(values[:n], others[:n], ALPHA) for n in looks]
        missed += any(not low <= 1.0 <= high for low, high in intervals)
    assert missed <= 6  # 1 % of 200 are 2; more than 6 come with a probability of 0.4 %


def test_the_edges_are_the_ratios_at_which_the_difference_is_just_excluded() -> None:
    values, others = pairs(1_000, 1.2)
    for edge in ratio_of_means(values, others, ALPHA):
        differences = values - edge * others
        reach = float(asymptotic_reach(len(values), differences.var(), ALPHA, 10_000))
        assert abs(differences.mean()) == pytest.approx(reach)


def test_the_same_values_have_a_ratio_of_one() -> None:
    values, _ = pairs(1_000, 1.0)
    assert ratio_of_means(values, values, ALPHA) == pytest.approx((1.0, 1.0))


def test_pairs_tell_more_than_the_same_values_in_another_order() -> None:
    values, others = pairs(2_000, 1.0)
    paired, unpaired = ratio_of_means(values, others, ALPHA), ratio_of_means(values, others[::-1], ALPHA)
    assert paired.high - paired.low < unpaired.high - unpaired.low


@pytest.mark.parametrize(
    ("values", "others"),
    [
        (np.ones(99), np.ones(99)),
        (np.ones(1_000), np.zeros(1_000)),
        (np.ones(1_000), np.eye(1, 1_000)[0]),
        (np.empty(0), np.empty(0)),
    ],
    ids=["too few", "nothing to divide by", "one that makes up all", "none"],
)
def test_nothing_is_known_of_a_ratio_of(values: np.ndarray, others: np.ndarray) -> None:
    assert ratio_of_means(values, others, ALPHA) == Interval(0.0, np.inf)


def test_a_mean_is_inside_of_its_interval() -> None:
    values, _ = pairs(5_000, 1.0)
    low, high = mean(values, ALPHA)
    assert low < 1.0 < high
    assert high - low < 0.2
    assert mean(values[:99], ALPHA) == Interval(0.0, np.inf)


def test_a_mean_that_a_few_make_up_counts_as_few() -> None:
    assert counts_as(np.ones(500)) == pytest.approx(500)
    assert counts_as(np.repeat([1.0, 1e-6], [3, 1_000])) == pytest.approx(3, rel=0.01)
    assert counts_as(np.zeros(5)) == 0


def test_losses_are_squared_errors_or_log_losses() -> None:
    scores, labels = np.array([0.2, 0.9, 0.0]), np.array([0.0, 1.0, 1.0])
    assert losses(scores, labels, "brier") == pytest.approx([0.04, 0.01, 1.0])
    assert losses(scores, labels, "log") == pytest.approx([-np.log(0.8), -np.log(0.9), -np.log(1e-6)])
