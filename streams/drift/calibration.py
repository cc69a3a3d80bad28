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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from penstock.errors import PenstockError
from streams.definitions.monitors import Monitors
from streams.drift.dependence import Support, support
from streams.drift.drift_reference import (
    CLIP,
    DETECTORS,
    HOURS_OF_WEEK,
    NEVER,
    DetectorName,
    DriftReference,
    MonitorReference,
    Thresholds,
    hour_of_week,
)
from streams.drift.resampling import (
    ADWIN_MAX,
    BLOCKS_DAYS,
    CORRELATIONS_IN_BLOCK,
    DAY_MS,
    Binned,
    MonitorSeries,
    Resampler,
)

Floats = npt.NDArray[np.float64]

BINS = 10
# Weeks of history do not show everything that years will: aim at a tenth of the allowed false alarms.
SAFETY_FACTOR = 10.0
_MIN_ROWS = 100
# Four of each hour of the week, and so many rows' worth of doubt of each.
_HOUR_OF_WEEK_DAYS, _HOUR_PRIOR = 28, 5
# Never more sensitive than river's default.
_ADWIN_MIN = math.log(1 / 0.002)
# A Page-Hinkley sum below this is a few outliers.
_PAGE_HINKLEY_MIN = 10.0
_EULER_MASCHERONI = 0.5772156649015329


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
        PenstockError: if there are too few rows, or too few days for each hour of the week.
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
        settled, hours = _less_rhythm(settled, pipeline) if monitors.same_hour_of_week else (settled, ())
        return_period = monitors.false_alarm_every * len(monitors.names()) * len(DETECTORS) * SAFETY_FACTOR
        references.append(
            _monitor_reference(settled, hours, monitors.window, return_period, np.random.default_rng([seed, number]))
        )
    return DriftReference(
        pipeline=pipeline,
        model=model,
        until_ms=until_ms,
        window=monitors.window,
        false_alarm_every=monitors.false_alarm_every,
        seed=seed,
        monitors=tuple(references),
        same_hour_of_week=monitors.same_hour_of_week,
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
    # The level lies far beyond the maxima, so an error of the scale counts many times: one standard error more.
    scale *= 1 + 1 / math.sqrt(n)
    exceeded = min(length / return_period, 0.5)
    return location - scale * math.log(-math.log1p(-exceeded))


def _without_warm_up(series: MonitorSeries, warm_up_ms: int) -> MonitorSeries:
    order = np.argsort(series.times, kind="stable")
    times = series.times[order]
    late = times >= times[0] + warm_up_ms if len(times) else np.zeros(0, dtype=bool)
    kept = order[late] if late.sum() * 2 >= len(times) else order
    return MonitorSeries(series.name, series.times[kept], series.partitions[kept], series.values[kept], series.held_out)


def _less_rhythm(series: MonitorSeries, pipeline: str) -> tuple[MonitorSeries, tuple[float, ...]]:
    """The series less what is usual at each value's hour of the week, and that: differences from the mean."""
    span_days = float(np.ptp(series.times)) / DAY_MS
    if span_days < _HOUR_OF_WEEK_DAYS:
        raise PenstockError(
            f"{span_days:.0f} days are too few to know each hour of the week of the monitor {series.name}",
            where=f"monitors of pipeline {pipeline}",
            next=f"train on at least {_HOUR_OF_WEEK_DAYS} days, or leave same_hour_of_week off",
        )
    known = np.isfinite(series.values)
    places, values = hour_of_week(series.times[known]), series.values[known]
    counts = np.bincount(places, minlength=HOURS_OF_WEEK)
    # As if each hour had also been seen some times as the mean: an hour of few rows knows little.
    sums = np.bincount(places, values - values.mean() if len(values) else values, minlength=HOURS_OF_WEEK)
    hours = sums / (counts + _HOUR_PRIOR)

    def less(one: MonitorSeries) -> MonitorSeries:
        held_out = None if one.held_out is None else less(one.held_out)
        adjusted = one.values - hours[hour_of_week(one.times)]
        return MonitorSeries(one.name, one.times, one.partitions, adjusted, held_out)

    return less(series), tuple(hours.tolist())


def _monitor_reference(
    series: MonitorSeries, hours: tuple[float, ...], window: int, return_period: float, rng: np.random.Generator
) -> MonitorReference:
    known = series.values[np.isfinite(series.values)]
    mean, std = (float(known.mean()), float(known.std())) if len(known) else (0.0, 0.0)
    std = std if std > 0 else 1.0
    edges = bin_edges(known)
    binned = _binned(series, mean, std, edges)
    counts = np.bincount(binned.bins, minlength=len(edges) + 2)
    return_ms = return_period * float(np.ptp(series.times)) / len(series.times)
    of_values = support(series.times, binned.z, return_ms)
    of_nulls = support(series.times, np.isnan(binned.z).astype(np.float64), return_ms)
    correlated_days = of_values.correlation_ms / DAY_MS
    resampler = Resampler(series, binned, counts, window, correlated_days, sequential=of_values.suffices)
    peaks = [resampler.peaks(rows) for rows in resampler.original_order()]
    if series.held_out is not None:
        unseen = Resampler(
            series.held_out, _binned(series.held_out, mean, std, edges), counts, window, 0.0, sequential=True
        )
        peaks += [unseen.peaks(rows) for rows in unseen.original_order()]
    blocks = sorted({*BLOCKS_DAYS, math.ceil(CORRELATIONS_IN_BLOCK * correlated_days)} - {0})
    resampled = [[resampler.peaks(rows) for rows in resampler.resampled(days, rng)] for days in blocks]
    limits: dict[DetectorName, float] = {
        name: max(
            *(
                return_level([getattr(one, name) for one in runs], resampler.length, return_period)
                for runs in resampled
            ),
            *(getattr(one, name) for one in peaks),
        )
        for name in DETECTORS
    }
    if max(one.adwin for runs in (peaks, *resampled) for one in runs) >= ADWIN_MAX:  # the peaks themselves are cut off
        limits["adwin"] = math.inf
    thresholds, refused = _thresholds(
        limits, _noise_floor(counts, window, return_period), of_values, of_nulls, counts[-1] / counts.sum()
    )
    return MonitorReference(
        name=series.name,
        rows=len(series.values),
        mean=mean,
        std=std,
        edges=edges,
        shares=tuple((counts / counts.sum()).tolist()),
        thresholds=thresholds,
        hours=hours,
        refused=refused,
        correlation_ms=round(max(of_values.correlation_ms, of_nulls.correlation_ms)),
        needs_ms=round(max((one.needs_ms for one in (of_values, of_nulls) if not one.suffices), default=0.0)),
    )


def _thresholds(
    limits: Mapping[DetectorName, float], least: _NoiseFloor, of_values: Support, of_nulls: Support, nulls: float
) -> tuple[Thresholds, tuple[DetectorName, ...]]:
    """The thresholds, widened by what the reference supports, and the detectors that it does not support."""
    refused = {name for name in DETECTORS if not (of_nulls if name == "missing" else of_values).suffices}
    adwin = limits["adwin"] * of_values.widening
    if adwin >= ADWIN_MAX:  # delta has no smaller value
        refused.add("adwin")
    missing = nulls + (limits["missing"] - nulls) * of_nulls.widening

    def unless_refused(name: DetectorName, threshold: float) -> float:
        return NEVER if name in refused else threshold

    thresholds = Thresholds(
        adwin_delta=0.0 if "adwin" in refused else math.exp(-max(adwin, _ADWIN_MIN)),
        page_hinkley=unless_refused(
            "page_hinkley", max(limits["page_hinkley"] * of_values.widening, _PAGE_HINKLEY_MIN)
        ),
        psi=unless_refused("psi", max(limits["psi"] * of_values.widening, least.psi)),
        kl=unless_refused("kl", max(limits["kl"] * of_values.widening, least.kl)),
        missing=unless_refused("missing", max(missing, least.missing)),
    )
    return thresholds, tuple(name for name in DETECTORS if name in refused)


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


def _binned(series: MonitorSeries, mean: float, std: float, edges: tuple[float, ...]) -> Binned:
    bins = np.where(np.isnan(series.values), len(edges) + 1, np.searchsorted(edges, series.values))
    return Binned(np.clip((series.values - mean) / std, -CLIP, CLIP), bins)
