"""What histograms say of quality: estimates with 95 % intervals, and expectations before labels. Pure; seeded.

A histogram keeps, for each bin, how many events are of each class and the sum of their scores. Scores of one bin count
as ties, so an AUC may be off by half the share of pairs that share a bin; :func:`auc_resolution` gives it. A Brier
score misses the variance of scores within a bin. Counts at the threshold are exact, for it is an edge.

Where an exploration shows outcomes that others do not have, its events weigh as many as they stand for. Intervals then
use the effective number of events (Kish 1965), which makes them wider.

Intervals, by :data:`METHODS`: AUC by DeLong (1988), on the logit; rates by Wilson (1927); means of a loss, and the
cost, by the normal approximation; average precision and calibration error by a bootstrap of 200 draws. The calibration
error of few events is too great, for chance alone makes one; its interval reaches down by as much. All intervals take
events as independent: where outcomes come in bursts, they are too narrow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from math import exp, log, nan, sqrt
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from scoring.gates.statistics import Interval, wilson
from scoring.quality.histograms import UNITS, Histogram, Outcome
from scoring.ranking import area

Numbers: TypeAlias = NDArray[np.float64]

METHODS: Mapping[str, str] = {
    "auc": "DeLong, on the logit",
    "average_precision": "bootstrap of events",
    "brier": "normal",
    "log_loss": "normal",
    "calibration_error": "basic bootstrap of events",
    "precision": "Wilson",
    "recall": "Wilson",
    "cost": "normal",
    "decision_rate": "Wilson",
    "positive_rate": "Wilson",
}
"""Every measure, and how its interval is made."""
EXPECTED = ("auc", "brier", "precision", "recall", "positive_rate")
"""The measures that are expected before labels."""
ASSUMPTION = "scores are calibrated: an event is positive with the probability that its score says"
"""The assumption behind what is expected: it cannot see that the same inputs have come to mean something else."""

_ALPHA = 0.05
_Z = float(stats.norm.ppf(1 - _ALPHA / 2))
_wilson = partial(wilson, alpha=_ALPHA)
_DRAWS, _SEED = 200, 7
_CALIBRATION_BINS = 10
# Scores of 0 and 1 would make a logarithm infinite.
_LEAST = 1e-15


@dataclass(frozen=True)
class Classes:
    """The judged events of a selection, by bin: weights, their squares, and weighted sums of scores. All are [bins].

    Attributes:
        bins: The bins, in their order.
        weights: Of the negative and the positive events: [2, bins].
        squares: The sums of squared weights: [2, bins].
        scores: The weighted sums of scores: [2, bins].
    """

    bins: NDArray[np.intp]
    weights: Numbers
    squares: Numbers
    scores: Numbers

    @classmethod
    def of(cls, histograms: Iterable[tuple[str, Histogram]]) -> Classes:
        """The events of histograms, each with its stratum; those of unknown probability are left out."""
        sums: dict[int, Numbers] = {}
        for stratum, histogram in histograms:
            weight = weight_of(stratum)
            if weight is None:
                continue
            for column, outcome in enumerate(("negative", "positive")):
                for bin_, cell in histogram.of(outcome):  # type: ignore[arg-type]
                    held = sums.setdefault(bin_, np.zeros((3, 2)))
                    held[:, column] += cell.n * weight, cell.n * weight**2, cell.units / UNITS * weight
        bins = sorted(sums)
        table = np.array([sums[bin_] for bin_ in bins]).reshape(len(bins), 3, 2)
        weights, squares, scores = (table[:, place, :].T for place in range(3))
        return cls(np.array(bins, np.intp), weights, squares, scores)

    @property
    def effective(self) -> tuple[float, float]:
        """The effective numbers of negative and of positive events."""
        negative, positive = (_effective(w.sum(), q) for w, q in zip(self.weights, self.squares, strict=True))
        return negative, positive

    @property
    def means(self) -> Numbers:
        """The mean score of each class in each bin: [2, bins]; of none, that of the other class."""
        total = self.weights.sum(axis=0)
        both = _ratio(self.scores.sum(axis=0), total, np.zeros_like(total))
        return _ratio(self.scores, self.weights, np.broadcast_to(both, self.weights.shape).copy())


def weight_of(stratum: str) -> float | None:
    """How many events one of a stratum stands for; None if nobody knows."""
    try:
        probability = float(stratum)
    except ValueError:
        return None
    return 1 / probability if 0 < probability <= 1 else None


def measure(
    histograms: Iterable[tuple[str, Histogram]],
    first_positive: int,
    costs: tuple[float, float] = (1.0, 1.0),
) -> dict[str, Interval]:
    """Every measure of METHODS; NaN where there are no events for it.

    Args:
        histograms: Those of the selection, each with its stratum.
        first_positive: The first bin at or above the threshold.
        costs: Of a positive decision on a negative event, and of a negative one on a positive event.
    """
    histograms = list(histograms)
    classes = Classes.of(histograms)
    above = classes.bins >= first_positive
    negatives, positives = classes.weights.sum(axis=1).tolist()
    false_positives, true_positives = classes.weights[:, above].sum(axis=1).tolist()
    total, flagged = negatives + positives, false_positives + true_positives
    scored = sum(histogram.count("scored") for _, histogram in histograms)
    decided = sum(cell.decided for _, histogram in histograms for _, cell in histogram.of("scored"))
    draws = _draw(classes)
    wrong = np.where(above, [[costs[0]], [0.0]], [[0.0], [costs[1]]]) if len(above) else np.zeros((2, 0))
    return {
        "auc": _auc_interval(classes),
        "average_precision": _by_draws(_average_precision(classes.weights), _average_precision(draws)),
        "brier": _mean(classes, np.stack([classes.means[0] ** 2, (1 - classes.means[1]) ** 2])),
        "log_loss": _mean(classes, -np.log(np.clip(np.stack([1 - classes.means[0], classes.means[1]]), _LEAST, 1))),
        "calibration_error": _by_draws(
            _calibration(classes, classes.weights), _calibration(classes, draws), is_biased=True
        ),
        "precision": _wilson(
            true_positives / flagged if flagged else nan, _effective(flagged, classes.squares[:, above])
        ),
        "recall": _wilson(true_positives / positives if positives else nan, classes.effective[1]),
        "cost": _mean(classes, wrong),
        "decision_rate": _wilson(decided / scored if scored else nan, scored),
        "positive_rate": _wilson(positives / total if total else nan, _effective(total, classes.squares)),
    }


def expect(histograms: Iterable[Histogram], first_positive: int) -> dict[str, Interval]:
    """What is to be expected of all scored events before their labels come, if scores are calibrated (CBPE).

    An event of score p counts as p positive and 1 - p negative events (NannyML's estimator of the confusion matrix).
    The intervals, by a bootstrap of events, have the chance of which events came, and not that of their outcomes.
    """
    sums: dict[int, Numbers] = {}
    for histogram in histograms:
        for bin_, cell in histogram.of("scored"):
            sums[bin_] = sums.get(bin_, np.zeros(2)) + np.array([cell.n, cell.units / UNITS])
    bins = sorted(sums)
    table = np.array([sums[bin_] for bin_ in bins]).reshape(len(bins), 2)
    n, total = table[:, 0], float(table[:, 0].sum())
    if not total:
        return dict.fromkeys(EXPECTED, Interval(nan, nan, nan))
    mean = table[:, 1] / n
    drawn = np.random.default_rng(_SEED).multinomial(int(total), n / total, _DRAWS).astype(np.float64)
    found = {}
    above = np.array(bins) >= first_positive
    estimate, draws = ({name: f(w) for name, f in _expectations(mean, above).items()} for w in (n[None], drawn))
    for name in EXPECTED:
        found[name] = _by_draws(estimate[name], draws[name])
    return found


def auc_resolution(histograms: Iterable[tuple[str, Histogram]]) -> float:
    """By how much the AUC may be off because scores of a bin count as ties; NaN without events of both classes."""
    weights = Classes.of(histograms).weights
    negatives, positives = weights.sum(axis=1)
    return float((weights[0] * weights[1]).sum() / (2 * negatives * positives)) if negatives and positives else nan


def outcomes(histograms: Iterable[tuple[str, Histogram]]) -> dict[str, int]:
    """How many predictions there are, and of how many the outcome is known, is not, or could not be seen."""
    names: tuple[Outcome, ...] = ("scored", "positive", "negative", "unknown")
    counts = dict.fromkeys((*names, "hidden"), 0)
    for stratum, histogram in histograms:
        for name in names:
            counts[name] += histogram.count(name)
        counts["hidden"] += histogram.count("unknown") if stratum == "hidden" else 0
    return counts


def _ratio(part: Numbers, whole: Numbers, empty: Numbers | None = None) -> Numbers:
    """One divided by the other; of nothing NaN, or what ``empty`` says, which is overwritten."""
    found = np.full_like(whole, nan) if empty is None else empty
    np.divide(part, whole, out=found, where=whole > 0)
    return found


def _effective(weight: float, squares: Numbers) -> float:
    total = float(squares.sum())
    return float(weight) ** 2 / total if total else 0.0


def _auc_interval(classes: Classes) -> Interval:
    estimate = float(area(*classes.weights))
    n = classes.effective
    if estimate != estimate or min(n) <= 1:  # noqa: PLR0124 - NaN
        return Interval(estimate, nan, nan)
    negative, positive = classes.weights
    below = (np.cumsum(negative) - negative / 2) / negative.sum()
    beyond = 1 - (np.cumsum(positive) - positive / 2) / positive.sum()
    variance = sum(
        float((weights * (placement - estimate) ** 2).sum() / weights.sum()) / (effective - 1)
        for weights, placement, effective in ((positive, below, n[1]), (negative, beyond, n[0]))
    )
    if not variance:
        return _wilson(estimate, min(n))  # perfectly apart: DeLong's interval would have no width
    logit, reach = log(estimate / (1 - estimate)), _Z * sqrt(variance) / (estimate * (1 - estimate))
    return Interval(estimate, 1 / (1 + exp(min(reach - logit, 700))), 1 / (1 + exp(max(-logit - reach, -700))))


def _average_precision(weights: Numbers) -> Numbers:
    """The sum of precision over the steps of recall, from the highest bin down, of each set of weights."""
    falling = np.cumsum(weights[..., ::-1], axis=-1)
    flagged = falling.sum(axis=-2)
    precision = _ratio(falling[..., 1, :], flagged, np.zeros_like(flagged))
    return _ratio((weights[..., 1, ::-1] * precision).sum(axis=-1), weights[..., 1, :].sum(axis=-1))


def _calibration(classes: Classes, weights: Numbers) -> Numbers:
    """The mean distance of the rate of positives from the mean score, over ten groups of bins of about equal size."""
    total = classes.weights.sum(axis=0)
    if not total.sum():
        return np.full(weights.shape[:-2], nan)
    place = (np.cumsum(total) - total / 2) / total.sum() * _CALIBRATION_BINS
    of_group = np.eye(_CALIBRATION_BINS)[np.minimum(place.astype(np.intp), _CALIBRATION_BINS - 1)]
    distance = np.abs((weights[..., 1, :] - (weights * classes.means).sum(axis=-2)) @ of_group).sum(axis=-1)
    return _ratio(distance, weights.sum(axis=(-2, -1)))


def _mean(classes: Classes, losses: Numbers) -> Interval:
    """Of a loss of the events of each class and bin."""
    weights, n = classes.weights, sum(classes.effective)
    if not weights.sum():
        return Interval(nan, nan, nan)
    mean = float((weights * losses).sum() / weights.sum())
    if n <= 1:
        return Interval(mean, nan, nan)
    variance = float((weights * (losses - mean) ** 2).sum() / weights.sum()) / (n - 1)
    return Interval(mean, max(0.0, mean - _Z * sqrt(variance)), mean + _Z * sqrt(variance))


def _draw(classes: Classes) -> Numbers:
    """The weights of samples of as many events, drawn with replacement: [draws, 2, bins]."""
    counts = _ratio(classes.weights**2, classes.squares, np.zeros_like(classes.weights))
    n = round(counts.sum())
    if not n:
        return np.zeros((_DRAWS, *counts.shape))
    drawn = np.random.default_rng(_SEED).multinomial(n, counts.ravel() / counts.sum(), _DRAWS)
    each = _ratio(classes.weights, counts, np.zeros_like(counts))
    return np.asarray(drawn.reshape(_DRAWS, *counts.shape) * each, np.float64)


def _by_draws(estimate: Numbers, draws: Numbers, *, is_biased: bool = False) -> Interval:
    """By the quantiles of draws; or, where noise itself makes a value greater, by their distances from the estimate."""
    value = float(np.asarray(estimate).ravel()[0])
    known = draws[~np.isnan(draws)]
    if value != value or not len(known):  # noqa: PLR0124 - NaN
        return Interval(value, nan, nan)
    low, high = np.quantile(known, [_ALPHA / 2, 1 - _ALPHA / 2]).tolist()
    if is_biased:
        low, high = 2 * value - high, 2 * value - low
    return Interval(value, min(value, max(0.0, low)), max(value, high))


def _expectations(mean: Numbers, above: NDArray[np.bool_]) -> dict[str, Callable[[Numbers], Numbers]]:
    """The measures of EXPECTED, of numbers of events by bin: [..., bins]."""
    return {
        "auc": lambda n: area(n * (1 - mean), n * mean),
        "brier": lambda n: _ratio((n * mean * (1 - mean)).sum(axis=-1), n.sum(axis=-1)),
        "precision": lambda n: _ratio((n * mean)[..., above].sum(axis=-1), n[..., above].sum(axis=-1)),
        "recall": lambda n: _ratio((n * mean)[..., above].sum(axis=-1), (n * mean).sum(axis=-1)),
        "positive_rate": lambda n: _ratio((n * mean).sum(axis=-1), n.sum(axis=-1)),
    }
