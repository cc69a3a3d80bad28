"""Watches labelled predictions: alarms when outcomes stop agreeing with the probabilities that the model gave.

An e-detector (Shin, Ramdas and Rinaldo, *E-detectors: a nonparametric framework for sequential change detection*, New
England J. Statist. Data Sci. 2023) of Shiryaev-Roberts form. For each of some alternatives, the odds of a positive
become θ times what the model said, it keeps the sum M ← (M + 1) · L with

    L = y · q / p + (1 - y) · (1 - q) / (1 - p),    q = θp / (1 - p + θp).

L is 1 + λ(y - p) with λ = (θ - 1) / (1 - p + θp): a bet on y - p, and for y of 0 or 1 the likelihood ratio. While the
model's probabilities hold (the mean of y is p, given all that came before), the mean of L is 1, whatever the dependence
of features, scores and outcomes on the past. So M - n is a martingale, also for the weighted mean of the alternatives,
and by optional stopping the mean number of labels before it first reaches c is at least c. That is a theorem, not a
calibration: no reference is needed, and no stream is too correlated for it.

What it asks for: the probabilities are calibrated, each event counts once, and labels arrive in an order that does not
depend on their outcome (at maturity, in event order). No model is calibrated to the last percent. With a ``tolerance``
of t, the theorem holds as long as the odds of a positive are within a factor of t of what the model says, in both
directions: each alternative then bets against p', the worst that is tolerated on its side, with odds times t or 1 / t,
and L is 1 + λ(y - p') with a mean of at most 1.

When the change began is estimated as Page's CUSUM does: for each alternative, the product W ← max(W, 1) · L is kept,
with the labels since it was last at most 1. Pure: no I/O, no clock, no randomness.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

# What the odds may become, both ways: from a change that takes thousands of labels to find to one that takes dozens.
ODDS = (0.25, 0.5, 1 / 1.5, 1.5, 2.0, 4.0)
# Probabilities nearer to 0 or 1 are taken for this near: no single outcome is infinitely surprising.
_LEAST = 1e-6


_Number = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Run(NamedTuple):
    """Labels since an alternative began to fit: the product W, how many there are, and the sums of y and of p."""

    product: _Number = 0.0
    labels: int = 0
    outcomes: _Number = 0.0
    expected: _Number = 0.0

    def after(self, evidence: float, y: float, p: float) -> Run:
        """The run with one more label, or a new one."""
        if self.product <= 1:
            return Run(evidence, 1, y, p)
        return Run(self.product * evidence, self.labels + 1, self.outcomes + y, self.expected + p)


class EDetectorState(BaseModel):
    """The exact state: labels since the beginning or the latest alarm, and of each alternative the sum and the run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    labels: Annotated[int, Field(ge=0)]
    sums: tuple[_Number, ...]
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class Disagreement:
    """The probabilities did not hold: after ``labels`` labels the statistic reached ``threshold``.

    ``odds`` is the alternative that fits best: by how much the odds of a positive changed beyond what is tolerated, as
    one of ``ODDS``. ``run`` has the labels since it began to fit.
    """

    labels: int
    statistic: float
    threshold: float
    odds: float
    run: Run


class EDetector:
    """Finds a lasting change of the outcomes' odds; starts over after each alarm.

    Args:
        false_alarm_every: The mean number of labels before a false alarm is at least this.
        tolerance: The odds of a positive may differ by this factor from what the model says; 1 for not at all.

    Raises:
        ValueError: if it is less than 2, or the tolerance less than 1.

    >>> detector = EDetector(10_000)
    >>> all(detector.update(float(n % 100 == 0), 0.01) is None for n in range(1_000))
    True
    >>> alarms = [detector.update(float(n % 20 == 0), 0.01) for n in range(1_000)]
    >>> next(alarm.odds for alarm in alarms if alarm)
    4.0
    """

    def __init__(self, false_alarm_every: float, tolerance: float = 1.0) -> None:
        if not (false_alarm_every >= 2 and tolerance >= 1):
            raise ValueError(
                f"false_alarm_every is {false_alarm_every}, and must be at least 2; tolerance is {tolerance}, and must "
                "be at least 1"
            )
        self.threshold = float(false_alarm_every)
        self._tolerance = tolerance
        self.labels = 0
        self._sums, self._runs = [0.0] * len(ODDS), [Run()] * len(ODDS)

    @property
    def statistic(self) -> float:
        """The mean of the alternatives' sums; it alarms at the threshold."""
        return math.fsum(self._sums) / len(ODDS)

    def update(self, y: float, p: float) -> Disagreement | None:
        """Take one matured label.

        Args:
            y: The outcome, 0 or 1; anything between for an outcome that is itself a share.
            p: The probability that the model gave, from 0 to 1.

        Raises:
            ValueError: if one of them is not from 0 to 1; the state is as it was.
        """
        if not (0.0 <= y <= 1.0 and 0.0 <= p <= 1.0):
            raise ValueError(f"y is {y} and p is {p}: both must be from 0 to 1")
        self.labels += 1
        for number, odds in enumerate(ODDS):
            evidence = _evidence(y, p, odds, self._tolerance)
            self._sums[number] = (self._sums[number] + 1) * evidence
            self._runs[number] = self._runs[number].after(evidence, y, p)
        statistic = self.statistic
        if statistic < self.threshold:
            return None
        best = max(range(len(ODDS)), key=self._sums.__getitem__)
        found = Disagreement(self.labels, statistic, self.threshold, ODDS[best], self._runs[best])
        self.labels, self._sums, self._runs = 0, [0.0] * len(ODDS), [Run()] * len(ODDS)
        return found

    def state(self) -> EDetectorState:
        """The state to save; restoring it continues exactly from here."""
        return EDetectorState(labels=self.labels, sums=tuple(self._sums), runs=tuple(self._runs))

    def restore(self, state: EDetectorState) -> None:
        """Continue from a saved state; ValueError if it is of other alternatives."""
        if not len(state.sums) == len(state.runs) == len(ODDS):
            raise ValueError(f"the state has {len(state.sums)} sums, and there are {len(ODDS)} alternatives")
        self.labels, self._sums, self._runs = state.labels, list(state.sums), list(state.runs)


def _evidence(y: float, p: float, odds: float, tolerance: float = 1.0) -> float:
    """The likelihood ratio L, whose mean is at most 1 while the odds of y are p's, give or take the tolerance.

    Beyond ``_LEAST``, p is moved inwards for the alternative for which that lowers the mean; the other learns nothing.
    """
    inner = min(max(p, _LEAST), 1 - _LEAST)
    if (p < inner and odds < 1) or (p > inner and odds > 1):
        return 1.0
    worst = tolerance if odds > 1 else 1 / tolerance
    tolerated = worst * inner / (1 - inner + worst * inner)
    return 1 + (odds - 1) * (y - tolerated) / (1 - tolerated + odds * tolerated)
