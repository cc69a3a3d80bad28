"""Change, worth and correlation beside naive computations, SciPy and scikit-learn."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import mutual_info_score, roc_auc_score

from backfill.profiling.statistics import (
    alike,
    auc,
    information,
    merged,
    neighbours,
    pairs_beyond,
    psi,
    psi_by_chance,
    rank_correlation,
    spearman,
)

COUNTS = st.lists(st.integers(0, 40), min_size=2, max_size=8)
TABLES = st.integers(2, 6).flatmap(
    lambda width: st.lists(st.lists(st.integers(0, 20), min_size=width, max_size=width), min_size=2, max_size=6)
)


def rows_of(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The row and the column of everything that a table counts."""
    rows, columns = np.indices(table.shape)
    return np.repeat(rows.ravel(), table.ravel()), np.repeat(columns.ravel(), table.ravel())


def test_the_index_is_zero_for_equal_counts_and_grows_as_mass_moves() -> None:
    base = np.array([100, 100, 100])
    moved = [psi(base, np.array([100 - by, 100, 100 + by])) for by in (0, 20, 50, 90)]
    assert moved[0] == pytest.approx(0)
    assert moved == sorted(moved)
    p, q = (base + 0.5) / 301.5, (np.array([50, 100, 150]) + 0.5) / 301.5
    assert moved[2] == pytest.approx(sum((b - a) * np.log(b / a) for a, b in zip(p, q, strict=True)))


def test_an_empty_bin_does_not_make_the_index_infinite() -> None:
    assert np.isfinite(psi(np.array([100, 0]), np.array([0, 100])))


def test_samples_of_one_distribution_exceed_the_chance_limit_as_often_as_promised() -> None:
    generator, shares = np.random.default_rng(1), np.array([0.4, 0.3, 0.2, 0.05, 0.05])
    drawn = [(generator.multinomial(2_000, shares), generator.multinomial(400, shares)) for _ in range(2_000)]
    limit = psi_by_chance(2_000, 400, 5, 0.05)
    assert 0.035 < np.mean([psi(p, q) > limit for p, q in drawn]) < 0.065


@given(COUNTS.filter(any), COUNTS.filter(any))
def test_the_auc_is_that_of_scikit_learn(negatives: list[int], positives: list[int]) -> None:
    size = max(len(negatives), len(positives))
    table = np.array([one + [0] * (size - len(one)) for one in (negatives, positives)]).T
    values, labels = rows_of(table)
    found = auc(table[:, 0], table[:, 1], 0.05)
    assert found.estimate == pytest.approx(roc_auc_score(labels, values))
    assert 0 <= found.low <= found.estimate + 1e-9
    assert found.estimate - 1e-9 <= found.high <= 1


def test_the_interval_of_the_auc_has_the_truth_as_often_as_promised() -> None:
    generator, truth, inside = np.random.default_rng(2), stats.norm.cdf(1 / np.sqrt(2)), 0
    for _ in range(500):
        values = np.concatenate([generator.normal(0, 1, 150), generator.normal(1, 1, 30)])
        order = np.argsort(values)
        positive = (order >= 150).astype(int)
        found = auc(1 - positive, positive, 0.05)
        inside += found.low <= truth <= found.high
    assert 0.925 < inside / 500 < 0.985


def test_a_few_rows_that_all_agree_have_a_wide_interval() -> None:
    found = auc(np.array([5, 0]), np.array([0, 5]), 0.05)
    assert (found.estimate, found.high) == (1, 1)
    assert found.low < 0.75


def test_without_a_row_of_each_class_there_is_no_auc() -> None:
    assert np.isnan(auc(np.array([5, 3]), np.array([0, 0]), 0.05).estimate)


@given(TABLES)
def test_the_information_is_that_of_scikit_learn_less_its_bias(rows: list[list[int]]) -> None:
    table = np.array(rows)
    kept = table[table.sum(axis=1) > 0][:, table.sum(axis=0) > 0]
    found = information(table, 0.05)
    if min(kept.shape) == 0 or kept.shape[1] < 2:
        assert np.isnan(found.share.estimate)
        return
    columns = kept.sum(axis=0) / kept.sum()
    nats = mutual_info_score(*rows_of(table)) - (kept.shape[0] - 1) * (kept.shape[1] - 1) / (2 * kept.sum())
    assert found.share.estimate == pytest.approx(np.clip(nats / -(columns * np.log(columns)).sum(), 0, 1), abs=1e-9)
    assert found.share.low <= found.share.estimate <= found.share.high


def test_what_has_nothing_to_do_with_the_label_is_by_chance() -> None:
    generator = np.random.default_rng(3)
    tables = [generator.multinomial(2_000, np.full(20, 1 / 20)).reshape(10, 2) for _ in range(500)]
    chances = [information(table, 0.05).chance for table in tables]
    assert 0.03 < np.mean(np.array(chances) < 0.05) < 0.08


def test_a_label_that_is_known_is_all_the_information() -> None:
    found = information(np.diag([500, 500]), 0.05)
    assert found.share.estimate > 0.99
    assert found.chance < 1e-9


@given(TABLES)
def test_the_rank_correlation_of_a_table_is_that_of_scipy(rows: list[list[int]]) -> None:
    table = np.array(rows)
    found = rank_correlation(table, 0.05)
    x, y = rows_of(table)
    if len(x) < 4 or len(set(x)) < 2 or len(set(y)) < 2:
        assert np.isnan(found.estimate)
        return
    assert found.estimate == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-9)
    assert found.low - 1e-9 <= found.estimate <= found.high + 1e-9


def test_the_matrix_is_scipys_for_each_pair_on_the_rows_that_have_both() -> None:
    generator = np.random.default_rng(4)
    values = generator.normal(size=(300, 6)).round(1)
    values[:, 1] += values[:, 0]
    values[generator.random(300) < 0.2, :2] = np.nan  # two of one view
    values[generator.random(300) < 0.4, 3] = np.nan
    found = spearman(values)
    for i in range(6):
        for j in range(6):
            both = ~np.isnan(values[:, i]) & ~np.isnan(values[:, j])
            assert found[i, j] == pytest.approx(stats.spearmanr(values[both, i], values[both, j]).statistic)


def test_a_constant_and_columns_with_few_common_rows_have_no_correlation() -> None:
    values = np.array([[1.0, row, row if row < 20 else np.nan] for row in range(100)])
    found = spearman(values)
    assert np.isnan(found[0]).all()
    assert np.isnan(found[1, 2])
    assert found[1, 1] == pytest.approx(1)


def test_chains_of_strong_correlations_of_either_sign_are_one_group() -> None:
    rho = np.eye(6)
    for i, j, value in ((0, 2, 0.97), (2, 4, -0.99), (1, 5, 0.96), (3, 5, 0.9)):
        rho[i, j] = rho[j, i] = value
    rho[0, 3] = rho[3, 0] = np.nan
    assert alike(rho, 0.95) == ((0, 2, 4), (1, 5))
    assert pairs_beyond(rho, 0.95) == ((0, 2), (1, 5), (2, 4))


def test_similar_columns_are_neighbours() -> None:
    rho = np.eye(4)
    rho[0, 3] = rho[3, 0] = -0.9
    rho[1, 2] = rho[2, 1] = 0.8
    order = list(neighbours(rho))
    assert sorted(order) == [0, 1, 2, 3]
    assert abs(order.index(0) - order.index(3)) == abs(order.index(1) - order.index(2)) == 1


@given(st.lists(st.integers(0, 1_000), min_size=1, max_size=60), st.integers(2, 12))
def test_merged_bins_are_consecutive_and_no_more_than_asked_for(counts: list[int], groups: int) -> None:
    found = list(merged(np.array(counts), groups))
    assert found[0] == 0
    assert all(later - earlier in (0, 1) for earlier, later in pairwise(found))
    assert max(found) < groups


def test_merged_groups_have_about_equally_many_rows_and_a_heavy_bin_is_alone() -> None:
    assert list(merged(np.array([10] * 40), 10)) == [place // 4 for place in range(40)]
    assert list(merged(np.array([5, 900, 5, 45, 45]), 4)) == [0, 1, 2, 2, 2]
