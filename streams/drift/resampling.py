"""Runs of training data, in original order and resampled, and the peaks of the detectors' statistics over them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from river.drift import ADWIN

from streams.drift.detectors import PAGE_HINKLEY_DELTA, PRIOR, stride

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

DAY_MS = 86_400_000
# Resampling: block lengths in days, and runs per block length. Short blocks give more varied runs, long ones keep
# longer autocorrelation; the higher threshold of the two is used.
BLOCKS_DAYS, RUNS = (1, 7), 25
# Fewer days than _MIN_DAYS cannot be resampled by day: the rows are then cut into _PIECES of equal size.
_MIN_DAYS, _PIECES = 4, 10
# Blocks and runs as long as so many correlation times, so that slow levels come and go within them.
CORRELATIONS_IN_BLOCK, _CORRELATIONS_IN_RUN = 5, 20
# Length of a resampled run: the histogram is renewed several times, and the running time stays bounded.
_MIN_WINDOWS, _MAX_RUN = 5, 8_000
_MAX_ROWS, _FEWEST_RUNS = 1_000_000, 10
# ADWIN's grid, in ln(1 / delta): up to the limit of a double.
_ADWIN_GRID_START, ADWIN_MAX, _ADWIN_GRID_RATIO = 0.5, 690.0, 1.15
_PAGE_HINKLEY_WARM_UP = 30


@dataclass(frozen=True)
class MonitorSeries:
    """One monitor's training data: N rows in event-time order.

    ``times`` is int64 [N], epoch ms; ``partitions`` int64 [N], of the raw event; ``values`` float64 [N], null as NaN.
    ``held_out`` are further values that must not look like drift: a model's scores on unseen rows differ slightly from
    those on its training rows.
    """

    name: str
    times: Ints
    partitions: Ints
    values: Floats
    held_out: MonitorSeries | None = None


@dataclass(frozen=True)
class Peaks:
    """The greatest value of each statistic in one run; ``adwin`` is the least ln(1 / delta) that does not fire."""

    adwin: float
    page_hinkley: float
    psi: float
    kl: float
    missing: float


@dataclass(frozen=True)
class Binned:
    """Values as the detectors see them, [N]: standardised and clipped (NaN for null), and by their bins."""

    z: Floats
    bins: npt.NDArray[np.intp]


class Resampler:
    """Runs of one monitor's rows, in original order or resampled, and the statistics' peaks over them.

    ``sequential``: whether ADWIN and Page-Hinkley are wanted; else their peaks are of nothing.
    """

    def __init__(
        self,
        series: MonitorSeries,
        binned: Binned,
        counts: npt.NDArray[np.intp],
        window: int,
        correlated_days: float,
        *,
        sequential: bool,
    ) -> None:
        self._z, self._bins, self._window = binned.z, binned.bins, window
        self._sequential, self._is_adwin_cut_off = sequential, False
        expected = counts + PRIOR
        self._expected = expected / expected.sum()
        self._partition_rows = [np.flatnonzero(series.partitions == number) for number in np.unique(series.partitions)]
        self._day_bounds = [_day_bounds(series.times[rows]) for rows in self._partition_rows]
        typical = int(np.median([len(rows) for rows in self._partition_rows]))
        span_days = float(np.ptp(series.times)) / DAY_MS if len(series.times) else 0.0
        correlated = typical * correlated_days / span_days if span_days else 0.0
        longest = max(_MAX_RUN, math.ceil(_CORRELATIONS_IN_RUN * correlated))
        self.length = max(_MIN_WINDOWS * window, min(typical, longest))
        self._runs = min(RUNS, max(_FEWEST_RUNS, _MAX_ROWS // self.length))

    def original_order(self) -> list[npt.NDArray[np.intp]]:
        """Each partition's rows, in their original order."""
        return self._partition_rows

    def resampled(self, days: int, rng: np.random.Generator) -> Iterator[npt.NDArray[np.intp]]:
        """Runs of ``length`` rows, from the partitions in turn, made of random blocks of ``days`` days."""
        for run in range(self._runs):
            number = run % len(self._partition_rows)
            partition_rows, units = self._partition_rows[number], self._day_bounds[number]
            block = max(1, min(days, len(units) // 3))
            drawn: list[npt.NDArray[np.intp]] = []
            while sum(map(len, drawn)) < self.length:
                first = int(rng.integers(0, len(units) - block + 1))
                drawn.append(partition_rows[units[first][0] : units[first + block - 1][1]])
            yield np.concatenate(drawn)[: self.length]

    def peaks(self, rows: npt.NDArray[np.intp]) -> Peaks:
        """The greatest value of each statistic over these rows, in the given order."""
        z = self._z[rows]
        known = z[~np.isnan(z)].tolist() if self._sequential else []
        psi, kl, missing = self._window_peaks(self._bins[rows])
        return Peaks(self._adwin_peak(known), page_hinkley_peak(known), psi, kl, missing)

    def _adwin_peak(self, values: Sequence[float]) -> float:
        # The search is slow, and one run that is cut off settles it: ADWIN is refused.
        if not self._is_adwin_cut_off:
            peak = _adwin_peak(values)
            self._is_adwin_cut_off = peak >= ADWIN_MAX
            return peak
        return ADWIN_MAX

    def _window_peaks(self, bins: npt.NDArray[np.intp]) -> tuple[float, float, float]:
        window, step = self._window, stride(self._window)
        if len(bins) < window:
            return 0.0, 0.0, 0.0
        ends = np.arange(-(-window // step) * step, len(bins) + 1, step)
        if not len(ends):
            return 0.0, 0.0, 0.0
        total = np.zeros((len(bins) + 1, len(self._expected)), dtype=np.int64)
        total[np.arange(1, len(bins) + 1), bins] = 1
        total = total.cumsum(axis=0)
        counts = total[ends] - total[ends - window]
        shares = (counts + PRIOR) / (window + PRIOR * len(self._expected))
        ratios = np.log(shares / self._expected)
        psi, kl = ((shares - self._expected) * ratios).sum(axis=1), (shares * ratios).sum(axis=1)
        return float(psi.max()), float(kl.max()), float(counts[:, -1].max()) / window


def _day_bounds(times: Ints) -> list[tuple[int, int]]:
    """First and end row of each day (UTC), or of each of ``_PIECES`` equal pieces if there are too few days."""
    days = times // DAY_MS
    starts = np.flatnonzero(np.r_[True, days[1:] != days[:-1]])
    # The first and the last day are rarely complete.
    bounds = np.r_[starts, len(times)]
    if len(starts) >= _MIN_DAYS + 2:
        bounds = bounds[1:-1]
    elif len(starts) < _MIN_DAYS:
        bounds = np.linspace(0, len(times), _PIECES + 1).astype(np.int64)
    return [(int(a), int(b)) for a, b in pairwise(bounds) if b > a]


def page_hinkley_peak(values: Sequence[float]) -> float:
    """The greatest statistic that river's Page-Hinkley test would reach if it never fired."""
    mean, deviations = 0.0, []
    for number, value in enumerate(values, start=1):
        mean += (value - mean) / number
        deviations.append(value - mean)
    # Sums from the first to the last, as river adds.
    up = np.cumsum(np.array(deviations) - PAGE_HINKLEY_DELTA)
    down = np.cumsum(np.array(deviations) + PAGE_HINKLEY_DELTA)
    rises = up - np.minimum.accumulate(up)
    falls = np.maximum(np.maximum.accumulate(down), -1.0) - down
    return float(np.maximum(rises, falls)[_PAGE_HINKLEY_WARM_UP - 1 :].max(initial=0.0))


def _adwin_peak(values: Sequence[float]) -> float:
    """The least ln(1 / delta), on a geometric grid, at which ADWIN would not have fired."""
    low, high = 0, math.ceil(math.log(ADWIN_MAX / _ADWIN_GRID_START, _ADWIN_GRID_RATIO))
    while low < high:
        middle = (low + high) // 2
        if _adwin_fires(values, math.exp(-_ADWIN_GRID_START * _ADWIN_GRID_RATIO**middle)):
            low = middle + 1
        else:
            high = middle
    return min(_ADWIN_GRID_START * _ADWIN_GRID_RATIO**low, ADWIN_MAX)


def _adwin_fires(values: Sequence[float], delta: float) -> bool:
    # What ADWIN.update does until it first fires, without the Python around it.
    update = ADWIN(delta=delta)._helper.update  # noqa: SLF001
    return any(map(update, values))
