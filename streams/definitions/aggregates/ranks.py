"""Minimum, maximum and quantiles."""

from __future__ import annotations

import math
from collections.abc import Sequence

from streams.definitions.aggregates.signatures import of_column, of_column_and_q
from streams.definitions.aggregates.spec import AggregateSpec
from streams.definitions.aggregates.window_contents import WindowContents


def _at_rank(values: Sequence[float], share: float) -> float:
    """The least value v such that at least ``share`` of the values are <= v."""
    return sorted(values)[max(1, min(math.ceil(share * len(values)), len(values))) - 1]


def _quantile(window: WindowContents) -> float:
    assert window.feature.q is not None
    return _at_rank(window.numbers, window.feature.q)


def _kll_error(window: WindowContents) -> float:
    # A KLL with k = 200 has a rank error of 1.33 % at 99 % confidence; the tolerance is twice that (5 standard errors).
    if len(window.numbers) <= 200:
        return 0.0
    assert window.feature.q is not None
    value, q = _quantile(window), window.feature.q
    return max(value - _at_rank(window.numbers, q - 0.027), _at_rank(window.numbers, q + 0.027) - value)


min_ = AggregateSpec(
    name="min",
    signature=of_column,
    type="double",
    numeric=True,
    oracle=lambda window: min(window.numbers),
    summary="smallest value, as a double",
)
max_ = AggregateSpec(
    name="max",
    signature=of_column,
    type="double",
    numeric=True,
    oracle=lambda window: max(window.numbers),
    summary="largest value, as a double",
)
quantile = AggregateSpec(
    name="quantile",
    signature=of_column_and_q,
    type="double",
    numeric=True,
    oracle=_quantile,
    tolerance=_kll_error,
    summary="least value that a share of at least Q of all does not exceed, as a double; named `x_p95` for 0.95",
    agreement="exact to 200 values, else a value whose rank is within 2.7 % of Q (five standard errors)",
)
