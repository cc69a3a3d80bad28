"""Simulated rollouts of good candidates are stopped at most as often as alpha says, and those of bad ones soon are.

The quick form of ``python -m tests.bench.rollout_statistics``; docs/concepts/rollout-statistics.md has its figures.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from scoring.rollout.always_valid import asymptotic_reach
from scoring.rollout.comparisons import BEST_AT, ratio_of_means
from tests.bench.rollout_statistics import (
    ALPHA,
    Losses,
    alarms,
    errors,
    excludes_zero,
    latencies,
    losses,
    main,
    means,
    power,
    ratios,
    splits,
)

RUNS = 2_000
# The upper 99 % bound of 2,000 runs is 1.6 % if 1 % of them fail.
MOST = 1.6 * ALPHA


@cache
def skewed() -> Losses:
    return losses(0.5, 0.5, pool=100_000)


def upper(stopped: np.ndarray) -> float:
    assert len(stopped) >= 200
    return alarms("", 1, stopped).upper


def test_errors_at_their_bound_seldom_stop_a_rollout() -> None:
    assert upper(errors(RUNS, 2_000, 0.001, 0.001)) <= MOST


def test_a_rate_as_high_as_the_champions_seldom_stops_a_rollout() -> None:
    assert upper(ratios(RUNS, 2_000, (0.03, 0.03), 0.2)) <= MOST


def test_entities_that_are_counted_many_times_break_the_guarantee() -> None:
    assert upper(ratios(RUNS, 2_000, (0.03, 0.03), 0.2, per_entity=10)) > MOST


def test_a_split_as_declared_seldom_stops_a_rollout() -> None:
    assert upper(splits(RUNS, 2_000, (0.9, 0.1), (0.9, 0.1))) <= MOST


def test_means_of_skewed_losses_seldom_stop_a_rollout_that_starts_late() -> None:
    pool = skewed().log_loss
    (stopped,) = means(RUNS, 6_000, pool - pool.mean(), excludes_zero, (3_000,))
    assert upper(stopped) <= MOST


@pytest.mark.parametrize("ratio", [0.9, 1.0, 1.05])
def test_a_simulated_rollout_is_stopped_where_the_judge_excludes_the_ratio(ratio: float) -> None:
    rng, pool = np.random.default_rng(3), losses(0.6, pool=20_000)
    for n in (500, 3_000, 10_000):
        rows = rng.integers(20_000, size=n)
        champion = pool.champion_brier[rows]
        low, high = ratio_of_means(champion + pool.brier[rows], champion, ALPHA)
        differences = champion + pool.brier[rows] - ratio * champion
        reach = float(asymptotic_reach(n, differences.var(), ALPHA, BEST_AT))
        mean = float(differences.mean())
        assert bool(excludes_zero(np.array(mean - reach), np.array(mean + reach))) == (not low <= ratio <= high)


def test_means_that_start_before_the_rare_label_was_seen_break_the_guarantee() -> None:
    pool = np.where(np.arange(100_000) % 100 == 0, 99.0, -1.0) * np.random.default_rng(1).uniform(0.5, 1.0, 100_000)
    early, late = means(RUNS, 6_000, pool - pool.mean(), excludes_zero, (50, 6_000))
    assert upper(early) > 10 * MOST
    assert upper(late) < upper(early) / 5


@pytest.mark.parametrize(
    ("stopped", "median"),
    [
        pytest.param(lambda: errors(RUNS, 1_500, 0.01, 0.001), 355, id="errors-0.1-to-1-percent"),
        pytest.param(lambda: ratios(200, 4_000, (0.1, 0.01), 0.05, only_above=True), 100, id="decision-rate-times-10"),
        pytest.param(lambda: latencies(20, 2_000, 2.0, 2, 1.2), 1_500, id="p99-times-2"),
    ],
)
def test_a_bad_candidate_is_stopped_after_a_median_of(stopped, median: int) -> None:
    found = power("", 1, stopped()).median
    assert found is not None
    assert found <= median


def test_a_run_counts_the_first_look_that_stops_it_and_prints_what_it_writes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = np.array([0, 7, 3, 9, 5])
    assert alarms("one", 10, kept).failed == 4
    monkeypatch.setattr("tests.bench.rollout_statistics.all_alarms", lambda _: [alarms("one", 10, kept)])
    monkeypatch.setattr("tests.bench.rollout_statistics.all_powers", lambda _: [power("two", 10, kept)])
    assert main(["--out", str(tmp_path / "found.json")]) == 0
    written = json.loads((tmp_path / "found.json").read_text())
    assert written["alarms"][0]["failed"] == 4
    assert written["powers"][0]["median"] == 7
    assert written["powers"][0]["ninety"] == 9
    assert "median 7" in capsys.readouterr().out
