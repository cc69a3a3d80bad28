"""What a rollout has seen, as states that add up, and the verdicts on them.

All states are whole numbers. So those of parts of the events add up to that of all, in any order and grouping, to the
last bit: whoever reads the events again, in other batches, gets the same state and the same decision. Intervals follow
from a state alone. They are valid at every event together (:mod:`scoring.rollout.always_valid`); looking at fewer
events costs nothing but time.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict

from scoring.rollout.always_valid import Numbers, log_e_above, log_e_below, log_e_rate, log_e_ratio, log_e_split

# Upper edges of the latency buckets in ms, 16 for each doubling: 0.1 ms to 107 s, each 4.4 % above the last.
EDGES_MS = 0.1 * 2 ** (np.arange(321) / 16)
# Ratios of rates beyond e±30 are not told from 0 and infinity.
_LOG_MOST = 30.0


class Interval(NamedTuple):
    """Bounds of a confidence sequence at a number of events; infinite where nothing is known."""

    low: float
    high: float


class Verdict(StrEnum):
    """What an interval says of a candidate; smaller is better."""

    BETTER = "better"
    WORSE = "worse"
    EQUIVALENT = "equivalent"
    CONTINUE = "continue"


WORST_FIRST = (Verdict.WORSE, Verdict.CONTINUE, Verdict.BETTER, Verdict.EQUIVALENT)
"""From what an operator must see first to what he need not see."""


def verdict(interval: Interval, allowed: Interval) -> Verdict:
    """Judge an interval by what is allowed.

    Args:
        interval: Of a difference or ratio to the champion, or of a rate.
        allowed: What counts as no difference, such as ±δ, or 0 to 1.2 for a ratio that may be at most 1.2. For a
            quantity that must not fall either, such as the rate of decisions, ``BETTER`` says that it fell.

    Returns:
        ``EQUIVALENT`` if the interval lies within what is allowed, ``WORSE`` if above, ``BETTER`` if below it.
        Otherwise ``CONTINUE``.
    """
    if allowed.low <= interval.low and interval.high <= allowed.high:
        return Verdict.EQUIVALENT
    if interval.low > allowed.high:
        return Verdict.WORSE
    if interval.high < allowed.low:
        return Verdict.BETTER
    return Verdict.CONTINUE


class _State(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Rate(_State):
    """Hits among the events of an arm: errors, late answers, positive decisions."""

    hits: int = 0
    of: int = 0

    def __add__(self, other: Self) -> Self:
        return self.model_copy(update={"hits": self.hits + other.hits, "of": self.of + other.of})

    def log_e_above(self, bound: float) -> float:
        """Evidence that the rate is above a bound: at ``-log(alpha)`` it is too much for chance."""
        return float(log_e_above(self.hits, self.of, bound))

    def interval(self, alpha: float) -> Interval:
        """Of the rate. Slower to see a rise than :meth:`log_e_above`, but it also tells that a rate is low."""

        def excluded(rates: Numbers) -> NDArray[np.bool_]:
            return np.asarray(log_e_rate(self.hits, self.of, rates) >= -np.log(alpha), np.bool_)

        found = self.hits / self.of if self.of else 0.5
        return Interval(_edge(excluded, found, 0.0), _edge(excluded, found, 1.0))


def rate_ratio(arm: Rate, champion: Rate, alpha: float) -> Interval:
    """The interval of the rate of an arm divided by the champion's, both while the rollout ran."""

    def excluded(log_ratios: Numbers) -> NDArray[np.bool_]:
        log_e = log_e_ratio(arm.hits, arm.of, champion.hits, champion.of, np.exp(log_ratios))
        return np.asarray(log_e >= -np.log(alpha), np.bool_)

    if not arm.of or not champion.of:
        return Interval(0.0, np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.log(np.float64(arm.hits) / arm.of) - np.log(np.float64(champion.hits) / champion.of)
    inside = float(np.clip(np.nan_to_num(found), -_LOG_MOST, _LOG_MOST))
    low, high = _edge(excluded, inside, -_LOG_MOST), _edge(excluded, inside, _LOG_MOST)
    return Interval(
        float(np.exp(low)) if low > -_LOG_MOST else 0.0, float(np.exp(high)) if high < _LOG_MOST else np.inf
    )


def _edge(excluded: Callable[[Numbers], NDArray[np.bool_]], inside: float, outside: float) -> float:
    """Where exclusion begins, on its outer side, or ``outside`` if nowhere. By eight cuts into 128 parts."""
    if not excluded(np.array(outside)):
        return outside
    for _ in range(8):
        points = np.linspace(inside, outside, 129)
        first = int(excluded(points[1:]).argmax())
        inside, outside = float(points[first]), float(points[first + 1])
    return outside


class Latencies(_State):
    """A histogram of latencies in the buckets that end at :data:`EDGES_MS`, and one for all that are longer."""

    counts: tuple[int, ...] = (0,) * (len(EDGES_MS) + 1)

    @classmethod
    def of(cls, times_ms: ArrayLike) -> Self:
        """Of the latencies of some events in ms, [N]."""
        buckets = np.searchsorted(EDGES_MS, np.asarray(times_ms, np.float64))
        return cls(counts=tuple(np.bincount(buckets, minlength=len(EDGES_MS) + 1).tolist()))

    def __add__(self, other: Self) -> Self:
        return self.model_copy(update={"counts": tuple(map(sum, zip(self.counts, other.counts, strict=True)))})

    def interval(self, quantile: float, alpha: float) -> Interval:
        """Of a quantile in ms, at edges of buckets: wider by less than two of them than from exact times.

        The number of events above the true quantile is one of hits with a known rate, so one e-process for each side
        covers all edges at once (Howard and Ramdas, *Sequential estimation of quantiles*, Bernoulli 2022).
        """
        counts = np.array(self.counts)
        longer = counts.sum() - np.cumsum(counts)[:-1]
        enough = -np.log(alpha / 2)
        low = EDGES_MS[log_e_above(longer, counts.sum(), 1 - quantile) >= enough]
        high = EDGES_MS[log_e_below(longer, counts.sum(), 1 - quantile) >= enough]
        return Interval(float(low.max(initial=0.0)), float(high.min(initial=np.inf)))


def latency_ratio(arm: Latencies, champion: Latencies, quantile: float, alpha: float) -> Interval:
    """The interval of a quantile of an arm divided by the champion's. The interval of each gets half of alpha."""
    of_arm, of_champion = arm.interval(quantile, alpha / 2), champion.interval(quantile, alpha / 2)
    high = of_arm.high / of_champion.low if of_champion.low else np.inf
    return Interval(of_arm.low / of_champion.high, high)


class Split(_State):
    """How many entities each arm got, each counted once, at its first event."""

    counts: tuple[int, ...]

    def __add__(self, other: Self) -> Self:
        return self.model_copy(update={"counts": tuple(map(sum, zip(self.counts, other.counts, strict=True)))})

    def log_e(self, weights: tuple[float, ...]) -> float:
        """Evidence that the split is not by these weights: at ``-log(alpha)`` it is too much for chance."""
        return float(log_e_split(self.counts, weights))
