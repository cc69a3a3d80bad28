"""Whether labels themselves have changed: whether they come, when they come, and whether some are lost. Pure.

A model cannot change when labels come. And a change of the world is uneven: it makes some scores wrong more than
others. Labels that are lost by a broken feed are missing at all scores alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loop.performance import Calibration
from loop.sample import Sample
from loop.shifts import is_shifted
from penstock.time import rough

# Labels that come for fewer of the mature events, by so much, are missing.
_MISSING = 0.05
# A median delay that changes by a smaller factor is none of a feed: flights, too, take longer in some weeks.
_LEAST_FACTOR = 1.5
# A feed that loses less than a quarter is not told from chance.
_LOST = 0.75
_STRATA = 3
_LEAST_EXPECTED = 30.0
_LEAST_OF_A_STRATUM = 20.0
_SIGMAS = 3.0


@dataclass(frozen=True)
class LabelChange:
    """What has changed about labels, in words."""

    what: str


def label_change(before: Sample, now: Sample, calibration: Calibration | None) -> LabelChange | None:
    """What has changed about the labels; None if nothing, or if too few are known."""
    come, came = _share_labelled(now), _share_labelled(before)
    if came is not None and come is not None and came - come > _MISSING:
        return LabelChange(f"labels come for {come:.0%} of the mature events, for {came:.0%} before")
    # By class: a class whose labels come later may have become more frequent.
    for label in (None,) if now.is_regression else (0.0, 1.0):
        old, new = (_delays(sample, label) for sample in (before, now))
        if min(len(old), len(new)) >= _LEAST_EXPECTED and is_shifted(old, new)[0]:
            late, usual = float(np.median(new)), float(np.median(old))
            if max(late, usual) >= _LEAST_FACTOR * min(late, usual):
                of = "" if label is None else f" {label:.0f}"
                times = f"after {rough(1_000 * late)}, after {rough(1_000 * usual)} before"
                return LabelChange(f"the median label{of} comes {times}")
    return None if calibration is None else _lost(now.matured(), calibration)


def _delays(sample: Sample, label: float | None) -> NDArray[np.float64]:
    """How late the labels of a class have come, or of all without classes: of mature events, as none comes later."""
    is_it = ~np.isnan(sample.labels) if label is None else sample.labels == label
    delays: NDArray[np.float64] = sample.delays[is_it & sample.mature & ~np.isnan(sample.delays)]
    return delays


def _share_labelled(sample: Sample) -> float | None:
    due = sample.mature if sample.due is None else sample.due
    return float((~np.isnan(sample.labels[due])).mean()) if due.sum() >= _LEAST_EXPECTED else None


def _lost(known: Sample, calibration: Calibration) -> LabelChange | None:
    """Whether positives are missing at all scores alike.

    A world in which all risks fall alike looks the same: nobody can tell, and not to retrain is safe in both.
    """
    chance = calibration(known.scores)
    if chance.sum() < _STRATA * _LEAST_OF_A_STRATUM:
        return None
    # Strata of equally many expected positives.
    order = np.argsort(known.scores, kind="stable")
    share = np.cumsum(chance[order]) / chance.sum()
    strata = [
        order[(share > stratum / _STRATA) & (share <= (stratum + 1) / _STRATA)]  # of ascending scores
        for stratum in range(_STRATA)
    ]
    kept = known.labels.sum() / chance.sum()
    for rows in strata:
        expected = chance[rows].sum()
        ratio = known.labels[rows].sum() / expected
        error = float(np.sqrt(max(kept, 0.05) / expected))
        if ratio > _LOST or ratio + _SIGMAS * error > 1 or abs(ratio - kept) > _SIGMAS * error:
            return None
    return LabelChange(f"{kept:.0%} of the expected positives come, at low and at high scores alike")
