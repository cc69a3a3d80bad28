"""Aggregates with list values: first, last, largest, smallest and most frequent values, and histograms."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from typing import Any

from streams.definitions.aggregates.signatures import of_column_and_buckets, of_column_and_k
from streams.definitions.aggregates.spec import AggregateSpec
from streams.definitions.aggregates.window_contents import WindowContents

MAX_COUNTED_VALUES = 256
"""``most_frequent`` counts up to this number of distinct values exactly; see docs/concepts/semantics.md."""


def _by_time(window: WindowContents) -> list[Any]:
    """The values by event time; with equal times, in arrival order."""
    return [value for _, value in sorted(window.matching, key=lambda pair: pair[0])]


def _most_frequent(window: WindowContents) -> list[Any]:
    counts: list[tuple[Any, int]] = list(Counter(value for _, value in window.matching).items())
    return [value for value, _ in sorted(counts, key=lambda pair: (-pair[1], pair[0]))[: window.feature.k]]


def _most_frequent_error(window: WindowContents) -> float:
    # Lists have no distance, so any list passes here. tests/streams/kernel/test_semantics.py checks the error bound.
    return 0.0 if len(window.distinct) <= MAX_COUNTED_VALUES else math.inf


def _histogram(window: WindowContents) -> list[int]:
    assert window.feature.buckets is not None
    counts = Counter(bisect_right(window.feature.buckets, value) for value in window.numbers)
    return [counts[bucket] for bucket in range(len(window.feature.buckets) + 1)]


first_k = AggregateSpec(
    name="first_k",
    signature=of_column_and_k,
    type="column[]",
    oracle=lambda window: _by_time(window)[: window.feature.k],
    summary="the K values of the least event times, oldest first; ties as `first`",
)
last_k = AggregateSpec(
    name="last_k",
    signature=of_column_and_k,
    type="column[]",
    oracle=lambda window: _by_time(window)[::-1][: window.feature.k],
    summary="the K values of the greatest event times, newest first; ties as `last`",
)
top_k = AggregateSpec(
    name="top_k",
    signature=of_column_and_k,
    type="double[]",
    numeric=True,
    oracle=lambda window: sorted(window.numbers, reverse=True)[: window.feature.k],
    summary="the K largest values, as doubles, largest first; equal values each count",
)
bottom_k = AggregateSpec(
    name="bottom_k",
    signature=of_column_and_k,
    type="double[]",
    numeric=True,
    oracle=lambda window: sorted(window.numbers)[: window.feature.k],
    summary="the K smallest values, as doubles, smallest first; equal values each count",
)
most_frequent = AggregateSpec(
    name="most_frequent",
    signature=of_column_and_k,
    type="column[]",
    oracle=_most_frequent,
    tolerance=_most_frequent_error,
    summary="the K most frequent values, most frequent first; ties: the smaller value",
    agreement="exact up to 256 distinct values, then as below",
)
histogram = AggregateSpec(
    name="histogram",
    signature=of_column_and_buckets,
    type="long[]",
    numeric=True,
    empty=0,
    oracle=_histogram,
    summary="number of values in each bucket; B are the edges",
    when_empty="zeros",
)
