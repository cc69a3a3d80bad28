"""Bins, quantiles and bars beside NumPy on the values themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from backfill.profiling.bins import NULL, Bins, choose_bins

FLOATS = arrays.arrays(np.float64, st.integers(1, 200), elements=st.floats(allow_nan=False, allow_infinity=False))
INTEGERS = arrays.arrays(np.int64, st.integers(1, 200))
REAL = {
    "normal": lambda generator: generator.normal(size=20_000),
    "log-normal": lambda generator: generator.lognormal(0, 3, 20_000),
    "with zeros": lambda generator: generator.lognormal(0, 3, 20_000) * (generator.random(20_000) < 0.4),
    "far outliers": lambda generator: np.append(generator.normal(size=20_000), [1e6, -1e9]),
    "counts": lambda generator: generator.poisson(3, 20_000),
    "large counts": lambda generator: generator.integers(0, 10**9, 20_000),
    "heavy counts": lambda generator: np.floor(generator.lognormal(3, 3, 20_000)).astype(np.int64),
    "a constant": lambda _: np.full(100, 7.5),
}


def counts_of(bins: Bins, values: Any) -> Any:
    return np.bincount(bins.codes(values, np.ones(len(values), bool)), minlength=bins.size)


def binned(values: Any) -> tuple[Bins, Any]:
    bins = choose_bins(values, values.min().item(), values.max().item())
    return bins, counts_of(bins, values)


@given(st.one_of(FLOATS, INTEGERS))
def test_quantiles_of_few_values_are_exact(values: Any) -> None:
    bins, counts = binned(values)
    for q in (0.01, 0.28, 0.5, 0.9, 0.99):
        assert bins.quantile(counts, q) == np.sort(values)[-(-round(q * 100) * len(values) // 100) - 1]


def test_the_rank_of_a_quantile_is_that_of_the_decimal_that_was_written() -> None:
    bins, counts = binned(np.arange(1.0, 26.0))
    assert bins.quantile(counts, 0.28) == 7


@given(st.one_of(FLOATS, INTEGERS))
def test_bars_hold_every_row_once_within_their_ends(values: Any) -> None:
    bins, counts = binned(values)
    bars = bins.histogram(counts)
    assert sum(bar.rows for bar in bars) == len(values)
    for place, bar in enumerate(bars):
        inside = (values > bar.low) & (values <= bar.high) if place else (values >= bar.low) & (values <= bar.high)
        assert bar.rows == inside.sum()


@pytest.mark.parametrize("kind", REAL)
def test_quantiles_of_many_values_are_off_by_less_than_a_bin(kind: str) -> None:
    values = REAL[kind](np.random.default_rng(1))
    bins, counts = binned(values)
    for q in (0.01, 0.1, 0.5, 0.9, 0.99):
        found = bins.quantile(counts, q)
        low, high = (values < found).mean(), (values <= found).mean()
        assert low - 0.004 <= q <= high + 0.004


@pytest.mark.parametrize(
    ("kind", "scale"),
    [
        ("normal", "linear"),
        ("log-normal", "logarithmic"),
        ("with zeros", "logarithmic"),
        ("far outliers", "clipped"),
        ("counts", "values"),
        ("large counts", "linear"),
        ("heavy counts", "logarithmic"),
        ("a constant", "values"),
    ],
)
def test_the_picture_fits_the_values(kind: str, scale: str) -> None:
    bins, _ = binned(REAL[kind](np.random.default_rng(1)))
    assert bins.scale == scale
    assert len(bins.bars) <= 33


def test_zeros_beside_a_heavy_tail_have_a_bar_of_their_own() -> None:
    values = REAL["with zeros"](np.random.default_rng(1))
    bins, counts = binned(values)
    assert bins.histogram(counts)[0] == (0, 0, (values == 0).sum())


def test_no_bar_of_a_normal_or_heavy_picture_hides_most_rows() -> None:
    for kind in ("normal", "log-normal", "far outliers", "large counts"):
        values = REAL[kind](np.random.default_rng(1))
        bins, counts = binned(values)
        assert max(bar.rows for bar in bins.histogram(counts)) < 0.2 * len(values), kind


def test_integers_beyond_what_a_double_holds_are_told_apart() -> None:
    base = 2**53
    values = np.array([base, base + 1, base + 1, base + 2, -(2**63), 2**63 - 1])
    bins, counts = binned(values)
    assert [bar.rows for bar in bins.histogram(counts)] == [1, 1, 2, 1, 1]
    assert bins.quantile(counts, 0.5) == base + 1


def test_infinities_and_nulls_have_codes_of_their_own() -> None:
    values = np.array([1.0, np.inf, -np.inf, np.nan, 5.0, 2.0])
    bins = choose_bins(np.array([1.0, 2.0]), 1.0, 2.0)
    codes = bins.codes(values, np.array([True, True, True, True, False, True]))
    assert codes[[1, 2, 3, 4]].tolist() == [bins.size - 1, 1, NULL, NULL]
    counts = np.bincount(codes, minlength=bins.size)
    assert [bins.quantile(counts, q) for q in (0.01, 0.3, 0.99)] == [-np.inf, 1.0, np.inf]
    assert sum(bar.rows for bar in bins.histogram(counts)) == 2


def test_a_feature_without_any_finite_value_has_no_bars() -> None:
    bins = choose_bins(np.empty(0), None, None)
    counts = np.bincount(bins.codes(np.array([np.inf, np.nan, -np.inf]), np.ones(3, bool)), minlength=bins.size)
    assert bins.histogram(counts) == ()
    assert bins.commonest(counts) is None
    assert bins.quantile(counts, 0.5) == -np.inf
    assert bins.quantile(np.zeros(bins.size, int), 0.5) is None


def test_values_outside_the_sample_are_counted_too() -> None:
    values = np.arange(100_000.0)
    bins = choose_bins(values[40_000:41_000], 0.0, 99_999.0)
    assert sum(bar.rows for bar in bins.histogram(counts_of(bins, values))) == 100_000


def test_the_commonest_value_is_counted_exactly_between_close_ones() -> None:
    generator = np.random.default_rng(5)
    values = np.concatenate([generator.normal(0, 1e-9, 30_000), np.zeros(20_000)])
    bins, counts = binned(values)
    assert bins.commonest(counts) == (0, 20_000)


def test_without_a_common_value_there_is_no_commonest() -> None:
    bins, counts = binned(np.random.default_rng(6).normal(size=20_000))
    assert bins.commonest(counts) is None


def test_a_quantile_just_below_a_common_value_is_one_that_the_feature_has() -> None:
    values = np.concatenate([np.random.default_rng(7).normal(-5, 1, 10_000), np.zeros(10_000)])
    bins, counts = binned(values)
    for q in np.arange(1, 100) / 100:
        assert bins.quantile(counts, q.item()) in values
