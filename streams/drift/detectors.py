"""The detectors of one monitor on one partition: a deterministic function of the values, in their order.

Values come in blocks; how a stream is cut into blocks makes no difference to the result.

- *adwin* (Bifet and Gavaldà, SDM 2007) and *page_hinkley* (Page, Biometrika 1954) are river's, fed with standardised
  values. They compare the stream with its own past, fire at each change and start over.
- *psi* (population stability index) and *kl* (Kullback-Leibler divergence, nats) compare the histogram of the latest
  records with the reference's; *missing* is the share of nulls among them. They fire once on exceeding their threshold,
  and can fire again only after falling well below it.
"""

from __future__ import annotations

import base64
import binascii
import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict
from river.drift import ADWIN, PageHinkley

from schemas.columns import Integers
from streams.drift.drift_reference import Bins, DetectorName, Floats, MonitorReference

# In standard deviations: Page-Hinkley ignores smaller changes of the mean.
PAGE_HINKLEY_DELTA = 0.1
# The windowed statistics are computed this many times per window.
EVALUATIONS = 50
# After firing, a statistic must fall below this fraction of its threshold before it can fire again.
CLEAR_FRACTION = 0.5
# Added to each bin's count, so that an empty bin is improbable but not impossible.
PRIOR = 0.5


class Crossing(NamedTuple):
    """A detector fired. ``reference`` and ``current`` are means; for *missing*, shares of nulls."""

    detector: DetectorName
    statistic: float
    threshold: float
    reference: float
    current: float


class MonitorState(BaseModel):
    """The exact state of the detectors of one monitor, for JSON.

    ``adwin`` is river's own binary form and ``bins`` the bin of each record in the window, oldest first, both in
    base64; ``page_hinkley`` are its numbers (null for infinity); ``over`` the windowed detectors that have fired.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    adwin: str
    adwin_fired: bool
    page_hinkley: tuple[float | None, ...]
    page_hinkley_fired: bool
    bins: str
    evaluate_in: int
    over: tuple[DetectorName, ...]


class UnreadableStateError(Exception):
    """The state cannot be restored into these detectors."""


class MonitorDetectors:
    """The five detectors of one monitor.

    Args:
        reference: The monitor's distribution in training, and its thresholds.
        window: Records in the histogram.
    """

    def __init__(self, reference: MonitorReference, window: int) -> None:
        self._reference = reference
        limits = reference.thresholds
        self._limits = limits.windowed()
        self._adwin = ADWIN(delta=limits.adwin_delta)
        # No fading (alpha = 1): fading keeps the sums from drifting back, so chance alone fires within a few thousand.
        self._page_hinkley = PageHinkley(delta=PAGE_HINKLEY_DELTA, threshold=limits.page_hinkley, alpha=1.0)
        self._histogram = SlidingHistogram(reference.null_bin + 1, window)
        self._expected = smoothed(np.array(reference.shares) * reference.rows)
        self._window = window
        self._stride = stride(window)
        self._evaluate_in = self._stride
        self._over: set[DetectorName] = set()
        # The latest values of psi, kl and missing; empty until the window is full.
        self.statistics: Mapping[DetectorName, float] = {}
        # Where, in the latest block, which windowed detectors cleared: fell well below their threshold after firing.
        self.cleared: list[tuple[int, DetectorName]] = []

    def update(self, values: Floats) -> list[tuple[int, Crossing]]:
        """Process values in order (NaN for null); returns the detectors that fired, each with the index of its value.

        At one value, *adwin* and *page_hinkley* come before the others.
        """
        found: list[tuple[int, Crossing]] = []
        places = np.flatnonzero(~np.isnan(values))
        z = self._reference.standardised(values[places])
        done = 0
        # An alert of a window tells ADWIN's mean at that value, so ADWIN must not be ahead of it.
        for place, detector, statistic in self._evaluate_windows(values):
            until = int(np.searchsorted(places, place, side="right"))
            found += self._update_sequential(places[done:until].tolist(), z[done:until].tolist())
            means = (self._reference.mean, self.mean)
            if detector == "missing":
                means = (self._reference.missing, statistic)
            found.append((place, Crossing(detector, statistic, self._limits[detector], *means)))
            done = until
        found += self._update_sequential(places[done:].tolist(), z[done:].tolist())
        return found

    @property
    def mean(self) -> float:
        """Mean of the values in ADWIN's window, in the monitor's unit; the reference's mean if there are none."""
        return self._to_unit(self._adwin.estimation)

    @property
    def over(self) -> frozenset[DetectorName]:
        """The windowed detectors that fired and have not cleared yet."""
        return frozenset(self._over)

    def state(self) -> MonitorState:
        """The state to save; restoring it continues exactly from here."""
        # river offers only pickle, and data from a topic is never unpickled: its numbers are saved instead.
        numbers = (getattr(self._page_hinkley, name) for name in _PAGE_HINKLEY_SUMS)
        mean = self._page_hinkley._x_mean  # noqa: SLF001
        return MonitorState(
            adwin=base64.b64encode(self._adwin._helper.__getstate__()).decode(),  # noqa: SLF001
            adwin_fired=self._adwin.drift_detected,
            page_hinkley=tuple(_finite(number) for number in (mean.n, mean.get(), *numbers)),
            page_hinkley_fired=self._page_hinkley.drift_detected,
            bins=base64.b64encode(self._histogram.bins()).decode(),
            evaluate_in=self._evaluate_in,
            over=tuple(sorted(self._over)),
        )

    def restore(self, state: MonitorState, *, with_adwin: bool = True) -> None:
        """Restore a saved state; ``with_adwin=False`` starts ADWIN over, because another river version wrote its part.

        Raises:
            UnreadableStateError: if the state does not fit these detectors.
        """
        try:
            self._histogram.refill(base64.b64decode(state.bins, validate=True))
            if with_adwin:
                _restore_adwin(self._adwin, base64.b64decode(state.adwin, validate=True))
        except (binascii.Error, ValueError) as error:
            raise UnreadableStateError(f"{self._reference.name}: {error}") from error
        if not 1 <= state.evaluate_in <= self._stride:
            raise UnreadableStateError(f"{self._reference.name}: evaluate_in is {state.evaluate_in}")
        if with_adwin:
            self._adwin._drift_detected = state.adwin_fired  # noqa: SLF001
        ph = self._page_hinkley
        count, mean, *sums = (math.inf if number is None else number for number in state.page_hinkley)
        if len(sums) != len(_PAGE_HINKLEY_SUMS):
            raise UnreadableStateError(f"{self._reference.name}: page_hinkley has {len(sums)} sums")
        ph._x_mean.n, ph._x_mean._mean = count, mean  # noqa: SLF001
        for name, number in zip(_PAGE_HINKLEY_SUMS, sums, strict=True):
            setattr(ph, name, number)
        ph._drift_detected = state.page_hinkley_fired  # noqa: SLF001
        self._evaluate_in = state.evaluate_in
        self._over = set(state.over)
        if self._histogram.full:
            (self.statistics,) = self._window_statistics(self._histogram.counts[None])

    def _update_sequential(self, places: list[int], z: list[float]) -> Iterator[tuple[int, Crossing]]:
        adwin, ph = self._adwin, self._page_hinkley
        for place, value in zip(places, z, strict=True):
            # What ADWIN.estimation computes, at a third of its cost: it is needed only if the value makes ADWIN fire.
            helper = adwin._helper  # noqa: SLF001
            total, width = helper.get_total(), helper.get_width()
            adwin.update(value)
            ph.update(value)
            if adwin.drift_detected:
                before, after = total / width if width else 0.0, adwin.estimation
                limit, means = self._reference.thresholds.adwin_delta, (self._to_unit(before), self._to_unit(after))
                yield place, Crossing("adwin", abs(after - before), limit, *means)
            if ph.drift_detected:
                means = self._to_unit(ph._x_mean.get()), self.mean  # noqa: SLF001
                yield place, Crossing("page_hinkley", page_hinkley_statistic(ph), ph.threshold, *means)

    def _evaluate_windows(self, values: Floats) -> Iterator[tuple[int, DetectorName, float]]:
        """Add the values to the histogram; yields the windowed detectors that fire: where, and with which statistic."""
        self.cleared = []
        stops = range(self._evaluate_in, len(values) + 1, self._stride)
        self._evaluate_in = (self._evaluate_in - len(values) - 1) % self._stride + 1
        full_at, counts = self._histogram.add(self._reference.bins_of(values), stops)
        for stop, statistics in zip(full_at, self._window_statistics(counts) if full_at else (), strict=True):
            self.statistics = statistics
            for detector, statistic in statistics.items():
                limit = self._limits[detector]
                if detector in self._over:
                    if statistic < CLEAR_FRACTION * limit:
                        self._over.discard(detector)
                        self.cleared.append((stop - 1, detector))
                elif statistic > limit:
                    self._over.add(detector)
                    yield stop - 1, detector, statistic

    def _window_statistics(self, counts: Integers) -> list[dict[DetectorName, float]]:
        """Statistics of full windows, by their counts [windows, bins]."""
        psi, kl = divergences(smoothed(counts), self._expected)
        missing = counts[:, -1] / self._window
        return [
            {"psi": p, "kl": k, "missing": m}
            for p, k, m in zip(psi.tolist(), kl.tolist(), missing.tolist(), strict=True)
        ]

    def _to_unit(self, z: float) -> float:
        return float(self._reference.mean + z * self._reference.std)


class SlidingHistogram:
    """The bins of the latest ``window`` records, and how many of them are in each bin."""

    def __init__(self, bins: int, window: int) -> None:
        self.counts = np.zeros(bins, np.int64)
        self._window = window
        self._latest = np.empty(0, np.uint8)

    @property
    def full(self) -> bool:
        """Whether the window holds ``window`` records."""
        return len(self._latest) == self._window

    def add(self, numbers: Bins, stops: range) -> tuple[range, Integers]:
        """Add n records by their bins; the oldest ones leave a full window.

        Returns those of the ``stops``, at most n, at which the window is full, and the counts [stops, bins] after that
        many of the records.
        """
        window, before, records = self._window, len(self._latest), np.concatenate([self._latest, numbers])
        changes = np.zeros((len(numbers) + 1, len(self.counts)), np.int64)
        changes[0] = self.counts
        changes[np.arange(1, len(numbers) + 1), numbers] = 1
        leaving = records[: max(len(records) - window, 0)]
        changes[np.arange(len(numbers) + 1 - len(leaving), len(numbers) + 1), leaving] -= 1
        counts = changes.cumsum(axis=0)
        self._latest, self.counts = records[-window:], counts[-1].copy()
        full_at = stops[bisect_left(stops, window - before) :]
        return full_at, counts[full_at.start : full_at.stop : full_at.step]

    def bins(self) -> bytes:
        """The bin of each record in the window, oldest first."""
        return self._latest.tobytes()

    def refill(self, bins: bytes) -> None:
        """Replace the window's records by these bins; ValueError if they are too many or out of range."""
        if len(bins) > self._window or max(bins, default=0) >= len(self.counts):
            raise ValueError("the window does not fit the reference")
        self._latest = np.frombuffer(bins, np.uint8)
        self.counts = np.bincount(self._latest, minlength=len(self.counts))


def stride(window: int) -> int:
    """Number of records between two evaluations of the windowed statistics."""
    return max(1, window // EVALUATIONS)


def smoothed(counts: Floats | Integers) -> Floats:
    """Shares of the bins, along the last axis, all above zero: ``PRIOR`` is added to each count."""
    total = _summed(counts) + PRIOR * counts.shape[-1]
    shares: Floats = (counts + PRIOR) / total[..., None]
    return shares


def divergences(current: Floats, expected: Floats) -> tuple[Floats, Floats]:
    """PSI, sum((p - q) ln(p / q)), and Kullback-Leibler divergence, sum(p ln(p / q)), of each row of shares.

    All shares must be above 0.
    """
    ratios = current / expected
    # Not np.log, whose last bit depends on the processor: alerts must not.
    logs = np.fromiter(map(math.log, ratios.ravel().tolist()), np.float64, ratios.size).reshape(ratios.shape)
    return _summed((current - expected) * logs), _summed(current * logs)


def _summed(terms: Floats | Integers) -> Floats:
    """Sums along the last axis, added from the first to the last: np.sum adds in another order."""
    sums: Floats = np.cumsum(terms, axis=-1, dtype=np.float64)[..., -1]
    return sums


def page_hinkley_statistic(detector: PageHinkley) -> float:
    """The value that river compares with the threshold: the larger distance of a one-sided sum from its extreme."""
    up = detector._sum_increase - detector._min_increase  # noqa: SLF001
    down = detector._max_decrease - detector._sum_decrease  # noqa: SLF001
    return float(max(up, down))


_PAGE_HINKLEY_SUMS = ("_sum_increase", "_sum_decrease", "_min_increase", "_max_decrease")


def _restore_adwin(adwin: ADWIN, content: bytes) -> None:
    try:
        adwin._helper.__setstate__(content)  # noqa: SLF001
    except BaseException as error:
        # river's Rust code panics on invalid input; pyo3 raises that as a BaseException.
        if type(error).__name__ != "PanicException":
            raise
        raise ValueError("not a state of ADWIN") from error


def _finite(number: float) -> float | None:
    return float(number) if math.isfinite(number) else None
