"""How good scores are: realised by labels, and expected before labels come. Pure.

Of probabilities, it is how well they rank. The expectation is the confidence-based one: if a score of 0.3 means 30 %
still, the distribution of the scores alone says what the area under the curve must be. Of a regression, it is how small
errors are beside the spread of the labels; expected are the errors that values of this size had before. Both are blind
to a change of what a score means: so the expectation is compared with what labels show.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loop.sample import Sample, blocks
from scoring.ranking import area_of_scores

_BINS = 40
# Of each class, before anything is said.
_LEAST_OF_A_CLASS = 30
# A smaller fall of the area under the curve is of no interest.
_LEAST_FALL = 0.02
# A fall by so much matters, even where it is hard to see.
_MUCH = 0.1
_SIGMAS = 3.0


@dataclass(frozen=True)
class Estimate:
    """A number with its standard error."""

    value: float
    error: float

    def falls_below(self, other: Estimate) -> bool:
        """Whether it is below another one, by more than chance and by enough to matter."""
        return other.value - self.value > max(_LEAST_FALL, _SIGMAS * self._error_of_difference(other))

    def may_fall_unseen(self, other: Estimate) -> bool:
        """Whether both are so unsure, and so far apart, that one may have fallen by much without being told."""
        error = self._error_of_difference(other)
        return _SIGMAS * error > _MUCH and other.value - self.value > error

    def _error_of_difference(self, other: Estimate) -> float:
        return float(np.hypot(self.error, other.error))


@dataclass(frozen=True)
class Calibration:
    """What scores mean: the share of positives by score, learned of labelled events.

    Args:
        edges: The upper edges of the score bins, ascending, shape (bins - 1,).
        means: The probability of a positive by bin, never falling, shape (bins,).
    """

    edges: NDArray[np.float64]
    means: NDArray[np.float64]

    @classmethod
    def of(cls, scores: NDArray[np.float64], labels: NDArray[np.float64]) -> Calibration:
        """Learn it: quantile bins of the scores, made monotone."""
        edges = np.unique(np.quantile(scores, np.linspace(0, 1, _BINS + 1)[1:-1]))
        bins = np.searchsorted(edges, scores, side="left")
        counts = np.bincount(bins, minlength=len(edges) + 1).astype(float)
        sums = np.bincount(bins, weights=labels, minlength=len(edges) + 1).astype(float)
        return cls(edges, _monotone(sums, counts))

    def __call__(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """The probability of a positive for each score."""
        return self.means[np.searchsorted(self.edges, scores, side="left")]


@dataclass(frozen=True)
class Errors:
    """How far values of a regression are from their labels, learned of labelled events.

    Skill is 1 minus the mean absolute error over the spread: 1 for values without error, 0 for the constant that is
    nearest to the labels of the reference.

    Args:
        edges: The upper edges of the bins of scores, ascending, shape (bins - 1,).
        means: The mean absolute error by bin, shape (bins,).
        spread: The mean distance of the labels from their median, above 0.
    """

    edges: NDArray[np.float64]
    means: NDArray[np.float64]
    spread: float

    @classmethod
    def of(cls, known: Sample) -> Errors | None:
        """Learn them; None of too few events, or if all labels are alike."""
        if len(known) < 2 * _LEAST_OF_A_CLASS:
            return None
        spread = float(np.mean(np.abs(known.labels - np.median(known.labels))))
        edges = np.unique(np.quantile(known.scores, np.linspace(0, 1, _BINS + 1)[1:-1]))
        bins = np.searchsorted(edges, known.scores, side="left")
        counts = np.bincount(bins, minlength=len(edges) + 1)
        sums = np.bincount(bins, weights=np.abs(known.labels - known.scores), minlength=len(edges) + 1)
        means = np.where(counts > 0, sums / np.maximum(counts, 1), sums.sum() / len(known))
        return cls(edges, means, spread) if spread > 0 else None

    def realised(self, sample: Sample) -> Estimate | None:
        """The skill by the labels of mature events; None if too few are known."""
        known = sample.matured()
        if len(known) < 2 * _LEAST_OF_A_CLASS:
            return None
        return _with_error(known, lambda one: 1 - float(np.mean(np.abs(one.labels - one.scores))) / self.spread)

    def expected(self, sample: Sample) -> Estimate | None:
        """The skill if values of this size are as far from their labels as they were; None of too few events."""
        if len(sample) < 2 * _LEAST_OF_A_CLASS:
            return None
        return _with_error(sample, lambda one: 1 - float(np.mean(self._at(one.scores))) / self.spread)

    def _at(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """The error to expect at each score."""
        return self.means[np.searchsorted(self.edges, scores, side="left")]


def realised(sample: Sample) -> Estimate | None:
    """The area under the ROC curve by the labels of mature events; None if too few of a class are known."""
    known = sample.matured()
    positives = float(known.labels.sum())
    if min(positives, len(known) - positives) < _LEAST_OF_A_CLASS:
        return None
    return _with_error(known, lambda one: area_of_scores(one.scores, 1 - one.labels, one.labels))


def expected(sample: Sample, calibration: Calibration) -> Estimate | None:
    """The area that the scores promise, if they mean what they meant; None of no events."""
    if len(sample) < 2 * _LEAST_OF_A_CLASS:
        return None

    def area(one: Sample) -> float:
        chance = calibration(one.scores)
        found = area_of_scores(one.scores, 1 - chance, chance)
        # Scores that promise no positive at all rank nothing.
        return 0.5 if np.isnan(found) else found

    return _with_error(sample, area)


def bias(sample: Sample, calibration: Calibration) -> Estimate | None:
    """The logarithm of positives counted over positives expected of the mature events; None if too few are known.

    Its error does not include that of the calibration, which is the error of the bias of the calibration's own events.
    """
    known = sample.matured()
    if known.labels.sum() < _LEAST_OF_A_CLASS:
        return None

    def ratio(one: Sample) -> float:
        return float(np.log((one.labels.sum() + 0.5) / (calibration(one.scores).sum() + 0.5)))

    return _with_error(known, ratio)


def _with_error(sample: Sample, statistic: Callable[[Sample], float]) -> Estimate:
    """A statistic with its standard error by eight stretches: neighbouring events may depend on each other."""
    parts = np.array([statistic(sample.where(each)) for each in blocks(len(sample), max(1, len(sample) // 8), most=8)])
    told = parts[np.isfinite(parts)]  # a stretch without one of the classes tells nothing
    error = float(np.std(told, ddof=1) / np.sqrt(len(told))) if len(told) > 1 else 1.0
    return Estimate(statistic(sample), error)


def _monotone(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means that never fall; a bin without events has that of the one before, and 0 without one."""
    from sklearn.isotonic import isotonic_regression  # noqa: PLC0415 - slow to import

    known = counts > 0
    means = isotonic_regression(sums[known] / counts[known], sample_weight=counts[known])
    return np.concatenate([[0.0], means])[np.cumsum(known)]
