"""Limits are exceeded as seldom as the budget says, and what cannot keep it is refused."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from streams.drift.data_quality.limits import (
    Budget,
    RefusedError,
    distinct_limits,
    rhythm_of,
    share_limit,
    silence_limit,
    volume_limits,
)

WINDOW = 500
BUDGET = Budget(records=50_000.0, rate=1 / 60_000)  # one window in a hundred may be over


def windows(shares: object) -> tuple[np.ndarray, np.ndarray]:
    values = np.asarray(shares, float)
    return values, np.arange(len(values), dtype=np.int64) * 3_600_000


def test_a_limit_of_independent_records_is_binomial():
    rng = np.random.default_rng(1)
    mean, limit = share_limit(*windows(rng.binomial(WINDOW, 0.1, 300) / WINDOW), WINDOW, BUDGET)
    assert mean == pytest.approx(0.1, abs=0.003)
    assert stats.binom.sf(round(limit * WINDOW), WINDOW, 0.1) < 0.01
    assert limit < 0.16


def test_a_limit_of_windows_that_differ_is_exceeded_as_seldom():
    rng = np.random.default_rng(1)
    shares = rng.binomial(WINDOW, rng.beta(4, 36, 20_000)) / WINDOW
    over = [(shares[300:] > share_limit(*windows(shares[:300]), WINDOW, BUDGET)[1]).mean()]
    assert over[0] < 0.01


def test_what_never_occurred_may_still_occur_a_few_times():
    assert 0 < share_limit(*windows(np.zeros(100)), WINDOW, BUDGET)[1] < 0.01


def test_no_limit_is_below_what_there_was():
    shares = np.zeros(100)
    shares[50] = 0.4
    assert share_limit(*windows(shares), WINDOW, BUDGET)[1] >= 0.4


@pytest.mark.parametrize(
    ("shares", "why"),
    [
        (np.ones(50), "a share of 100% is nothing unusual"),
        (np.zeros(3), "3 windows are too few"),
        (np.repeat([0.1, 0.4], 100), "it stays correlated for"),
    ],
    ids=["all", "few", "a level that changed once"],
)
def test_a_share_is_refused(shares, why):
    with pytest.raises(RefusedError, match=why):
        share_limit(*windows(shares), WINDOW, BUDGET)


def test_a_number_of_different_values_has_two_limits():
    rng = np.random.default_rng(1)
    expected, low, high = distinct_limits(*windows(rng.normal(100, 3, 200)), WINDOW, BUDGET)
    assert 99 < expected < 101
    assert (low, high) == (pytest.approx(expected / 1.5), pytest.approx(expected * 1.5))


@pytest.mark.parametrize(("days", "slots"), [(2, 1), (10, 24), (28, 168)])
def test_an_hour_is_compared_with_its_like_as_far_as_there_are_some(days, slots):
    hours = list(range(days * 24))
    assert len(rhythm_of(hours, [100] * len(hours)).expected) == slots


@pytest.mark.parametrize("mean", [5, 100])
def test_hours_and_days_of_a_calm_stream_are_over_as_seldom_as_the_budget_says(mean):
    hours, over = list(range(24 * 28)), 0
    for seed in range(3):
        rng = np.random.default_rng(seed)
        counts = rng.poisson(mean, len(hours)).tolist()
        budget = Budget(records=mean * 1e4, rate=mean / 3_600_000)  # once in 10,000 hours
        volume = volume_limits(rhythm_of(hours, counts), hours, counts, budget)
        later = list(enumerate(rng.poisson(mean, 10_000).tolist()))
        over += sum(abs(volume.deviation([one])) > volume.hour for one in later)
        over += sum(abs(volume.deviation(later[at : at + 24])) > volume.day for at in range(0, 9_900, 24))
    assert over <= 8


def test_half_the_volume_is_over_in_an_hour_or_in_a_day():
    rng = np.random.default_rng(1)
    hours, counts = list(range(24 * 28)), rng.poisson(100, 24 * 28).tolist()
    volume = volume_limits(rhythm_of(hours, counts), hours, counts, Budget(1e7, 100 / 3_600_000))
    assert volume.deviation([(0, 40)]) < -volume.hour
    assert volume.deviation([(hour, 60) for hour in range(24)]) < -volume.day


def test_missed_events_follow_the_rhythm():
    volume = rhythm_of(list(range(96)), [10 if hour % 24 < 12 else 0 for hour in range(96)])
    hour_ms = 3_600_000
    assert volume.missed(0, 24 * hour_ms) == pytest.approx(120)
    assert volume.missed(11 * hour_ms + hour_ms // 2, 20 * hour_ms) == pytest.approx(5)
    assert volume.missed(0, (3 * 168 + 1) * hour_ms) == pytest.approx(3 * 840 + 10)


def test_a_quiet_night_is_no_silence():
    rng = np.random.default_rng(1)
    days = np.arange(10)[:, None] * 86_400_000
    times = np.sort((days + rng.integers(0, 12 * 3_600_000, (10, 1_000))).ravel())
    counts = np.bincount(times // 3_600_000, minlength=240)[1:-1].tolist()
    rhythm = rhythm_of(list(range(1, 239)), counts)
    limit = silence_limit(rhythm, times, Budget(1e7, 1_000 / 86_400_000))
    assert rhythm.missed(12 * 3_600_000 - 60_000, 24 * 3_600_000 + 60_000) < limit
    assert limit < 100
