"""The detectors of one monitor on one partition: a deterministic function of the values, in their order.

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
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict
from river.drift import ADWIN, PageHinkley

from streams.drift.drift_reference import DetectorName, MonitorReference

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
        self._expected = smoothed([share * reference.rows for share in reference.shares])
        self._stride = stride(window)
        self._evaluate_in = self._stride
        self._over: set[DetectorName] = set()
        # The latest values of psi, kl and missing; empty until the window is full.
        self.statistics: Mapping[DetectorName, float] = {}

    def update(self, value: float) -> list[Crossing]:
        """Process one value (NaN for null); returns the detectors that fired."""
        crossings: list[Crossing] = []
        if not math.isnan(value):
            crossings += self._update_sequential(self._reference.standardised(value))
        self._histogram.add(self._reference.bin_of(value))
        self._evaluate_in -= 1
        if self._evaluate_in == 0:
            self._evaluate_in = self._stride
            if self._histogram.full:
                crossings += self._evaluate_window()
        return crossings

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
            self.statistics = self._window_statistics()

    def _update_sequential(self, z: float) -> Iterator[Crossing]:
        before = self._adwin.estimation
        self._adwin.update(z)
        if self._adwin.drift_detected:
            after, limit = self._adwin.estimation, self._reference.thresholds.adwin_delta
            yield Crossing("adwin", abs(after - before), limit, self._to_unit(before), self._to_unit(after))
        ph = self._page_hinkley
        ph.update(z)
        if ph.drift_detected:
            yield Crossing(
                "page_hinkley",
                page_hinkley_statistic(ph),
                ph.threshold,
                self._to_unit(ph._x_mean.get()),  # noqa: SLF001
                self._to_unit(self._adwin.estimation),
            )

    def _evaluate_window(self) -> Iterator[Crossing]:
        self.statistics = self._window_statistics()
        reference = self._reference
        for detector, statistic in self.statistics.items():
            limit = self._limits[detector]
            if detector in self._over:
                if statistic < CLEAR_FRACTION * limit:
                    self._over.discard(detector)
            elif statistic > limit:
                self._over.add(detector)
                means = (reference.missing, statistic) if detector == "missing" else (reference.mean, self.mean)
                yield Crossing(detector, statistic, limit, *means)

    def _window_statistics(self) -> dict[DetectorName, float]:
        counts = self._histogram.counts
        psi, kl = divergences(smoothed(counts), self._expected)
        return {"psi": psi, "kl": kl, "missing": counts[-1] / sum(counts)}

    def _to_unit(self, z: float) -> float:
        return float(self._reference.mean + z * self._reference.std)


class SlidingHistogram:
    """Counts per bin of the latest ``window`` records."""

    def __init__(self, bins: int, window: int) -> None:
        self.counts = [0] * bins
        self._window = window
        self._ring = bytearray()
        self._oldest = 0

    @property
    def full(self) -> bool:
        """Whether the window holds ``window`` records."""
        return len(self._ring) == self._window

    def add(self, number: int) -> None:
        """Count a record in a bin; the oldest record leaves a full window."""
        self.counts[number] += 1
        if not self.full:
            self._ring.append(number)
            return
        self.counts[self._ring[self._oldest]] -= 1
        self._ring[self._oldest] = number
        self._oldest = (self._oldest + 1) % self._window

    def bins(self) -> bytes:
        """The bin of each record in the window, oldest first."""
        return bytes(self._ring[self._oldest :] + self._ring[: self._oldest])

    def refill(self, bins: bytes) -> None:
        """Replace the window's records by these bins; ValueError if they are too many or out of range."""
        if len(bins) > self._window or max(bins, default=0) >= len(self.counts):
            raise ValueError("the window does not fit the reference")
        self._ring, self._oldest = bytearray(bins), 0
        self.counts = [bins.count(number) for number in range(len(self.counts))]


def stride(window: int) -> int:
    """Number of records between two evaluations of the windowed statistics."""
    return max(1, window // EVALUATIONS)


def smoothed(counts: Sequence[float]) -> list[float]:
    """Shares of the bins, all above zero: ``PRIOR`` is added to each count."""
    total = sum(counts) + PRIOR * len(counts)
    return [(count + PRIOR) / total for count in counts]


def divergences(current: Sequence[float], expected: Sequence[float]) -> tuple[float, float]:
    """PSI, sum((p - q) ln(p / q)), and Kullback-Leibler divergence, sum(p ln(p / q)); all shares must be above 0."""
    psi = kl = 0.0
    for p, q in zip(current, expected, strict=True):
        ratio = math.log(p / q)
        psi += (p - q) * ratio
        kl += p * ratio
    return psi, kl


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
