"""The band of a cascade: a fast model decides the clear cases, a strong one those whose fast score lies in the band.

The band is chosen so that few decisions differ from those that the strong model would make of all events. One part of
the holdout proposes bands, the other certifies one:

- the earlier half of the events gives a sequence of bands, from a wide one to the narrowest with no wrong decision, and
  on to the narrowest with one, with two, and so on up to the limit;
- the later half tests them in this order. A band passes if the upper bound of its share of differing decisions
  (Clopper, Pearson 1934, one-sided) is within the limit; the last before the first that does not is the answer.

The sequence does not depend on the later half, and testing ends with the first failure. So the answer exceeds the limit
with probability ``alpha`` at most, however many bands are tested (fixed-sequence testing: Maurer, Hothorn, Lehmacher
1995; Angelopoulos et al., Learn then Test, 2021). This takes events as independent, and the future as like the later
half; the audit slice (:mod:`scoring.audit`) tells whether it is. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from penstock.errors import PenstockError

Numbers = NDArray[np.float64]
Flags = NDArray[np.bool_]
Scores = NDArray[np.floating[Any]]

# Of the events on either side of the narrowest band without an error, the shares that the bands before it take in too.
_WIDER = (0.8, 0.6, 0.4, 0.2, 0.1, 0.05)


class NoBand(PenstockError):  # noqa: N818 - an answer about models and data, not a defect
    """No band is certain enough. ``events_needed`` is how many events might do; None if more would not help."""

    def __init__(self, what: str, where: str, events_needed: int | None) -> None:
        advice = "let the strong model score all events, or train the fast one on its scores"
        if events_needed is not None:
            advice = f"take a holdout of at least {events_needed:,} events"
        advice += ", allow more with a larger Cascade(differing=...), or declare a band=(LOW, HIGH) of your own"
        super().__init__(what, where=where, safe="no band was chosen", next=advice)
        self.events_needed = events_needed


@dataclass(frozen=True)
class Band:
    """The fast scores from ``low`` up to, but not including, ``high``."""

    low: float
    high: float

    def contains(self, scores: Scores) -> Flags:
        """Which fast scores, [N], the strong model must decide."""
        exact = _exact(scores)
        return (exact >= self.low) & (exact < self.high)


@dataclass(frozen=True)
class CertifiedBand:
    """A band, and what the later half of the holdout says of it.

    Attributes:
        band: The band.
        events: The events of the later half.
        strong: How many of them the strong model must score.
        differing: How many are decided otherwise than the strong model would.
        bound: The upper bound of the share of such events, which exceeds it with probability ``alpha`` at most.
        alpha: That probability.
    """

    band: Band
    events: int
    strong: int
    differing: int
    bound: float
    alpha: float

    @property
    def strong_share(self) -> float:
        """The expected share of events that the strong model must score."""
        return self.strong / self.events

    def times_cheaper(self, fast_cost: float, strong_cost: float) -> float:
        """What the strong model costs for all events, divided by what the cascade costs; costs are of one event."""
        return strong_cost / (fast_cost + self.strong_share * strong_cost)


def choose_band(
    fast: Scores,
    strong: Scores,
    threshold: float,
    limit: float = 0.001,
    alpha: float = 0.05,
) -> CertifiedBand:
    """The narrowest band of the sequence whose share of differing decisions is surely within a limit.

    Narrow means few events for the strong model. A decision is positive if its score is at least the threshold.

    Args:
        fast: The scores of the fast model, [N], of events that neither model was trained on, in order of time.
        strong: The strong model's scores of the same events.
        threshold: The threshold, of both models.
        limit: The greatest share of decisions that may differ.
        alpha: The probability that the share exceeds the limit all the same.

    Raises:
        NoBand: if there are too few events, or the models differ too often everywhere.
        ValueError: if a score is not a finite number, or the scores are not of as many events.
    """
    if fast.shape != strong.shape:
        raise ValueError(f"{fast.shape} fast scores and {strong.shape} strong ones")
    for name, scores in (("fast", fast), ("strong", strong)):
        if not np.isfinite(scores).all():
            raise ValueError(f"the {name} model has a score that is no finite number")
    differs = is_positive(fast, threshold) != is_positive(strong, threshold)
    half = len(fast) // 2
    later, later_differs = fast[half:], differs[half:]
    where = f"{len(later):,} later events of the holdout"
    if not half or len(later) < least_events(0.0, limit, alpha):
        needed = 2 * least_events(0.0, limit, alpha)
        raise NoBand(
            f"{len(fast):,} events are too few to certify that at most {100 * limit:g} % of decisions differ",
            where,
            needed - 1,
        )
    certified = None
    for band in _candidates(_exact(fast[:half]), differs[:half], threshold, limit):
        is_inside = band.contains(later)
        wrong = int((later_differs & ~is_inside).sum())
        bound = upper_bound(wrong, len(later), alpha)
        if bound > limit:
            break
        certified = CertifiedBand(band, len(later), int(is_inside.sum()), wrong, bound, alpha)
    if certified is None:
        share = wrong / len(later)
        raise NoBand(
            f"{wrong:,} clear cases are decided otherwise than by the strong model: their share is surely below "
            f"{100 * bound:.3g} % only, not {100 * limit:g} %",
            where,
            2 * least_events(share, limit, alpha) if share < limit else None,
        )
    return certified


def is_positive(scores: Scores, threshold: float) -> Flags:
    """Which scores decide as positive: those of at least the threshold, as a double."""
    return _exact(scores) >= threshold


def upper_bound(hits: float, of: int, alpha: float) -> float:
    """Of the probability of a hit, which exceeds it with probability ``alpha`` at most; 1 without events.

    Clopper's and Pearson's, one-sided: the probability for which so few hits have probability ``alpha``.
    """
    return 1.0 if hits >= of else float(special.betaincinv(hits + 1, of - hits, 1 - alpha))


def least_events(share: float, limit: float, alpha: float) -> int:
    """How many events it takes for the upper bound to be within the limit, if this share of them are hits.

    Raises:
        ValueError: if the share is not below the limit, which no number of events brings below it.
    """
    if not share < limit:
        raise ValueError(f"a share of {share} is not below {limit}")
    enough = math.ceil(math.log(alpha) / math.log1p(-limit))
    while upper_bound(share * enough, enough, alpha) > limit:
        enough *= 2
    too_few = enough // 2
    while enough - too_few > 1:
        middle = (enough + too_few) // 2
        if upper_bound(share * middle, middle, alpha) > limit:
            too_few = middle
        else:
            enough = middle
    return enough


def _exact(scores: Scores) -> Numbers:
    """As doubles: numpy would round a bound or threshold to the type of the scores that it is compared with."""
    return np.asarray(scores, np.float64)


def _candidates(scores: Numbers, differs: Flags, threshold: float, limit: float) -> Iterator[Band]:
    """Bands of ever fewer events, of the scores [N] of the earlier half."""
    ordered, differing = np.sort(scores), np.sort(scores[differs])
    safe = _narrowest(ordered, differing, 0, threshold)
    for share in _WIDER:
        yield _widened(ordered, safe, share)
    for missed in range(min(len(differing), int(limit * len(scores))) + 1):
        yield _narrowest(ordered, differing, missed, threshold)


def _narrowest(ordered: Numbers, differing: Numbers, missed: int, threshold: float) -> Band:
    """The band of the fewest events beyond which as many differing ones as given are; both arrays ascending.

    It reaches from one differing event to another, and up to the next score above. Of equals, the lowest.
    """
    within = len(differing) - missed
    if within <= 0:
        return Band(threshold, threshold)
    firsts, lasts = differing[: missed + 1], differing[within - 1 :]
    ends = np.searchsorted(ordered, lasts, side="right")
    best = int(np.argmin(ends - np.searchsorted(ordered, firsts)))
    return Band(float(firsts[best]), _start_of(ordered, int(ends[best])))


def _widened(ordered: Numbers, band: Band, share: float) -> Band:
    """The band, and a share of the events on either side of it, those next to it."""
    first, end = (int(at) for at in np.searchsorted(ordered, (band.low, band.high)))
    start = int(first * (1 - share))
    low = min(band.low, float(ordered[start])) if start < len(ordered) else band.low
    return Band(low, max(band.high, _start_of(ordered, end + math.ceil((len(ordered) - end) * share))))


def _start_of(ordered: Numbers, place: int) -> float:
    """The score at a place, or the least number above all scores."""
    return float(ordered[place] if place < len(ordered) else np.nextafter(ordered[-1], np.inf))
