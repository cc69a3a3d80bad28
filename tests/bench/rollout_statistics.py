"""Measures how often the statistics of rollouts fail a good candidate, and how soon they see a bad one.

``python -m tests.bench.rollout_statistics`` prints both tables and writes ``rollout_statistics.json``. Every simulated
rollout is watched from its first event to its last; it fails if it is stopped anywhere on the way.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from penstock.paths import BUILD
from scoring.rollout.always_valid import (
    asymptotic_reach,
    log_e_above,
    log_e_below,
    log_e_ratio,
    log_e_split,
)
from scoring.rollout.comparisons import BEST_AT
from scoring.rollout.evidence import EDGES_MS
from tests.bench import command

ALPHA = 0.01
ENOUGH = -np.log(ALPHA)
_SEED = 7
_AT_ONCE = 4_000_000  # values in memory


@dataclass(frozen=True)
class Alarms:
    """How often a candidate that is as good as the champion was ever stopped.

    Attributes:
        test: What was tested.
        events: How many events each rollout had.
        runs: How many rollouts.
        failed: How many were ever stopped.
        upper: The upper 99 % bound of the share (Clopper and Pearson).
    """

    test: str
    events: int
    runs: int
    failed: int
    upper: float


@dataclass(frozen=True)
class Power:
    """After how many events a bad candidate was stopped, or a good one confirmed.

    Attributes:
        test: What was tested.
        runs: How many rollouts.
        median: The median number of events; None if fewer than half were.
        ninety: After how many 90 % were; None if fewer.
        within: The events of each rollout.
    """

    test: str
    runs: int
    median: int | None
    ninety: int | None
    within: int


def alarms(test: str, events: int, stopped: NDArray[np.int64]) -> Alarms:
    failed = int((stopped > 0).sum())
    return Alarms(test, events, len(stopped), failed, float(stats.beta.ppf(0.99, failed + 1, len(stopped) - failed)))


def power(test: str, within: int, stopped: NDArray[np.int64]) -> Power:
    at = np.sort(np.where(stopped > 0, stopped, np.iinfo(np.int64).max))
    median, ninety = (int(at[int(share * (len(at) - 1))]) for share in (0.5, 0.9))
    most = np.iinfo(np.int64).max
    return Power(test, len(at), None if median == most else median, None if ninety == most else ninety, within)


def first(stops: NDArray[np.bool_], events: NDArray[np.int64]) -> NDArray[np.int64]:
    """The number of events at the first look that stops each run, 0 if none does. Both [runs, looks]."""
    events = np.broadcast_to(events, stops.shape)
    at = stops.argmax(axis=1)
    rows = np.arange(len(stops))
    return np.where(stops[rows, at], events[rows, at], 0)


def parts(runs: int, events: int) -> Iterator[int]:
    """How many runs to simulate at a time."""
    at_once = max(_AT_ONCE // events, 1)
    for begin in range(0, runs, at_once):
        yield min(at_once, runs - begin)


def least_hits(events: int, bound: float, enough: float = ENOUGH) -> NDArray[np.int64]:
    """From how many hits on the rate is surely above the bound, after each number of events."""
    return _last(events, lambda hits, of: log_e_above(hits, of, bound) < enough) + 1


def most_hits(events: int, bound: float, enough: float = ENOUGH) -> NDArray[np.int64]:
    """Up to how many hits the rate is surely below the bound, after each number of events; -1 if for none."""
    return _last(events, lambda hits, of: log_e_below(hits, of, bound) >= enough)


def _last(events: int, holds: Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.bool_]]) -> NDArray[np.int64]:
    """Up to how many hits something holds, after each number of events; -1 if for none. By bisection."""
    of = np.arange(1, events + 1)
    low, high = np.zeros(events, np.int64) - 1, of + 1
    while (high - low > 1).any():
        middle = (low + high) // 2
        is_held = holds(np.clip(middle, 0, of), of)
        low, high = np.where(is_held, middle, low), np.where(is_held, high, middle)
    return low


def errors(runs: int, events: int, rate: float, bound: float) -> NDArray[np.int64]:
    """The errors of a canary against an absolute bound, at every event."""
    rng, least, of = np.random.default_rng(_SEED), least_hits(events, bound), np.arange(1, events + 1)
    return np.concatenate(
        [first((rng.random((n, events)) < rate).cumsum(axis=1) >= least, of) for n in parts(runs, events)]
    )


def ratios(
    runs: int, events: int, rates: tuple[float, float], weight: float, per_entity: int = 1, only_above: bool = False
) -> NDArray[np.int64]:
    """Two arms' rates, at every tenth event: after how many of the canary's events they differ.

    With several events per entity, all of them have one arm and one outcome.
    """
    rng, found = np.random.default_rng(_SEED), []
    looks = np.arange(9, events, 10)
    for n in parts(runs, events):
        shape = (n, -(-events // per_entity))
        arm = np.repeat(rng.random(shape) < weight, per_entity, axis=1)[:, :events]
        draws = np.repeat(rng.random(shape), per_entity, axis=1)[:, :events]
        hit = draws < np.where(arm, *rates)
        of, hits, other_hits = (one.cumsum(axis=1)[:, looks] for one in (arm, arm & hit, ~arm & hit))
        other_of = looks + 1 - of
        stops = log_e_ratio(hits, of, other_hits, other_of, 1.0) >= ENOUGH
        if only_above:
            stops &= hits * other_of > other_hits * of
        found.append(first(stops, np.maximum(of, 1)))
    return np.concatenate(found)


def splits(runs: int, entities: int, real: tuple[float, ...], declared: tuple[float, ...]) -> NDArray[np.int64]:
    """The arms of entities against the declared weights, at every tenth entity."""
    rng, found = np.random.default_rng(_SEED), []
    looks = np.arange(9, entities, 10)
    for n in parts(runs, entities):
        arm = np.searchsorted(np.cumsum(real)[:-1], rng.random((n, entities)), side="right")
        counts = np.stack([(arm == one).cumsum(axis=1)[:, looks] for one in range(len(real))], axis=-1)
        found.append(first(log_e_split(counts, declared) >= ENOUGH, looks + 1))
    return np.concatenate(found)


def latencies(runs: int, events: int, slower: float, others: int, limit: float) -> NDArray[np.int64]:
    """The p99 of log-normal latencies against the champion's, at every hundredth event of the canary.

    Args:
        runs: How many rollouts.
        events: Events of the canary.
        slower: By what its latencies are multiplied.
        others: Events of the champion for each of the canary.
        limit: Which ratio it must surely exceed; 1 for any difference, also if it is faster.
    """
    rng, found, edges = np.random.default_rng(_SEED), [], EDGES_MS
    looks = np.arange(100, events + 1, 100)
    enough = -np.log(ALPHA / 4)
    surely = [(least_hits(n, 0.01, enough), most_hits(n, 0.01, enough)) for n in (events, events * others)]

    def quantile(times: NDArray[np.float64], arm: int, each: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        least, most = surely[arm]
        longer = np.array(
            [
                (times[:, begin : begin + each][:, :, None] > edges).sum(axis=1)
                for begin in range(0, times.shape[1], each)
            ]
        ).cumsum(axis=0)
        at = (np.arange(1, len(longer) + 1) * each - 1)[:, None, None]
        low = np.where(longer >= least[at], edges, 0.0).max(axis=2)
        return low.T, np.where(longer <= most[at], edges, np.inf).min(axis=2).T

    for _ in range(runs):
        low, high = quantile(slower * rng.lognormal(2, 0.5, (1, events)), 0, 100)
        other_low, other_high = quantile(rng.lognormal(2, 0.5, (1, events * others)), 1, 100 * others)
        stops = low > limit * other_high
        if limit == 1:
            stops |= high < other_low
        found.append(first(stops, looks))
    return np.concatenate(found)


class Losses(NamedTuple):
    """Many events' losses of a champion and a candidate, of which rollouts are drawn."""

    log_loss: NDArray[np.float64]
    brier: NDArray[np.float64]
    champion_log_loss: NDArray[np.float64]
    champion_brier: NDArray[np.float64]


def losses(noise: float, shift: float = 0.0, pool: int = 1_000_000) -> Losses:
    """Paired losses at a base rate of 1 %: candidate less champion.

    The champion's logit is the true one plus noise of 0.5. The candidate's noise is correlated with it by 0.9, and
    ``noise`` in size; its logit is shifted.
    """
    rng = np.random.default_rng(_SEED)
    true = rng.normal(-7.27, 2.5, pool)
    label = rng.random(pool) < special.expit(true)
    own, other = rng.normal(size=(2, pool))
    champion = true + 0.5 * own
    candidate = true + noise * (0.9 * own + np.sqrt(1 - 0.9**2) * other) + shift
    sign = np.where(label, -1.0, 1.0)
    both = [(np.logaddexp(0, sign * logit), special.expit(sign * logit) ** 2) for logit in (champion, candidate)]
    (log_loss, brier), (new_log_loss, new_brier) = both
    return Losses(new_log_loss - log_loss, new_brier - brier, log_loss, brier)


def worse(by: float) -> dict[str, Losses]:
    """Candidates whose log-loss, and whose Brier loss, is greater by a share of the champion's: with more noise."""
    found = {}
    for loss in ("log_loss", "brier"):
        low, high = 0.5, 2.0
        for _ in range(12):
            middle = (low + high) / 2
            pool = losses(middle)
            more = getattr(pool, loss).mean() > by * getattr(pool, f"champion_{loss}").mean()
            low, high = (low, middle) if more else (middle, high)
        found[loss] = losses((low + high) / 2)
    return found


Stops = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.bool_]]


def means(
    runs: int, events: int, pool: NDArray[np.float64], stops: Stops, starts: tuple[int, ...]
) -> list[NDArray[np.int64]]:
    """An asymptotic confidence sequence of a mean at every event, for each number of events at which it may start.

    That of a ratio r of mean losses excludes r when that of ``losses - r * the champion's`` excludes 0.
    """
    rng, of = np.random.default_rng(_SEED), np.arange(1, events + 1)
    found = []
    for n in parts(runs, events):
        values = pool[rng.integers(len(pool), size=(n, events), dtype=np.int32)]
        mean = values.cumsum(axis=1) / of
        variance = np.maximum((values**2).cumsum(axis=1) / of - mean**2, 1e-300)
        reach = asymptotic_reach(of, variance, ALPHA, BEST_AT)
        stopped = stops(mean - reach, mean + reach)
        found.append([first(stopped & (of >= start), of) for start in starts])
    return [np.concatenate(one) for one in zip(*found, strict=True)]


def excludes_zero(low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether an interval of a difference excludes 0."""
    return (low > 0) | (high < 0)


def all_alarms(runs: int) -> Iterator[Alarms]:
    """Good candidates."""
    yield alarms("errors at the bound of 0.1 %", 20_000, errors(runs, 20_000, 0.001, 0.001))
    yield alarms("rates of two arms, 0.1 %, canary of 5 %", 20_000, ratios(runs, 20_000, (0.001, 0.001), 0.05))
    yield alarms("rates of two arms, 3 %, canary of 5 %", 20_000, ratios(runs, 20_000, (0.03, 0.03), 0.05))
    yield alarms("rates of two arms, 30 %, canary of 50 %", 20_000, ratios(runs, 20_000, (0.3, 0.3), 0.5))
    repeated = ratios(runs, 20_000, (0.03, 0.03), 0.05, per_entity=5)
    yield alarms("assumption broken: 5 events of one entity, all alike", 20_000, repeated)
    weights = (0.8, 0.15, 0.05)
    # This test nearly uses up its alpha: more runs, so that the bound of the share can be below it.
    yield alarms("split 80 : 15 : 5", 20_000, splits(4 * runs, 20_000, weights, weights))
    few = max(runs // 10, 1)
    yield alarms("p99 of two arms, 5,000 events each", 5_000, latencies(few, 5_000, 1.0, 1, 1.0))
    starts = (100, 1_000, 3_000, 10_000)
    alike, shifted = losses(0.5), losses(0.5, 0.5)
    rng = np.random.default_rng(_SEED)
    # Better by a little on 99 % of the events, worse by 99 times as much on the others.
    rare = 0.01 * np.where(np.arange(1_000_000) % 100 == 0, 99.0, -1.0) * rng.uniform(0.5, 1.0, 1_000_000)
    for name, pool in (
        ("log-loss, alike", alike.log_loss),
        ("log-loss, skewed", shifted.log_loss),
        ("Brier, skewed", shifted.brier),
        ("all loss on the rare label", rare),
    ):
        found = means(runs, 30_000, pool - pool.mean(), excludes_zero, starts)
        for start, stopped in zip(starts, found, strict=True):
            yield alarms(f"asymptotic, {name}, from event {start:,}", 30_000, stopped)


def all_powers(runs: int) -> Iterator[Power]:
    """Bad candidates, and good ones that are to be confirmed."""
    yield power("errors 0.1 → 1 %, bound 0.1 %", 5_000, errors(runs, 5_000, 0.01, 0.001))
    yield power("errors 0.1 → 1 %, bound 0.2 %", 5_000, errors(runs, 5_000, 0.01, 0.002))
    few = max(runs // 10, 1)
    against = ratios(few, 100_000, (0.01, 0.001), 0.05, only_above=True)
    yield power("errors 0.1 → 1 %, against a champion of 95 %", 5_000, against)
    decisions = ratios(few, 10_000, (0.1, 0.01), 0.05, only_above=True)
    yield power("decision rate 1 → 10 %, canary of 5 %", 500, decisions)
    yield power("split of 6 : 94, declared 5 : 95", 20_000, splits(few, 20_000, (0.06, 0.94), (0.05, 0.95)))
    for slower in (1.5, 2.0):
        of = latencies(max(runs // 50, 1), 10_000, slower, 4, 1.2)
        yield power(f"p99 {slower:g} times as long, at most 1.2 times, canary of 20 %", 10_000, of)
    events = 200_000
    bad, equal = worse(0.05), losses(0.5)
    few = max(runs // 50, 1)

    def is_worse(low: NDArray[np.float64], _: NDArray[np.float64]) -> NDArray[np.bool_]:
        return low > 0

    def is_not_worse(_: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.bool_]:
        return high < 0

    for loss in ("log_loss", "brier"):
        # The losses less 1.05 times the champion's.
        less = getattr(equal, loss) - 0.05 * getattr(equal, f"champion_{loss}")
        name = loss.replace("_", "-")
        starts = (1_000, 10_000)
        for start, stopped in zip(starts, means(few, events, getattr(bad[loss], loss), is_worse, starts), strict=True):
            yield power(f"{name} 5 % worse, asymptotic from event {start:,}: worse", events, stopped)
        for start, stopped in zip(starts, means(few, events, less, is_not_worse, starts), strict=True):
            yield power(f"{name} alike, asymptotic from event {start:,}: surely not 5 % worse", events, stopped)


def main(arguments: list[str] | None = None) -> int:
    """Simulate rollouts, print how they end, and write the JSON file."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.rollout_statistics", description=main.__doc__)
    parser.add_argument("--runs", type=int, default=10_000, help="rollouts of each test (default: 10,000)")
    parser.add_argument("--out", type=Path, default=BUILD / "bench" / "rollout_statistics.json")
    options = parser.parse_args(arguments)
    good, bad = [], []
    for one in all_alarms(options.runs):
        good.append(one)
        share = 100 * one.failed / one.runs
        print(f"{one.test:60} {one.failed:5,} of {one.runs:6,}  {share:5.2f} %  ≤ {100 * one.upper:.2f} %", flush=True)
    for each in all_powers(options.runs):
        bad.append(each)
        print(f"{each.test:60} median {each.median}, 90 % {each.ninety}, {each.runs:,} runs", flush=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "alpha": ALPHA,
        "versions": {name: version(name) for name in ("penstock", "numpy", "scipy")},
        "alarms": [asdict(one) for one in good],
        "powers": [asdict(one) for one in bad],
    }
    options.out.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(f"written to {options.out}")
    return 0


if __name__ == "__main__":
    command.run(main)
