"""Exponentially decayed counts, sums and means."""

from __future__ import annotations

import math

from streams.definitions.aggregates.rounding import ROUNDING, mean_error, sum_error
from streams.definitions.aggregates.signatures import of_column_and_half_life, of_rows_and_half_life
from streams.definitions.aggregates.spec import AggregateSpec
from streams.definitions.aggregates.window_contents import WindowContents


def _weights(window: WindowContents, at: int) -> list[float]:
    assert window.feature.half_life_ms is not None
    return [2.0 ** (-(at - time) / window.feature.half_life_ms) for time in window.times]


def _decayed_sum(window: WindowContents) -> float:
    return math.fsum(w * v for w, v in zip(_weights(window, window.as_of), window.numbers, strict=True))


def _decayed_mean(window: WindowContents) -> float:
    # Weights at the time of the newest value: at as_of all of them may underflow to zero.
    weights = _weights(window, max(window.times))
    return math.fsum(w * v for w, v in zip(weights, window.numbers, strict=True)) / math.fsum(weights)


decayed_count = AggregateSpec(
    name="decayed_count",
    signature=of_rows_and_half_life,
    type="double",
    empty=0.0,
    oracle=lambda window: math.fsum(_weights(window, window.as_of)),
    tolerance=lambda window: ROUNDING * len(window.matching),
    summary="matching events, each weighing ½ to the power (as_of − time)/H",
    agreement="1e-9 of the number",
)
decayed_sum = AggregateSpec(
    name="decayed_sum",
    signature=of_column_and_half_life,
    type="double",
    numeric=True,
    oracle=_decayed_sum,
    tolerance=sum_error,
    summary="sum of the values, each weighing ½ to the power (as_of − time)/H",
    agreement="1e-9 of the sum of magnitudes",
)
decayed_mean = AggregateSpec(
    name="decayed_mean",
    signature=of_column_and_half_life,
    type="double",
    numeric=True,
    oracle=_decayed_mean,
    tolerance=mean_error,
    summary="arithmetic mean of the values, each weighing ½ to the power (as_of − time)/H",
    agreement="1e-9 of the greatest magnitude",
)
