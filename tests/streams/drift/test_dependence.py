"""The correlation time of a reference is found, rhythms aside, and few independent levels widen thresholds."""

from __future__ import annotations

import numpy as np
import pytest

from streams.drift.dependence import MOST_WIDENING, correlation_ms, support, widening
from tests.bench.drift_streams import DAY_MS, stream


@pytest.mark.parametrize(
    ("kind", "least", "most"),
    [
        ("independent", 0, 0),
        ("heavy_tails", 0, 0),
        ("rare_categories", 0, 0),
        ("ar1_6h", 0.15, 0.75),  # coarse intervals may make it seem longer
        ("ar1_1d", 0.5, 2.5),
        ("ar1_2d", 1, 4.5),
        ("ar1_2d_half_noise", 1, 4.5),
        ("seasonal", 0, 0.25),  # 2 days and more if rhythms counted
    ],
)
def test_the_time_within_which_correlation_falls_to_a_third_is_found(kind, least, most):
    days = []
    for seed in range(5):
        times, values = stream(kind, 84, 250, seed)
        values = np.clip(values, -5, 5)
        days.append(correlation_ms(times[~np.isnan(values)], values[~np.isnan(values)]) / DAY_MS)
    assert least <= np.median(days) <= most


def test_fewer_independent_levels_and_rarer_ones_widen_more():
    factors = [widening(samples, 1e-4) for samples in (1_000, 100, 30, 10, 3)]
    assert factors == sorted(factors)
    assert factors[0] == pytest.approx(1, abs=0.02)
    assert factors[-1] > 10
    assert widening(30, 1e-6) > widening(30, 1e-4)
    assert widening(2, 1e-4) == np.inf


@pytest.mark.parametrize(("kind", "suffices"), [("ar1_6h", True), ("ar1_2d", False), ("ar1_10d", False)])
def test_six_weeks_suffice_for_a_correlation_of_hours_and_not_of_days(kind, suffices):
    times, values = stream(kind, 42, 250, 3)
    found = support(times, values, 1e4 * DAY_MS)
    assert found.suffices is suffices
    assert (found.widening <= MOST_WIDENING) is suffices
    # It says how long a reference it takes, and that is longer than this one exactly if this one does not suffice.
    assert (found.needs_ms > 42 * DAY_MS) is not suffices


def test_a_reference_that_is_too_short_hardly_ever_seems_long_enough_by_chance():
    references = (stream("ar1_1d", 42, 100, seed) for seed in range(100, 140))
    assert sum(support(times, values, 1e4 * DAY_MS).suffices for times, values in references) <= 3


def test_values_that_are_constant_missing_few_or_of_one_time_have_no_correlation():
    times = np.arange(1_000) * 60_000
    for values in (np.zeros(1_000), np.full(1_000, np.nan)):
        assert support(times, values, 1e9).widening == 1
    assert correlation_ms(times[:50], np.arange(50.0)) == 0
    assert correlation_ms(np.zeros(1_000, np.int64), np.arange(1_000.0)) == 0
    assert support(times[:0], np.zeros(0), 1e9).suffices
