"""States add up to the last bit, survive JSON, and their intervals hold what they promise."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from itertools import pairwise
from operator import add

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoring.rollout.evidence import (
    EDGES_MS,
    Interval,
    Latencies,
    Rate,
    Split,
    Verdict,
    latency_ratio,
    rate_ratio,
    verdict,
)

ALPHA = 0.01


def rate(values: list[float]) -> Rate:
    return Rate(hits=sum(value > 0.5 for value in values), of=len(values))


def split(values: list[float]) -> Split:
    return Split(counts=tuple(sum(low <= value < low + 0.5 for value in values) for low in (-1.0, -0.5, 0.0, 0.5)))


def latencies(values: list[float]) -> Latencies:
    return Latencies.of(np.abs(values) * 1_000)


@pytest.mark.parametrize("state", [rate, split, latencies])
@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(st.floats(-1, 1), max_size=30),
    cuts=st.lists(st.integers(0, 30), max_size=4),
    seed=st.integers(0, 9),
)
def test_states_of_parts_add_up_to_the_state_of_all_in_any_order(
    state: Callable, values: list[float], cuts: list[int], seed: int
) -> None:
    shuffled = list(np.random.default_rng(seed).permutation(values))
    edges = [0, *sorted(cuts), len(values)]
    parts = [state(shuffled[begin:end]) for begin, end in pairwise(edges)]
    assert reduce(add, parts) == state(values)


@pytest.mark.parametrize("state", [rate, split, latencies])
def test_a_state_is_the_same_after_json(state: Callable) -> None:
    kept = state(list(np.random.default_rng(0).uniform(-1, 1, 3_000)))
    assert type(kept).model_validate_json(kept.model_dump_json()) == kept


@given(hits=st.integers(0, 300), more=st.integers(0, 3_000), alpha=st.floats(0.001, 0.3))
@settings(max_examples=20, deadline=None)
def test_the_interval_of_a_rate_has_it_inside_and_widens_as_alpha_falls(hits: int, more: int, alpha: float) -> None:
    seen = Rate(hits=hits, of=hits + more)
    low, high = seen.interval(alpha)
    assert 0 <= low <= high <= 1
    if seen.of:
        assert low <= hits / seen.of <= high
    wider = seen.interval(alpha / 2)
    assert wider.low <= low
    assert high <= wider.high


@given(counts=st.tuples(*[st.integers(0, 200)] * 4), alpha=st.floats(0.001, 0.3))
@settings(max_examples=20, deadline=None)
def test_the_interval_of_a_ratio_has_it_inside_and_is_mirrored_by_that_of_the_arms_exchanged(
    counts: tuple[int, int, int, int], alpha: float
) -> None:
    hits, more, other_hits, other_more = counts
    arm, champion = Rate(hits=hits, of=hits + more), Rate(hits=other_hits, of=other_hits + other_more)
    low, high = rate_ratio(arm, champion, alpha)
    assert 0 <= low <= high
    if other_hits and arm.of:
        found = (hits / arm.of) / (other_hits / champion.of)
        assert low <= found * (1 + 1e-9)
        assert found <= high * (1 + 1e-9)
    mirrored = rate_ratio(champion, arm, alpha)
    assert mirrored.low == pytest.approx(1 / high if high else np.inf, rel=1e-6)


def test_errors_that_rose_tenfold_are_seen_and_as_many_as_before_are_not() -> None:
    assert Rate(hits=4, of=340).log_e_above(0.001) > -np.log(ALPHA)
    assert Rate(hits=1, of=340).log_e_above(0.001) < 0
    assert Rate(hits=10, of=10_000).log_e_above(0.001) < 0


def test_a_rate_that_rose_against_the_champions_is_seen() -> None:
    champion = Rate(hits=95, of=9_500)
    assert rate_ratio(Rate(hits=50, of=500), champion, ALPHA).low > 3
    low, high = rate_ratio(Rate(hits=5, of=500), champion, ALPHA)
    assert low < 1 < high
    assert rate_ratio(Rate(), champion, ALPHA) == Interval(0.0, np.inf)
    low, high = rate_ratio(Rate(hits=50, of=100), Rate(of=100), ALPHA)
    assert low > 1
    assert high == np.inf


def test_a_quantile_lies_between_edges_of_buckets_around_it() -> None:
    times = np.random.default_rng(2).lognormal(2, 0.5, 50_000)
    low, high = Latencies.of(times).interval(0.99, ALPHA)
    exact = float(np.quantile(times, 0.99))
    assert low < exact < high
    assert high / low < 1.3
    assert {low, high} <= set(EDGES_MS)
    assert Latencies().interval(0.99, ALPHA) == Interval(0.0, np.inf)


def test_latencies_of_more_than_the_last_edge_or_no_number_are_the_longest() -> None:
    counts = Latencies.of([0.05, 0.1, 1e9, np.nan]).counts
    assert (counts[0], counts[-1], sum(counts)) == (2, 2, 4)


def test_a_p99_of_double_length_is_surely_over_a_limit_of_1_2() -> None:
    rng = np.random.default_rng(3)
    champion, alike, slow = (Latencies.of(by * rng.lognormal(2, 0.5, 5_000)) for by in (1, 1, 2))
    assert latency_ratio(slow, champion, 0.99, ALPHA).low > 1.2
    low, high = latency_ratio(alike, champion, 0.99, ALPHA)
    assert low < 1 < high
    assert latency_ratio(slow, Latencies(), 0.99, ALPHA) == Interval(0.0, np.inf)


def test_a_split_by_other_weights_is_seen() -> None:
    assert Split(counts=(950, 50)).log_e((0.95, 0.05)) < 0
    assert Split(counts=(900, 100)).log_e((0.95, 0.05)) > -np.log(ALPHA)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (-0.5, 0.5, Verdict.EQUIVALENT),
        (-1.0, 1.0, Verdict.EQUIVALENT),
        (1.1, 3.0, Verdict.WORSE),
        (-3.0, -1.1, Verdict.BETTER),
        (0.5, 3.0, Verdict.CONTINUE),
        (1.0, 3.0, Verdict.CONTINUE),
        (-np.inf, np.inf, Verdict.CONTINUE),
    ],
)
def test_a_verdict_follows_from_the_interval(low: float, high: float, expected: Verdict) -> None:
    assert verdict(Interval(low, high), Interval(-1.0, 1.0)) is expected
