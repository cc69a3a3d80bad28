"""The report's plots: the data, axes, legend and caption of each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis

from examples.demo import scales
from examples.demo.evidence import SCORE_EDGES, Evidence, ReportedAlert, Scores
from examples.demo.formats import clock, day, milliseconds, percent
from examples.demo.plots import (
    Paint,
    Point,
    bar,
    diagonal,
    dot,
    histogram,
    hover_column,
    line,
    span,
    vertical_line,
    whisker,
)
from examples.demo.timeline import Timeline
from streams.drift.incidents import QUIET_MS

_STAGES = {"produced": "c3", "features": "c1", "predictions": "c2"}
_CONSUMERS = {
    "features": ("feature job", "c1"),
    "scorer": ("scorer", "c2"),
    "sink-redis": ("Redis sink", "c5"),
    "sink-cassandra": ("Cassandra sink", "c4"),
    "drift": ("drift detectors", "c6"),
}
# Name, marker, colour.
_DETECTORS = {
    "adwin": ("ADWIN", "o", "c1"),
    "page_hinkley": ("Page-Hinkley", "^", "c2"),
    "psi": ("PSI", "s", "c4"),
    "kl": ("KL", "D", "c5"),
    "missing": ("missing values", "x", "c6"),
    "e_detector": ("labels", "*", "c3"),
}
_PERCENTILES = {"p50": "c1", "p95": "c2", "p99": "c4"}
_SHADES = ("even", "odd")
_MOST_USEFUL = 15
# Hover columns per plot. More would be too narrow to point at, and would dominate the size of the page.
_MAX_COLUMNS = 240


@dataclass(frozen=True)
class LegendEntry:
    """An entry of a plot's legend: a line ("-") or a Matplotlib marker."""

    text: str
    colour: str
    marker: str = "-"
    hollow: bool = False


@dataclass(frozen=True)
class Figure:
    """A plot with its title, caption and legend; heights in pixels. A ``wide`` one takes the full width of the page."""

    title: str
    caption: str
    paint: Paint
    legend: tuple[LegendEntry, ...] = ()
    height: float = 250
    narrow_height: float = 270
    wide: bool = False


def throughput(timeline: Timeline) -> Figure:
    """Records per second of each stage."""
    step = float(math.ceil(max(1.0, timeline.phases[-1].to_s / _MAX_COLUMNS)))
    rates = {stage: points for stage in _STAGES if (points := timeline.rates(stage, step))}

    def rates_in(name: str, stage: str) -> list[float]:
        phase = timeline.phase(name)
        return [rate for at, rate in rates.get(stage, ()) if phase and phase.from_s < at + 1 and at < phase.to_s]

    columns = (
        (at, at + step, [f"{s}: {points[n][1] if n < len(points) else 0:,.0f}/s" for s, points in rates.items()])
        for n, (at, _) in enumerate(rates.get("produced", ()))
    )
    return _timeline_figure(
        timeline,
        "Throughput",
        f"The burst peaked at {max(rates_in('burst', 'features'), default=0):,.0f} feature records per second and "
        f"{max(rates_in('burst', 'predictions'), default=0):,.0f} predictions per second. Live traffic had a median of "
        f"{float(np.median(rates_in('live', 'predictions') or [0])):,.0f} predictions per second.",
        partial(scales.from_zero, label="records per second", high=_maximum(rates.values())),
        [(stage, _STAGES[stage], [*points, (points[-1][0] + step, 0)]) for stage, points in rates.items()],
        columns,
        drawstyle="steps-post",
    )


def lag(timeline: Timeline) -> Figure:
    """The lag of each consumer in records."""
    lags = {name: points for name in _CONSUMERS if (points := timeline.lag(name))}
    largest = {name: _maximum([points]) for name, points in lags.items()}
    remaining = sum(points[-1][1] for points in lags.values())
    worst = max(largest, key=lambda name: largest[name], default="")
    caption = (
        f"The largest lag was {largest[worst]:,.0f} records ({_CONSUMERS[worst][0]}). At the end "
        f"{'all consumers had caught up' if remaining == 0 else f'{remaining:,.0f} records were left'}."
        if worst
        else "No lag was measured."
    )
    columns = (
        (now.at_s, then.at_s, [f"{_CONSUMERS[n][0]}: {lag:,} behind" for n, lag in now.lags.items() if n in lags])
        for now, then in pairwise(timeline.samples[:: math.ceil(len(timeline.samples) / _MAX_COLUMNS) or 1])
    )
    scale = partial(scales.from_zero, label="records behind", high=max(largest.values(), default=1))
    curves = [(*_CONSUMERS[name], points) for name, points in lags.items()]
    return _timeline_figure(timeline, "Lag", caption, scale, curves, columns)


def latency(timeline: Timeline) -> Figure:
    """Latency from raw event to committed prediction: percentiles of each second."""
    seconds, live = timeline.latencies, timeline.phase("live")
    low, high = min((s.p50 for s in seconds), default=1), max((s.p99 for s in seconds), default=1_000)
    slowest = max((s.p99 for s in seconds if live and live.from_s <= s.at_s < live.to_s), default=None)
    columns = (
        (
            s.at_s,
            s.at_s + 1,
            [f"{s.count:,} predictions", *(f"{p} {milliseconds(getattr(s, p))}" for p in _PERCENTILES)],
        )
        for s in seconds
    )
    return _timeline_figure(
        timeline,
        "Latency",
        "From a raw event's Kafka timestamp to its committed prediction. Events of the history wait for the first "
        "model, and events of the burst wait in the queue. In live traffic, the slowest second had a p99 of "
        f"{milliseconds(slowest) if slowest else 'n/a'}.",
        partial(scales.log, label="milliseconds", low=max(low, 0.1), high=high, text=milliseconds),
        [(name, colour, _percentile_points(timeline, name)) for name, colour in _PERCENTILES.items()],
        columns,
    )


def live_latency(latencies_ms: Sequence[float]) -> Figure:
    """The distribution of the latencies of live traffic."""
    values = np.maximum(np.asarray(latencies_ms, dtype=float), 0.1)
    first, last = np.floor(np.log10(values.min()) * 10) / 10, np.ceil(np.log10(values.max()) * 10) / 10
    edges = (10 ** np.arange(first, last + 0.15, 0.1)).tolist()
    shares = (np.histogram(values, edges)[0] / len(values)).tolist()
    p50, p95, p99 = np.percentile(values, (50, 95, 99)).tolist()

    def paint(ax: Axes) -> None:
        scales.log(ax.xaxis, "raw event to committed prediction", values.min(), values.max(), milliseconds)
        scales.linear(ax.yaxis, "share of live predictions", max(shares), percent)
        histogram(ax, edges, shares, 0, "c1")
        vertical_line(ax, p50, "p50", side="right")
        vertical_line(ax, p95, "p95", side="left")
        vertical_line(ax, p99, "p99", side="right")
        for (low, high), share in zip(pairwise(edges), shares, strict=True):
            tip = f"{milliseconds(round(low, 1))} to {milliseconds(round(high, 1))}"
            hover_column(ax, low, high, f"{tip}\n{percent(share)} of the predictions")

    return Figure(
        "Live latency",
        f"Of {len(values):,} live predictions, 50 % arrived within {milliseconds(round(p50))}, 95 % within "
        f"{milliseconds(round(p95))} and 99 % within {milliseconds(round(p99))}.",
        paint,
    )


def scores(evidence: Evidence) -> Figure:
    """The published scores, before and after the injected drift."""
    series = _series(evidence)
    used = [n for _, s in series for n, count in enumerate(s.histogram) if count]
    low, high = min(used, default=0), max(used, default=len(SCORE_EDGES) - 2) + 1
    edges = SCORE_EDGES[low : high + 1]
    shares = [[count / max(1, s.predictions) for count in s.histogram[low:high]] for _, s in series]
    filled = [share for each in shares for share in each if share] or [0.1]
    floor = 10.0 ** math.floor(math.log10(min(filled)))
    flagged = [f"{key.text} {percent(s.flagged / s.predictions)}" for key, s in series if s.predictions]

    def paint(ax: Axes) -> None:
        scales.probability(ax.xaxis, "score", edges[0], edges[-1])
        scales.log(ax.yaxis, "share of predictions", floor, max(filled), percent)
        for (key, _), each in zip(series, shares, strict=True):
            histogram(ax, edges, each, floor, key.colour)
        vertical_line(ax, evidence.threshold, f"{evidence.positive} from {evidence.threshold:g}")
        for (begin, end), *each in zip(pairwise(edges), *shares, strict=True):
            lines = (f"{key.text}: {percent(share)}" for (key, _), share in zip(series, each, strict=True))
            hover_column(ax, begin, end, "\n".join([f"score {begin:.2g} to {end:.2g}", *lines]))

    return Figure(
        "Scores",
        f"Distribution of the scores; both axes are logarithmic. Decision “{evidence.positive}”: {', '.join(flagged)}.",
        paint,
        tuple(replace(key, marker="s") for key, _ in series),
    )


def calibration(evidence: Evidence) -> Figure:
    """Published scores against the share of events that turned out to be positive."""
    series = _series(evidence)
    ends = [p for _, s in series for b in s.bins for p in (b.mean_score, *b.interval()) if 0 < p < 0.9995]
    low, high = max(min(ends, default=0.01), 1e-4), min(max(ends, default=0.99), 1 - 1e-4)
    totals = [f"{key.text} {s.expected:,.0f} predicted and {s.positives:,} observed" for key, s in series]

    def paint(ax: Axes) -> None:
        scales.probability(ax.xaxis, "mean published score", low, high)
        scales.probability(ax.yaxis, "share that was positive", low, high)
        diagonal(ax)
        for key, b in ((key, b) for key, s in series for b in s.bins):
            begin, end = b.interval()
            tip = (
                f"{key.text}\nmean score {b.mean_score:.3g}\n"
                f"{b.positives:,} of {b.labelled:,} positive: {percent(b.share)}\n"
                f"95 % interval {percent(begin)} to {percent(end)}"
            )
            whisker(ax, b.mean_score, (begin, end), key.colour)
            dot(ax, b.mean_score, b.share, key.colour, tip, key.marker, hollow=b.positives == 0)

    return Figure(
        "Calibration",
        f"Share of positives by score, with 95 % intervals, for {sum(s.labelled for _, s in series):,} labelled events "
        "later than the training data. Calibrated scores lie on the dashed line; a hollow mark is a bin without "
        f"positives. All positives: {'; '.join(totals)}.",
        paint,
        tuple(key for key, _ in series),
        height=400,
    )


def importance(evidence: Evidence) -> Figure:
    """The inputs that the model depends on most, by permutation importance."""
    top = evidence.importance[:_MOST_USEFUL]
    views = list(dict.fromkeys(one.input.partition(".")[0] for one in top))
    colour = {view: f"c{n % 6 + 1}" for n, view in enumerate(views)}
    most = max((one.loss + one.spread for one in top), default=0.01)
    best = top[0] if top else None

    def paint(ax: Axes) -> None:
        scales.linear(ax.xaxis, "AUC lost", most)
        for y, one in zip(scales.rows(ax, [one.input for one in top]), top, strict=True):
            low, value, high = (max(0.0, one.loss + off) for off in (-one.spread, 0, one.spread))
            tip = f"{one.input}\nAUC lost {one.loss:.4f} ± {one.spread:.4f}"
            bar(ax, y, value, (low, high), colour[one.input.partition(".")[0]], tip)

    return Figure(
        "Most useful features",
        "Permutation importance: the AUC lost on the validation data when one input is shuffled. The largest loss is "
        f"{best.loss:.3f} ({best.input}). Inputs that carry the same information share their importance."
        if best
        else "The model's manifest states no importance.",
        paint,
        tuple(LegendEntry(view, colour[view], "s") for view in views),
        height=46 + 27 * max(1, len(top)),
        narrow_height=46 + 30 * max(1, len(top)),
    )


def drift(evidence: Evidence) -> Figure:
    """The alerts of each monitor over event time."""
    alerts, since = evidence.alerts, evidence.drift_from_ms
    detectors = [d for d in _DETECTORS if any(a.detector == d for a in alerts)]
    begin = max(evidence.begin_ms, evidence.trained_until_ms - (evidence.end_ms - evidence.trained_until_ms) // 3)

    def paint(ax: Axes) -> None:
        scales.dates(ax.xaxis, "event time (UTC)", begin, evidence.end_ms)
        row = dict(zip(evidence.monitors, scales.rows(ax, evidence.monitors), strict=True))
        span(ax, begin, evidence.trained_until_ms, "reference")
        if since is not None:
            vertical_line(ax, since, "drift injected", "bad")
        for alert in alerts:
            if alert.monitor in row:
                offset = (detectors.index(alert.detector) - (len(detectors) - 1) / 2) * 0.13
                _alert(ax, row[alert.monitor] + offset, alert, since)

    return Figure(
        "Drift",
        _drift_caption(evidence),
        paint,
        (
            *(LegendEntry(_DETECTORS[d][0], _DETECTORS[d][2], _DETECTORS[d][1]) for d in detectors),
            *((LegendEntry("false alarm", "bad", "o", hollow=True),) if false_incidents(evidence) else ()),
        ),
        height=64 + 30 * max(1, len(evidence.monitors)),
        narrow_height=64 + 46 * max(1, len(evidence.monitors)),
        wide=True,
    )


def false_incidents(evidence: Evidence) -> int:
    """The number of incidents before the injected drift, alerts within a day of another being one; 0 without drift."""
    since = evidence.drift_from_ms
    times = sorted(alert.at_ms for alert in evidence.alerts if since is not None and alert.at_ms < since)
    return bool(times) + sum(after - before > QUIET_MS for before, after in pairwise(times))


def _alert(ax: Axes, y: float, alert: ReportedAlert, since: int | None) -> None:
    name, marker, colour = _DETECTORS[alert.detector]
    false = since is not None and alert.at_ms < since
    tip = (
        f"{alert.monitor}: {name}{' (false alarm)' if false else ''}\n{day(alert.at_ms, with_hour=True)}\n"
        f"statistic {alert.statistic:.4g}, threshold {alert.threshold:.4g}\n"
        f"expected {alert.reference:.4g}, now {alert.current:.4g}"
    )
    dot(ax, alert.at_ms, y, "bad" if false else colour, tip, marker=marker, hollow=false)


def _drift_caption(evidence: Evidence) -> str:
    alerts, since = evidence.alerts, evidence.drift_from_ms
    if since is None:
        return f"{len(alerts):,} alerts. The data are real and no drift was injected, so no alert counts as false."
    after = [alert for alert in alerts if alert.at_ms >= since]
    if not after:
        false = false_incidents(evidence)
        return f"Drift was injected on {day(since)}. Alerts after it: none; false incidents: {false:,}."
    first = min(after, key=lambda alert: alert.at_ms)
    hours = (first.at_ms - since) / 3_600_000
    delay = f"{hours / 24:.1f} days" if hours >= 48 else f"{hours:.0f} hours"
    return (
        f"Drift was injected on {day(since)}. The first alert came {delay} of event time later ({first.monitor}, "
        f"{_DETECTORS[first.detector][0]}). Alerts after the drift: {len(after):,}; false incidents before: "
        f"{false_incidents(evidence):,}."
    )


def _timeline_figure(
    timeline: Timeline,
    title: str,
    caption: str,
    scale: Callable[[Axis], None],
    curves: Sequence[tuple[str, str, Sequence[Point]]],
    columns: Iterable[tuple[float, float, list[str]]],
    **line_options: Any,
) -> Figure:
    """A figure of curves (name, colour, points) over the run's phases, with tooltips (from, to, lines) in columns."""
    tips = [(low, high, "\n".join([f"{clock(low)} after the start", *lines])) for low, high, lines in columns]

    def paint(ax: Axes) -> None:
        scale(ax.yaxis)
        scales.seconds(ax.xaxis, "time since the pipeline's start", timeline.phases[-1].to_s)
        for number, phase in enumerate(timeline.phases):
            # Every other phase is shaded, so that neighbours can be distinguished.
            span(ax, phase.from_s, phase.to_s, phase.name, "strong" if phase.name == "live" else _SHADES[number % 2])
        for _, colour, points in curves:
            line(ax, points, colour, **line_options)
        for low, high, tip in tips:
            hover_column(ax, low, high, tip)

    return Figure(title, caption, paint, tuple(LegendEntry(name, colour) for name, colour, _ in curves), wide=True)


def _percentile_points(timeline: Timeline, percentile: str) -> list[Point]:
    """A percentile at the middle of each second, with NaN in gaps of more than two seconds."""
    points = [(second.at_s + 0.5, max(getattr(second, percentile), 0.1)) for second in timeline.latencies]
    gaps = [(now[0] + 1, math.nan) for now, then in pairwise(points) if then[0] - now[0] > 2.5]
    return sorted([*points, *gaps])


def _maximum(curves: Iterable[Sequence[Point]]) -> float:
    return max((y for points in curves for _, y in points), default=0.0)


def _series(evidence: Evidence) -> list[tuple[LegendEntry, Scores]]:
    """The scores before and after the drift, each with its legend entry."""
    if evidence.after is None:
        return [(LegendEntry("after the training", "c1", "o"), evidence.before)]
    return [
        (LegendEntry("before the drift", "c1", "o"), evidence.before),
        (LegendEntry("after the drift", "c2", "s"), evidence.after),
    ]
