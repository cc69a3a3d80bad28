"""The plan model's own properties."""

from __future__ import annotations

from typing import Any

import pytest

from streams.plan.model import FeaturePlan

COUNT: dict[str, Any] = {
    "name": "f",
    "operation": "count",
    "column": None,
    "column_type": None,
    "where": None,
    "window_ms": 1_000,
    "hop_ms": 10,
    "type": "long",
}
OF_X = COUNT | {"column": "x", "column_type": "double", "type": "double"}


@pytest.mark.parametrize(
    ("changes", "call"),
    [
        (COUNT, "count()"),
        (OF_X | {"operation": "mean"}, "mean(x)"),
        (OF_X | {"operation": "quantile", "q": 0.95}, "quantile(x, q=0.95)"),
        (OF_X | {"operation": "decayed_sum", "half_life_ms": 600_000}, "decayed_sum(x, half_life=10m)"),
        (COUNT | {"operation": "session_count", "gap_ms": 90_000}, "session_count(gap=90s)"),
        (OF_X | {"operation": "histogram", "buckets": (0, 0.5)}, "histogram(x, buckets=[0, 0.5])"),
    ],
)
def test_a_feature_is_shown_as_the_call_that_defines_it(changes: dict[str, Any], call: str) -> None:
    assert FeaturePlan.model_validate(changes).call == call
