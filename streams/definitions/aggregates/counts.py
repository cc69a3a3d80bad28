"""Counts of events, and their rate."""

from __future__ import annotations

from streams.definitions.aggregates.signatures import of_rows
from streams.definitions.aggregates.spec import AggregateSpec

count = AggregateSpec(
    name="count",
    signature=of_rows,
    type="long",
    empty=0,
    oracle=lambda window: len(window.matching),
    summary="rows, or rows in which x is not null",
)
rate = AggregateSpec(
    name="rate",
    signature=of_rows,
    type="double",
    empty=0.0,
    no_lifetime="a lifetime has no length for a rate; divide a count by time_since_first",
    oracle=lambda window: len(window.matching) / (window.feature.window_ms / 1000.0),
    summary="`count` per second of the window's length",
)
