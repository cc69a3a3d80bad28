"""From training data to a reference: bins, moments, and thresholds that keep false alarms as rare as was asked.

A threshold from a table assumes independent values; features that sum up windows, and traffic with days and weeks, are
anything but. So every detector is replayed over the reference itself: each partition's rows as they came, and many
resampled courses of them, made of blocks of whole days up to a week, which keep the daily rhythm and what hangs
together (moving-block bootstrap; Künsch, Ann. Statist. 1989). Of each course the greatest value of the detector's
statistic is taken. To these maxima a Gumbel distribution is fitted, whose tail says what is exceeded once in as many
records as a false alarm may come.

How many those are: ``false_alarm_every`` events, times the number of monitors, times that of detectors. The number of
partitions cancels out, since each event is seen by the detectors of one partition only.
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
from streams.drift.drift_reference import CLIP, DETECTORS, MonitorReference, Reference, Thresholds

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

BINS = 10
# How the reference is resampled: blocks of so many days, so many courses of each. Short blocks give many different
# courses, long ones keep what hangs together for longer; the more cautious of the two is taken.
BLOCKS_DAYS, RUNS = (1, 7), 25
# Weeks of history do not show all that years will: aim at a tenth of the false alarms that are allowed.
CAUTION = 10.0
_DAY_MS = 86_400_000
# Fewer days than this cannot be resampled by days: then the rows are cut into as many pieces of equal number.
_LEAST_DAYS, _PIECES = 4, 10
# The course of a run: enough for the histogram to be renewed several times, and no longer than the time is worth.
_LEAST_WINDOWS, _LONGEST_RUN = 5, 8_000
_LEAST_ROWS = 100
# ADWIN is looked at in ln(1 / delta), up to what a double can still hold, and never made keener than river's default.
_ADWIN_FIRST, _ADWIN_MOST, _ADWIN_STEP = 0.5, 690.0, 1.15
_ADWIN_LEAST = math.log(1 / 0.002)
# Below this a Page-Hinkley sum is a few outliers.
_PAGE_HINKLEY_LEAST = 10.0
_PAGE_HINKLEY_FROM = 30
_EULER = 0.5772156649015329


@dataclass(frozen=True)
class Series:
    """What one monitor saw in training: N rows in order of event time.

    ``times`` is int64 [N], epoch ms; ``partitions`` int64 [N], where the event stood; ``values`` float64 [N], null as
    NaN. ``held_out`` are values that must not look like drift beside these: a model's scores on rows that it did not
    learn from are never quite those of the rows that it did.
    """

    name: str
    times: Ints
    partitions: Ints
    values: Floats
    held_out: Series | None = None


@dataclass(frozen=True)
class Peaks:
    """The greatest value of each statistic in one course; ``adwin`` is the ln(1 / delta) that would just not fire."""

    adwin: float
    page_hinkley: float
    psi: float
    kl: float
    missing: float


def calibrate(
    pipeline: str,
    model: str,
    monitors: Monitors,
    series: Sequence[Series],
    *,
    until_ms: int,
    warm_up_ms: int,
    seed: int,
) -> Reference:
    """The reference of one model version.

    Args:
        pipeline: The pipeline's name.
        model: The model's name.
        monitors: What is monitored; one series of each, in any order.
        series: The training data.
        until_ms: Event time up to which training knew the world.
        warm_up_ms: Length of the longest window that ends: rows within it from the first are left out if most remain,
            since windows fill up meanwhile.
        seed: The same data and seed give the same reference.

    Raises:
        PenstockError: if there are too few rows to compare anything with.
    """
    by_name = {one.name: one for one in series}
    references = []
    for number, name in enumerate(monitors.names()):
        settled = _settled(by_name[name], warm_up_ms)
        if len(settled.values) < _LEAST_ROWS:
            raise PenstockError(
                f"{len(settled.values)} rows are too few to tell what is usual for {name}",
                where=f"monitors of pipeline {pipeline}",
                next=f"train on at least {_LEAST_ROWS} events, or take the monitor away",
            )
        once_in = monitors.false_alarm_every * len(monitors.names()) * len(DETECTORS) * CAUTION
        references.append(_monitor(settled, monitors.window, once_in, np.random.default_rng([seed, number])))
    return Reference(
        pipeline=pipeline,
        model=model,
        until_ms=until_ms,
        window=monitors.window,
        false_alarm_every=monitors.false_alarm_every,
        seed=seed,
        monitors=tuple(references),
    )


def bin_edges(values: Floats) -> tuple[float, ...]:
    """Upper bounds, included, of about ``BINS`` equally filled bins.

    If there are few values each has a bin, and so has what lies below and above them all.
    """
    distinct = np.unique(values)
    if len(distinct) <= BINS:
        return tuple(float(edge) for edge in (*np.nextafter(distinct[:1], -np.inf), *distinct))
    edges = np.unique(np.quantile(values, np.arange(1, BINS) / BINS, method="inverted_cdf"))
    return tuple(float(edge) for edge in edges if edge < distinct[-1])


def quantile_of_maximum(maxima: Sequence[float], length: int, once_in: float) -> float:
    """What is exceeded once in ``once_in`` records, from the greatest values of courses of ``length`` records each.

    A Gumbel distribution by probability-weighted moments (Hosking, J. R. Statist. Soc. B 1990).
    """
    ordered = np.sort(np.asarray(maxima, dtype=np.float64))
    n = len(ordered)
    first = float(ordered.mean())
    second = float((ordered * np.arange(n)).sum() / (n * (n - 1)))
    scale = (2 * second - first) / math.log(2)
    location = first - _EULER * scale
    exceeded = min(length / once_in, 0.5)
    return location - scale * math.log(-math.log1p(-exceeded))


def _settled(series: Series, warm_up_ms: int) -> Series:
    order = np.argsort(series.times, kind="stable")
    times = series.times[order]
    late = times >= times[0] + warm_up_ms if len(times) else np.zeros(0, dtype=bool)
    kept = order[late] if late.sum() * 2 >= len(times) else order
    return Series(series.name, series.times[kept], series.partitions[kept], series.values[kept], series.held_out)


def _monitor(series: Series, window: int, once_in: float, rng: np.random.Generator) -> MonitorReference:
    known = series.values[np.isfinite(series.values)]
    mean, std = (float(known.mean()), float(known.std())) if len(known) else (0.0, 0.0)
    std = std if std > 0 else 1.0
    edges = bin_edges(known)
    binned = _binned(series, mean, std, edges)
    counts = np.bincount(binned.bins, minlength=len(edges) + 2)
    courses = _Courses(series, binned, counts, window)
    seen = [courses.peaks(rows) for rows in courses.as_they_came()]
    if series.held_out is not None:
        unseen = _Courses(series.held_out, _binned(series.held_out, mean, std, edges), counts, window)
        seen += [unseen.peaks(rows) for rows in unseen.as_they_came()]
    resampled = [[courses.peaks(rows) for rows in courses.resampled(days, rng)] for days in BLOCKS_DAYS]
    limits = {
        name: max(
            *(
                quantile_of_maximum([getattr(peaks, name) for peaks in runs], courses.length, once_in)
                for runs in resampled
            ),
            *(getattr(peaks, name) for peaks in seen),
        )
        for name in DETECTORS
    }
    least = _least(counts, window, once_in)
    return MonitorReference(
        name=series.name,
        rows=len(series.values),
        mean=mean,
        std=std,
        edges=edges,
        shares=tuple((counts / counts.sum()).tolist()),
        thresholds=Thresholds(
            adwin_delta=math.exp(-min(max(limits["adwin"], _ADWIN_LEAST), _ADWIN_MOST)),
            page_hinkley=max(limits["page_hinkley"], _PAGE_HINKLEY_LEAST),
            psi=max(limits["psi"], least.psi),
            kl=max(limits["kl"], least.kl),
            missing=max(limits["missing"], least.missing),
        ),
    )


@dataclass(frozen=True)
class _Least:
    psi: float
    kl: float
    missing: float


def _least(counts: npt.NDArray[np.intp], window: int, once_in: float) -> _Least:
    """The thresholds that independent values would need: no reference, however calm, can promise less noise.

    For independent values ``window * psi`` and ``2 * window * kl`` are about chi-squared, and the number of nulls is
    binomial; a null that was never seen may still be as frequent as three in all rows (the rule of three).
    """
    rows, bins = int(counts.sum()), int((counts > 0).sum())
    chance = min(window / once_in, 0.5)
    chi = float(stats.chi2.isf(chance, max(bins - 1, 1))) * (1 + window / rows)
    nulls = min(1.0, max(counts[-1], 3) / rows)
    return _Least(chi / window, chi / (2 * window), float(stats.binom.isf(chance, window, nulls)) / window)


@dataclass(frozen=True)
class _Binned:
    z: Floats
    bins: npt.NDArray[np.intp]


def _binned(series: Series, mean: float, std: float, edges: tuple[float, ...]) -> _Binned:
    bins = np.where(np.isnan(series.values), len(edges) + 1, np.searchsorted(edges, series.values))
    return _Binned(np.clip((series.values - mean) / std, -CLIP, CLIP), bins)


class _Courses:
    """Courses of one monitor's rows, as a partition sees them or as it might have, and their peaks."""

    def __init__(self, series: Series, binned: _Binned, counts: npt.NDArray[np.intp], window: int) -> None:
        self._z, self._bins, self._window = binned.z, binned.bins, window
        expected = counts + PRIOR
        self._expected = expected / expected.sum()
        self._shares = [np.flatnonzero(series.partitions == number) for number in np.unique(series.partitions)]
        self._units = [_units(series.times[rows]) for rows in self._shares]
        typical = int(np.median([len(rows) for rows in self._shares]))
        self.length = max(_LEAST_WINDOWS * window, min(typical, _LONGEST_RUN))

    def as_they_came(self) -> list[npt.NDArray[np.intp]]:
        """Each partition's rows, in order."""
        return self._shares

    def resampled(self, days: int, rng: np.random.Generator) -> Iterator[npt.NDArray[np.intp]]:
        """Courses of ``length`` rows, of the partitions in turn, of blocks of so many days."""
        for run in range(RUNS):
            share, units = self._shares[run % len(self._shares)], self._units[run % len(self._shares)]
            block = max(1, min(days, len(units) // 3))
            drawn: list[npt.NDArray[np.intp]] = []
            while sum(map(len, drawn)) < self.length:
                first = int(rng.integers(0, len(units) - block + 1))
                drawn.append(share[units[first][0] : units[first + block - 1][1]])
            yield np.concatenate(drawn)[: self.length]

    def peaks(self, rows: npt.NDArray[np.intp]) -> Peaks:
        """The greatest value of each statistic over these rows, in this order."""
        z = self._z[rows]
        known = z[~np.isnan(z)].tolist()
        psi, kl, missing = self._windowed(self._bins[rows])
        return Peaks(_adwin_peak(known), _page_hinkley_peak(known), psi, kl, missing)

    def _windowed(self, bins: npt.NDArray[np.intp]) -> tuple[float, float, float]:
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


def _units(times: Ints) -> list[tuple[int, int]]:
    """Where each day (UTC) begins and ends among the rows, or each of a few equal pieces if there are few days."""
    days = times // _DAY_MS
    starts = np.flatnonzero(np.r_[True, days[1:] != days[:-1]])
    # The first and the last day are seldom whole.
    bounds = np.r_[starts, len(times)]
    if len(starts) >= _LEAST_DAYS + 2:
        bounds = bounds[1:-1]
    elif len(starts) < _LEAST_DAYS:
        bounds = np.linspace(0, len(times), _PIECES + 1).astype(np.int64)
    return [(int(a), int(b)) for a, b in pairwise(bounds) if b > a]


def _page_hinkley_peak(values: Sequence[float]) -> float:
    """The greatest statistic of river's Page-Hinkley test, had it never fired."""
    mean = up = down = 0.0
    least, most, peak = math.inf, -1.0, 0.0
    for number, value in enumerate(values, start=1):
        mean += (value - mean) / number
        deviation = value - mean
        up += deviation - PAGE_HINKLEY_DELTA
        down += deviation + PAGE_HINKLEY_DELTA
        least, most = min(least, up), max(most, down)
        if number >= _PAGE_HINKLEY_FROM:
            peak = max(peak, up - least, most - down)
    return peak


def _adwin_peak(values: Sequence[float]) -> float:
    """The least ln(1 / delta), on a geometric grid, with which ADWIN would not have fired."""
    low, high = 0, math.ceil(math.log(_ADWIN_MOST / _ADWIN_FIRST, _ADWIN_STEP))
    while low < high:
        middle = (low + high) // 2
        if _adwin_fires(values, math.exp(-_ADWIN_FIRST * _ADWIN_STEP**middle)):
            low = middle + 1
        else:
            high = middle
    return min(_ADWIN_FIRST * _ADWIN_STEP**low, _ADWIN_MOST)


def _adwin_fires(values: Sequence[float], delta: float) -> bool:
    detector = ADWIN(delta=delta)
    for value in values:
        detector.update(value)
        if detector.drift_detected:
            return True
    return False
