"""The statistics of a profile: change, worth for a label, correlation. Pure, and computed from counts.

A table of counts has a row for each group of a feature's values, in ascending order, and a column for each group of
labels. All intervals are two-sided, and miss the truth with probability ``alpha`` if rows are independent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats
from scipy.cluster import hierarchy

from scoring.gates.statistics import Interval
from scoring.ranking import area

Counts = NDArray[np.int64]
Numbers = NDArray[np.float64]

NO_INTERVAL = Interval(np.nan, np.nan, np.nan)
# Fewer common rows say nothing of a correlation.
_LEAST_COMMON = 30


def psi(reference: Counts, counts: Counts) -> float:
    """The population stability index of two histograms with the same bins: 0 if their shares are equal.

    Half a row is added to each bin, so that an empty bin does not make it infinite.
    """
    p, q = (one + 0.5 for one in (reference, counts))
    p, q = p / p.sum(), q / q.sum()
    return float(((q - p) * np.log(q / p)).sum())


def psi_by_chance(reference_rows: int, rows: int, bins: int, alpha: float) -> float:
    """The index that two samples of one distribution exceed with probability ``alpha``.

    It is about chi-squared, times 1/n + 1/m (Yurdakul 2018).
    """
    return float(stats.chi2.ppf(1 - alpha, max(bins - 1, 1))) * (1 / reference_rows + 1 / rows)


def auc(negatives: Counts, positives: Counts, alpha: float) -> Interval:
    """The chance that a positive row has a greater value than a negative one; ties count half.

    The arguments are the rows of each group of values, in ascending order. The interval is method 5 of Newcombe (2006):
    it stays within [0, 1], and has a width also where all pairs agree. NaN without a row of each class.
    """
    n, m = int(negatives.sum()), int(positives.sum())
    if not n or not m:
        return NO_INTERVAL
    estimate = float(area(negatives.astype(np.float64), positives.astype(np.float64)))
    return Interval(estimate, _auc_low(estimate, n, m, alpha), 1 - _auc_low(1 - estimate, n, m, alpha))


def _auc_low(estimate: float, n: int, m: int, alpha: float) -> float:
    reach, other = float(stats.norm.ppf(1 - alpha / 2)), (n + m) / 2 - 1

    def excess(low: float) -> float:
        variance = low * (1 - low) * (1 + other * (1 - low) / (2 - low) + other * low / (1 + low)) / (n * m)
        return estimate - low - reach * float(np.sqrt(variance))

    if estimate <= 0:
        return 0.0
    # At 1 the variance is 0, which would be a solution, too.
    return float(optimize.brentq(excess, 0.0, min(estimate, 1 - 1e-12)))


class Information(NamedTuple):
    """Which share of the uncertainty about the label a feature takes away: 0 for none, 1 for all.

    ``share`` has the bias of small samples removed (Miller and Madow). ``chance`` is the probability of as much for a
    feature that has nothing to do with the label, by the G-test.
    """

    share: Interval
    chance: float


def information(table: Counts, alpha: float) -> Information:
    """The mutual information of the rows and columns of a table, as a share of the entropy of the columns."""
    table = table[table.sum(axis=1) > 0][:, table.sum(axis=0) > 0]
    if min(table.shape, default=0) == 0 or table.shape[1] < 2:
        return Information(NO_INTERVAL, 1.0)
    n = float(table.sum())
    joint = table / n
    columns = joint.sum(axis=0)
    independent = joint.sum(axis=1, keepdims=True) * columns
    logs = np.log(np.where(joint > 0, joint, independent) / independent)
    nats = float((joint * logs).sum())
    entropy = -float((columns * np.log(columns)).sum())
    freedom = (table.shape[0] - 1) * (table.shape[1] - 1)
    chance = float(stats.chi2.sf(2 * n * nats, freedom)) if freedom else 1.0
    error = float(np.sqrt(max(float((joint * logs**2).sum()) - nats**2, 0.0) / n))
    reach = float(stats.norm.ppf(1 - alpha / 2)) * error
    estimate = nats - freedom / (2 * n)
    low, middle, high = (min(max(each / entropy, 0.0), 1.0) for each in (estimate - reach, estimate, estimate + reach))
    return Information(Interval(middle, low, high), chance)


def rank_correlation(table: Counts, alpha: float) -> Interval:
    """Spearman's correlation of the rows and columns of a table, with the interval of Fieller et al. (1957)."""
    n = int(table.sum())
    if n < 4:
        return NO_INTERVAL
    x, y = (_centred_ranks(table.sum(axis=axis)) for axis in (1, 0))
    spread = float(np.sqrt((table.sum(axis=1) @ x**2) * (table.sum(axis=0) @ y**2)))
    if spread == 0:
        return NO_INTERVAL
    estimate = float(np.clip(x @ table @ y / spread, -1, 1))
    reach = float(stats.norm.ppf(1 - alpha / 2) * np.sqrt(1.06 / (n - 3)))
    middle = float(np.arctanh(np.clip(estimate, -1 + 1e-12, 1 - 1e-12)))
    return Interval(estimate, *(float(np.tanh(middle + by)) for by in (-reach, reach)))


def _centred_ranks(counts: Counts) -> Numbers:
    """The mean rank of the rows in each group, less the mean of all ranks."""
    ranks: Numbers = np.cumsum(counts) - counts / 2 - counts.sum() / 2
    return ranks


def spearman(values: Numbers) -> Numbers:
    """The matrix of Spearman's correlations of columns, [n, k] to [k, k].

    Null is NaN; each pair is correlated on the rows that have both. NaN where fewer than 30 have, or one is constant.
    """
    count = values.shape[1]
    missing = np.isnan(values)
    by_nulls: dict[bytes, list[int]] = {}
    for place in range(count):
        by_nulls.setdefault(missing[:, place].tobytes(), []).append(place)
    groups, found = list(by_nulls.values()), np.full((count, count), np.nan)
    # Columns with the same nulls, as those of a view have, are ranked together.
    for i, left in enumerate(groups):
        for right in groups[i:]:
            common = ~(missing[:, left[0]] | missing[:, right[0]])
            if common.sum() < _LEAST_COMMON:
                continue
            a, b = (_unit_ranks(values[common][:, places]) for places in (left, right))
            block = np.clip(a.T @ b, -1, 1)
            found[np.ix_(left, right)] = block
            found[np.ix_(right, left)] = block.T
    return found


def _unit_ranks(values: Numbers) -> Numbers:
    """The ranks of each column, centred and of length 1; NaN for a constant."""
    ranks: Numbers = stats.rankdata(values, axis=0)
    ranks -= ranks.mean(axis=0)
    lengths = np.sqrt((ranks**2).sum(axis=0))
    unit: Numbers = ranks / np.where(lengths > 0, lengths, np.nan)
    return unit


def alike(matrix: Numbers, limit: float) -> tuple[tuple[int, ...], ...]:
    """The groups of columns that chains of correlations beyond ``limit``, of either sign, connect; largest first."""
    count = len(matrix)
    group = list(range(count))
    for i, j in pairs_beyond(matrix, limit):
        old, new = group[j], group[i]
        group = [new if one == old else one for one in group]
    members = [tuple(i for i in range(count) if group[i] == name) for name in dict.fromkeys(group)]
    return tuple(sorted((one for one in members if len(one) > 1), key=lambda one: (-len(one), one)))


def pairs_beyond(matrix: Numbers, limit: float) -> tuple[tuple[int, int], ...]:
    """The pairs i < j whose correlation, of either sign, is beyond ``limit``."""
    rows, columns = np.nonzero(np.triu(np.abs(np.nan_to_num(matrix)) > limit, 1))
    return tuple(zip(rows.tolist(), columns.tolist(), strict=True))


def neighbours(matrix: Numbers) -> tuple[int, ...]:
    """An order of the columns in which similar ones are next to each other, by average linkage."""
    if len(matrix) < 3:
        return tuple(range(len(matrix)))
    distances = 1 - np.abs(np.nan_to_num(matrix))
    upper = distances[np.triu_indices(len(matrix), 1)]
    return tuple(int(place) for place in hierarchy.leaves_list(hierarchy.linkage(upper, "average")))


def merged(counts: Counts, groups: int) -> Sequence[int]:
    """For each bin its group: consecutive bins of about equally many rows, in at most so many groups.

    A bin of more than its share is a group by itself.
    """
    total = int(counts.sum())
    share, group, rows = total / groups, 0, 0
    found = []
    for count in counts.tolist():
        if rows and (rows + count > share * 1.5 or rows >= share) and group < groups - 1:
            group, rows = group + 1, 0
        found.append(group)
        rows += count
    return found
