"""The parts of the sink's loop that need no servers."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from sinks.runner import backoff_s, group_id


@given(st.integers(1, 10_000), st.randoms(use_true_random=False))
def test_pauses_double_up_to_ten_seconds_and_are_shortened_by_at_most_half(failures: int, rng: random.Random) -> None:
    longest = min(10.0, 0.1 * 2 ** min(failures - 1, 20))
    assert longest / 2 <= backoff_s(failures, rng) <= longest


def test_each_sink_of_each_pipeline_has_its_own_consumer_group() -> None:
    assert group_id("fraud", "redis") == "penstock-fraud-sink-redis"
