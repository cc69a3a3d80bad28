"""Calibrates a drift reference from training data: bins, moments, and thresholds for the requested false-alarm rate.

Tabulated thresholds assume independent values. Windowed features, and traffic with daily and weekly cycles, are not
independent. So every detector is replayed over the training data itself: over each partition's rows in their original
order, and over many resampled runs made of blocks of one day and of a week, which keep daily cycles and autocorrelation
(moving-block bootstrap; Künsch, Ann. Statist. 1989). The greatest value of the detector's statistic is taken from each
run, and a Gumbel distribution is fitted to these maxima. The threshold is the value that it exceeds once per return
period.

The return period, in records, is ``false_alarm_every`` events times the number of monitors times the number of
detectors. The number of partitions cancels out, because the detectors of only one partition see each event.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from river.drift import ADWIN
from scipy import stats

from penstock.errors import PenstockError
from streams.definitions.monitors import Monitors
from streams.drift.detectors import PAGE_HINKLEY_DELTA, PRIOR, stride
from streams.drift.drift_reference import CLIP, DETECTORS, DriftReference, MonitorReference, Thresholds

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

BINS = 10
# Resampling: block lengths in days, and runs per block length. Short blocks give more varied runs, long ones keep
# longer autocorrelation; the higher threshold of the two is used.
BLOCKS_DAYS, RUNS = (1, 7), 25
# Weeks of history do not show everything that years will: aim at a tenth of the allowed false alarms.
SAFETY_FACTOR = 10.0
_DAY_MS = 86_400_000
# Fewer days than _MIN_DAYS cannot be resampled by day: the rows are then cut into _PIECES of equal size.
_MIN_DAYS, _PIECES = 4, 10
# Length of a resampled run: the histogram is renewed several times, and the running time stays bounded.
_MIN_WINDOWS, _MAX_RUN = 5, 8_000
_MIN_ROWS = 100
# ADWIN's grid, in ln(1 / delta): up to the limit of a double. _ADWIN_MIN: never more sensitive than river's default.
_ADWIN_GRID_START, _ADWIN_MAX, _ADWIN_GRID_RATIO = 0.5, 690.0, 1.15
_ADWIN_MIN = math.log(1 / 0.002)
# A Page-Hinkley sum below this is a few outliers.
_PAGE_HINKLEY_MIN = 10.0
_PAGE_HINKLEY_WARM_UP = 30
_EULER_MASCHERONI = 0.5772156649015329


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


def calibrate(
    pipeline: str,
    model: str,
    monitors: Monitors,
    series: Sequence[MonitorSeries],
    *,
    until_ms: int,
    warm_up_ms: int,
    seed: int,
) -> DriftReference:
    """Calibrate the reference of one model version.

    Args:
        pipeline: The pipeline's name.
        model: The model's name.
        monitors: The pipeline's monitors.
        series: The training data: one series per monitor, in any order.
        until_ms: Event time up to which events were available to training.
        warm_up_ms: Length of the longest finite window. Rows this close to the first are dropped if at least half of
            the rows remain, because windows are still filling up.
        seed: The same data and seed give the same reference.

    Raises:
        PenstockError: if there are too few rows.
    """
    by_name = {monitor_series.name: monitor_series for monitor_series in series}
    references = []
    for number, name in enumerate(monitors.names()):
        settled = _without_warm_up(by_name[name], warm_up_ms)
        if len(settled.values) < _MIN_ROWS:
            raise PenstockError(
                f"{len(settled.values)} rows are too few to calibrate the monitor {name}",
                where=f"monitors of pipeline {pipeline}",
                next=f"train on at least {_MIN_ROWS} events, or remove the monitor",
            )
        return_period = monitors.false_alarm_every * len(monitors.names()) * len(DETECTORS) * SAFETY_FACTOR
        references.append(
            _monitor_reference(settled, monitors.window, return_period, np.random.default_rng([seed, number]))
        )
    return DriftReference(
        pipeline=pipeline,
        model=model,
        until_ms=until_ms,
        window=monitors.window,
        false_alarm_every=monitors.false_alarm_every,
        seed=seed,
        monitors=tuple(references),
    )


def bin_edges(values: Floats) -> tuple[float, ...]:
    """Inclusive upper bounds of about ``BINS`` equally filled bins.

    With at most ``BINS`` distinct values, each value has its own bin, and there is one below and one above them all.
    """
    distinct = np.unique(values)
    if len(distinct) <= BINS:
        return tuple(float(edge) for edge in (*np.nextafter(distinct[:1], -np.inf), *distinct))
    edges = np.unique(np.quantile(values, np.arange(1, BINS) / BINS, method="inverted_cdf"))
    return tuple(float(edge) for edge in edges if edge < distinct[-1])


def return_level(maxima: Sequence[float], length: int, return_period: float) -> float:
    """The value exceeded once in ``return_period`` records, from the maxima of runs of ``length`` records each.

    Fits a Gumbel distribution by probability-weighted moments (Hosking, J. R. Statist. Soc. B 1990).
    """
    ordered = np.sort(np.asarray(maxima, dtype=np.float64))
    n = len(ordered)
    first = float(ordered.mean())
    second = float((ordered * np.arange(n)).sum() / (n * (n - 1)))
    scale = (2 * second - first) / math.log(2)
    location = first - _EULER_MASCHERONI * scale
    exceeded = min(length / return_period, 0.5)
    return location - scale * math.log(-math.log1p(-exceeded))


def _without_warm_up(series: MonitorSeries, warm_up_ms: int) -> MonitorSeries:
    order = np.argsort(series.times, kind="stable")
    times = series.times[order]
    late = times >= times[0] + warm_up_ms if len(times) else np.zeros(0, dtype=bool)
    kept = order[late] if late.sum() * 2 >= len(times) else order
    return MonitorSeries(series.name, series.times[kept], series.partitions[kept], series.values[kept], series.held_out)


def _monitor_reference(
    series: MonitorSeries, window: int, return_period: float, rng: np.random.Generator
) -> MonitorReference:
    known = series.values[np.isfinite(series.values)]
    mean, std = (float(known.mean()), float(known.std())) if len(known) else (0.0, 0.0)
    std = std if std > 0 else 1.0
    edges = bin_edges(known)
    binned = _binned(series, mean, std, edges)
    counts = np.bincount(binned.bins, minlength=len(edges) + 2)
    resampler = _Resampler(series, binned, counts, window)
    original_peaks = [resampler.peaks(rows) for rows in resampler.original_order()]
    if series.held_out is not None:
        unseen = _Resampler(series.held_out, _binned(series.held_out, mean, std, edges), counts, window)
        original_peaks += [unseen.peaks(rows) for rows in unseen.original_order()]
    resampled = [[resampler.peaks(rows) for rows in resampler.resampled(days, rng)] for days in BLOCKS_DAYS]
    limits = {
        name: max(
            *(
                return_level([getattr(peaks, name) for peaks in runs], resampler.length, return_period)
                for runs in resampled
            ),
            *(getattr(peaks, name) for peaks in original_peaks),
        )
        for name in DETECTORS
    }
    least = _noise_floor(counts, window, return_period)
    return MonitorReference(
        name=series.name,
        rows=len(series.values),
        mean=mean,
        std=std,
        edges=edges,
        shares=tuple((counts / counts.sum()).tolist()),
        thresholds=Thresholds(
            adwin_delta=math.exp(-min(max(limits["adwin"], _ADWIN_MIN), _ADWIN_MAX)),
            page_hinkley=max(limits["page_hinkley"], _PAGE_HINKLEY_MIN),
            psi=max(limits["psi"], least.psi),
            kl=max(limits["kl"], least.kl),
            missing=max(limits["missing"], least.missing),
        ),
    )


@dataclass(frozen=True)
class _NoiseFloor:
    psi: float
    kl: float
    missing: float


def _noise_floor(counts: npt.NDArray[np.intp], window: int, return_period: float) -> _NoiseFloor:
    """Lower bounds of the thresholds: those that independent values would need. Real data is never less noisy.

    For independent values ``window * psi`` and ``2 * window * kl`` are approximately chi-squared, and the number of
    nulls is binomial. Nulls that never occurred may still have a rate of three in all rows (the rule of three).
    """
    rows, bins = int(counts.sum()), int((counts > 0).sum())
    chance = min(window / return_period, 0.5)
    chi = float(stats.chi2.isf(chance, max(bins - 1, 1))) * (1 + window / rows)
    nulls = min(1.0, max(counts[-1], 3) / rows)
    return _NoiseFloor(chi / window, chi / (2 * window), float(stats.binom.isf(chance, window, nulls)) / window)


@dataclass(frozen=True)
class _Binned:
    z: Floats
    bins: npt.NDArray[np.intp]


def _binned(series: MonitorSeries, mean: float, std: float, edges: tuple[float, ...]) -> _Binned:
    bins = np.where(np.isnan(series.values), len(edges) + 1, np.searchsorted(edges, series.values))
    return _Binned(np.clip((series.values - mean) / std, -CLIP, CLIP), bins)


class _Resampler:
    """Runs of one monitor's rows, in original order or resampled, and the statistics' peaks over them."""

    def __init__(self, series: MonitorSeries, binned: _Binned, counts: npt.NDArray[np.intp], window: int) -> None:
        self._z, self._bins, self._window = binned.z, binned.bins, window
        expected = counts + PRIOR
        self._expected = expected / expected.sum()
        self._partition_rows = [np.flatnonzero(series.partitions == number) for number in np.unique(series.partitions)]
        self._day_bounds = [_day_bounds(series.times[rows]) for rows in self._partition_rows]
        typical = int(np.median([len(rows) for rows in self._partition_rows]))
        self.length = max(_MIN_WINDOWS * window, min(typical, _MAX_RUN))

    def original_order(self) -> list[npt.NDArray[np.intp]]:
        """Each partition's rows, in their original order."""
        return self._partition_rows

    def resampled(self, days: int, rng: np.random.Generator) -> Iterator[npt.NDArray[np.intp]]:
        """Runs of ``length`` rows, from the partitions in turn, made of random blocks of ``days`` days."""
        for run in range(RUNS):
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
        known = z[~np.isnan(z)].tolist()
        psi, kl, missing = self._window_peaks(self._bins[rows])
        return Peaks(_adwin_peak(known), _page_hinkley_peak(known), psi, kl, missing)

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
    days = times // _DAY_MS
    starts = np.flatnonzero(np.r_[True, days[1:] != days[:-1]])
    # The first and the last day are rarely complete.
    bounds = np.r_[starts, len(times)]
    if len(starts) >= _MIN_DAYS + 2:
        bounds = bounds[1:-1]
    elif len(starts) < _MIN_DAYS:
        bounds = np.linspace(0, len(times), _PIECES + 1).astype(np.int64)
    return [(int(a), int(b)) for a, b in pairwise(bounds) if b > a]


def _page_hinkley_peak(values: Sequence[float]) -> float:
    """The greatest statistic that river's Page-Hinkley test would reach if it never fired."""
    mean = up = down = 0.0
    least, most, peak = math.inf, -1.0, 0.0
    for number, value in enumerate(values, start=1):
        mean += (value - mean) / number
        deviation = value - mean
        up += deviation - PAGE_HINKLEY_DELTA
        down += deviation + PAGE_HINKLEY_DELTA
        least, most = min(least, up), max(most, down)
        if number >= _PAGE_HINKLEY_WARM_UP:
            peak = max(peak, up - least, most - down)
    return peak


def _adwin_peak(values: Sequence[float]) -> float:
    """The least ln(1 / delta), on a geometric grid, at which ADWIN would not have fired."""
    low, high = 0, math.ceil(math.log(_ADWIN_MAX / _ADWIN_GRID_START, _ADWIN_GRID_RATIO))
    while low < high:
        middle = (low + high) // 2
        if _adwin_fires(values, math.exp(-_ADWIN_GRID_START * _ADWIN_GRID_RATIO**middle)):
            low = middle + 1
        else:
            high = middle
    return min(_ADWIN_GRID_START * _ADWIN_GRID_RATIO**low, _ADWIN_MAX)


def _adwin_fires(values: Sequence[float], delta: float) -> bool:
    detector = ADWIN(delta=delta)
    for value in values:
        detector.update(value)
        if detector.drift_detected:
            return True
    return False
