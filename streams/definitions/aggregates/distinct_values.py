"""The number of distinct values, and the frequency of this event's value."""

from __future__ import annotations

import math

from streams.definitions.aggregates.signatures import of_column, of_column_and_bound
from streams.definitions.aggregates.spec import AggregateSpec
from streams.definitions.aggregates.window_contents import WindowContents


def sketch_error(distinct: int, bound: int | None) -> float:
    """How far the estimate of so many distinct values may be off; exact up to ``bound``, and below 192.

    An HLL with lg k = 12 has a standard error of 1.6 %; the tolerance is five of them.
    """
    return 0.0 if distinct <= max(191, bound or 0) else math.ceil(0.08 * distinct)


def _hll_error(window: WindowContents) -> float:
    return sketch_error(len(window.distinct), window.feature.bound)


def _frequency_error(window: WindowContents) -> float:
    assert window.feature.bound is not None
    return 0.0 if len(window.distinct) <= window.feature.bound else len(window.matching) / (window.feature.bound + 1)


approx_distinct = AggregateSpec(
    name="approx_distinct",
    signature=of_column,
    type="long",
    empty=0,
    oracle=lambda window: len(window.distinct),
    tolerance=_hll_error,
    summary="number of distinct values by a sketch: HLL, lg k = 12, 1.6 % standard error",
    agreement="exact below 192 values, else 8 % (five standard errors)",
)
distinct = AggregateSpec(
    name="distinct",
    signature=of_column_and_bound,
    type="long",
    empty=0,
    oracle=lambda window: len(window.distinct),
    tolerance=_hll_error,
    summary="number of distinct values; more than `bound` are estimated as by `approx_distinct`",
    agreement="exact to the bound¹, else 8 %",
)
frequency = AggregateSpec(
    name="frequency",
    signature=of_column_and_bound,
    type="long",
    empty=0,
    depends_on_event=True,
    oracle=lambda window: sum(value == window.current for _, value in window.matching),
    tolerance=_frequency_error,
    summary="events with this event's x, itself included",
    when_empty="0, also if this event does not match",
    agreement="exact to `bound` distinct values, else too low by n / (bound + 1) of n at most",
)
