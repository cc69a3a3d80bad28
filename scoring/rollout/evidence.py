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

from scoring.rollout.always_valid import (
    BETS,
    Numbers,
    asymptotic_reach,
    log_e_above,
    log_e_below,
    log_e_rate,
    log_e_ratio,
    log_e_split,
    log_factors,
    log_mixture,
)

# The unit of differences and of logarithms in a state is 2**-30, about 1e-9.
_BITS = 30
# Upper edges of the latency buckets in ms, 16 for each doubling: 0.1 ms to 107 s, each 4.4 % above the last.
EDGES_MS = 0.1 * 2 ** (np.arange(321) / 16)
# Values at a time: bounds the memory of log_factors.
_CHUNK = 1_024
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
    INCONCLUSIVE = "inconclusive"


WORST_FIRST = (Verdict.WORSE, Verdict.INCONCLUSIVE, Verdict.CONTINUE, Verdict.BETTER, Verdict.EQUIVALENT)
"""From what an operator must see first to what he need not see."""


def verdict(interval: Interval, allowed: Interval, *, events: int, most: int) -> Verdict:
    """Judge an interval by what is allowed.

    Args:
        interval: Of a difference or ratio to the champion, or of a rate.
        allowed: What counts as no difference, such as ±δ, or 0 to 1.2 for a ratio that may be at most 1.2. For a
            quantity that must not fall either, such as the rate of decisions, ``BETTER`` says that it fell.
        events: How many events the interval is of.
        most: After how many there is no more waiting.

    Returns:
        ``EQUIVALENT`` if the interval lies within what is allowed, ``WORSE`` if above, ``BETTER`` if below it.
        Otherwise ``CONTINUE``, and from ``most`` events on ``INCONCLUSIVE``.
    """
    if allowed.low <= interval.low and interval.high <= allowed.high:
        return Verdict.EQUIVALENT
    if interval.low > allowed.high:
        return Verdict.WORSE
    if interval.high < allowed.low:
        return Verdict.BETTER
    return Verdict.INCONCLUSIVE if events >= most else Verdict.CONTINUE


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


class Differences(_State):
    """Differences of any size, such as the candidate's log-loss less the champion's, on the same events.

    Attributes:
        n: How many.
        total: Their sum, in units of 2**-30.
        squares: The sum of their squares, in units of 2**-60.
    """

    n: int = 0
    total: int = 0
    squares: int = 0

    @classmethod
    def of(cls, differences: ArrayLike) -> Self:
        """Of the differences of some events, [N], each rounded to 2**-30.

        Raises:
            ValueError: if one is not finite. A score that is no number is an error, and counted as one.
        """
        values = np.asarray(differences, np.float64)
        if not np.isfinite(values).all():
            raise ValueError("a difference is not finite")
        units = [int(value) for value in np.rint(values * 2.0**_BITS)]
        return cls(n=len(units), total=sum(units), squares=sum(value * value for value in units))

    def __add__(self, other: Self) -> Self:
        sums = {name: getattr(self, name) + getattr(other, name) for name in ("n", "total", "squares")}
        return self.model_copy(update=sums)

    def interval(self, alpha: float, *, start: int, best_at: int) -> Interval:
        """Of the mean difference, by an asymptotic confidence sequence.

        Args:
            alpha: The probability of ever missing it.
            start: The number of events before which nothing is known. Of the rarer label, they should have 100.
            best_at: The number of events at which it is narrowest.
        """
        spread = self.n * self.squares - self.total**2
        if self.n < max(start, 2) or not spread:  # without any spread, the central limit theorem says nothing
            return Interval(-np.inf, np.inf)
        mean = self.total / (self.n << _BITS)
        reach = float(asymptotic_reach(self.n, spread / (self.n**2 << 2 * _BITS), alpha, best_at))
        return Interval(mean - reach, mean + reach)


class Capital(_State):
    """What bets on the mean of bounded differences have won, such as of Brier losses, within ±1.

    Valid from the first event, for any distribution. An interval ends at one of the means that were named, so name the
    limits that matter: 0, ±δ.

    Attributes:
        bound: What no difference exceeds.
        means: The hypothetical means, ascending, inside of ±bound.
        n: How many differences.
        above: The sum of the logarithms of each bet on a mean above each of them, [BETS][means], in units of 2**-30.
        below: That of the bets on a mean below.
    """

    bound: float
    means: tuple[float, ...]
    n: int
    above: tuple[tuple[int, ...], ...]
    below: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, differences: ArrayLike, *, means: tuple[float, ...], bound: float = 1.0) -> Self:
        """Of the differences of some events, [N].

        Raises:
            ValueError: if a difference is out of bounds or no number, or the means are not ascending inside of them.
        """
        if not all(low < high for low, high in zip((-bound, *means), (*means, bound), strict=True)):
            raise ValueError(f"means must be ascending, above {-bound:g} and below {bound:g}")
        values = np.asarray(differences, np.float64)
        sums: NDArray[np.int64] = np.zeros((2, BETS, len(means)), np.int64)
        for begin in range(0, len(values), _CHUNK):
            logs = log_factors(values[begin : begin + _CHUNK], means, bound)
            # Rounded down: the bets lose by it, so that no guarantee is.
            sums += np.floor(logs * 2.0**_BITS).astype(np.int64).sum(axis=0)
        return cls(bound=bound, means=means, n=len(values), above=_rows(sums[0]), below=_rows(sums[1]))

    def __add__(self, other: Self) -> Self:
        if (self.bound, self.means) != (other.bound, other.means):
            raise ValueError("bets on different means do not add up")
        above, below = (
            _rows(np.array(one, np.int64) + np.array(two, np.int64))
            for one, two in ((self.above, other.above), (self.below, other.below))
        )
        return self.model_copy(update={"n": self.n + other.n, "above": above, "below": below})

    def interval(self, alpha: float) -> Interval:
        """Of the mean difference: between the outermost of the means that are not excluded, or ±bound."""
        above, below = (
            log_mixture(np.array(sums) * 2.0**-_BITS, axis=0) >= -np.log(alpha / 2) for sums in (self.above, self.below)
        )
        low = max((mean for mean, excluded in zip(self.means, above, strict=True) if excluded), default=-self.bound)
        high = min((mean for mean, excluded in zip(self.means, below, strict=True) if excluded), default=self.bound)
        return Interval(low, high)


def _rows(sums: NDArray[np.int64]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(row) for row in sums.tolist())


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
