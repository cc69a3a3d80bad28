"""The interval of a difference of shares is the one that it says, and holds as often as it says."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from backfill.label_status.shares import Share, difference


@settings(max_examples=50, deadline=None)
@given(
    before=st.tuples(st.integers(0, 80), st.integers(80, 90)), last=st.tuples(st.integers(0, 70), st.integers(70, 99))
)
def test_the_interval_of_a_difference_is_newcombes_of_the_intervals_that_scipy_has(
    before: tuple[int, int], last: tuple[int, int]
) -> None:
    of_before, of_last = (stats.binomtest(*share).proportion_ci(0.99, "wilson") for share in (before, last))
    p, q = before[0] / before[1], last[0] / last[1]
    low = q - p - math.hypot(q - of_last.low, of_before.high - p)
    high = q - p + math.hypot(of_last.high - q, p - of_before.low)
    assert difference(Share(*before), Share(*last)) == pytest.approx((low, high), abs=1e-5)


@pytest.mark.parametrize(("before", "last"), [(Share(0, 0), Share(5, 9)), (Share(5, 9), Share(0, 0))])
def test_without_events_any_difference_is_possible(before: Share, last: Share) -> None:
    assert difference(before, last) == (-1.0, 1.0)


def test_the_interval_holds_the_difference_in_99_of_100_samples() -> None:
    rng, misses = np.random.default_rng(3), 0
    for _ in range(2_000):
        low, high = difference(Share(int(rng.binomial(300, 0.1)), 300), Share(int(rng.binomial(200, 0.13)), 200))
        misses += not low <= 0.03 <= high
    assert misses <= 35
