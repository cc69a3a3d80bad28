"""Minimum, maximum and quantiles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from streams.definitions.aggregates.signatures import of_column, of_column_and_q
from streams.definitions.aggregates.spec import AggregateSpec
from streams.definitions.aggregates.window_contents import WindowContents


def _at_rank(values: Sequence[float], share: Fraction) -> float:
    """The least value v such that at least ``share`` of the values are <= v."""
    return sorted(values)[max(1, min(math.ceil(share * len(values)), len(values))) - 1]


def _share(window: WindowContents) -> Fraction:
    """The share as the decimal that was written: as a double, 0.28 of 25 values is a little more than 7."""
    return Fraction(repr(window.feature.q))


def _quantile(window: WindowContents) -> float:
    return _at_rank(window.numbers, _share(window))


def _kll_error(window: WindowContents) -> float:
    # A KLL with k = 200 has a rank error of 1.33 % at 99 % confidence; the tolerance is twice that (5 standard errors).
    if len(window.numbers) <= 200:
        return 0.0
    value, q, margin = _quantile(window), _share(window), Fraction("0.027")
    return max(value - _at_rank(window.numbers, q - margin), _at_rank(window.numbers, q + margin) - value)


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
