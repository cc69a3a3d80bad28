"""The report's plots: which data, on which axes, and the sentence that reads each."""

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
from examples.demo.evidence import SCORE_EDGES, AlertFact, Evidence, Scores
from examples.demo.formats import clock, day, milliseconds, percent
from examples.demo.plots import Paint, Point, bar, diagonal, dot, line, outline, reading, rule, span, whisker
from examples.demo.timeline import Timeline

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
}
_PERCENTILES = {"p50": "c1", "p95": "c2", "p99": "c4"}
_SHADES = ("even", "odd")
_MOST_USEFUL = 15
# More would be finer than a pointer, and most of the file.
_COLUMNS = 240


@dataclass(frozen=True)
class Key:
    """An entry of a plot's legend: a line, or the mark with that Matplotlib marker."""

    text: str
    colour: str
    marker: str = "-"
    hollow: bool = False


@dataclass(frozen=True)
class Figure:
    """A plot with its heading, the sentence that reads it, and its legend. ``wide`` ones take the page's width."""

    title: str
    reading: str
    paint: Paint
    keys: tuple[Key, ...] = ()
    height: float = 250
    narrow_height: float = 270
    wide: bool = False


def throughput(timeline: Timeline) -> Figure:
    """Records per second of each stage."""
    step = float(math.ceil(max(1.0, timeline.phases[-1].to_s / _COLUMNS)))
    rates = {stage: points for stage in _STAGES if (points := timeline.rates(stage, step))}

    def within(phase: str, stage: str) -> list[float]:
        found = timeline.phase(phase)
        return [rate for at, rate in rates.get(stage, ()) if found and found.from_s < at + 1 and at < found.to_s]

    columns = (
        (at, at + step, [f"{s}: {points[n][1] if n < len(points) else 0:,.0f}/s" for s, points in rates.items()])
        for n, (at, _) in enumerate(rates.get("produced", ()))
    )
    return _over_time(
        timeline,
        "Throughput",
        f"In the burst up to {max(within('burst', 'features'), default=0):,.0f} feature records and "
        f"{max(within('burst', 'predictions'), default=0):,.0f} predictions in a second; live, a median of "
        f"{float(np.median(within('live', 'predictions') or [0])):,.0f} predictions a second.",
        partial(scales.from_zero, label="records per second", high=_highest(rates.values())),
        [(stage, _STAGES[stage], [*points, (points[-1][0] + step, 0)]) for stage, points in rates.items()],
        columns,
        drawstyle="steps-post",
    )


def lag(timeline: Timeline) -> Figure:
    """Records that each consumer is behind."""
    seen = {name: points for name in _CONSUMERS if (points := timeline.lag(name))}
    most = {name: _highest([points]) for name, points in seen.items()}
    last = sum(points[-1][1] for name, points in seen.items() if name != "features")
    worst = max(most, key=lambda name: most[name], default="")
    sentence = (
        f"Largest: the {_CONSUMERS[worst][0]}, {most[worst]:,.0f} records. "
        f"At the end {'everything was caught up' if last == 0 else f'{last:,.0f} records were left'}; "
        "the feature job commits at checkpoints, so its lag is a saw."
        if worst
        else "No consumer was watched."
    )
    columns = (
        (now.at_s, then.at_s, [f"{_CONSUMERS[n][0]}: {lag:,} behind" for n, lag in now.lags.items() if n in seen])
        for now, then in pairwise(timeline.samples[:: math.ceil(len(timeline.samples) / _COLUMNS) or 1])
    )
    scale = partial(scales.from_zero, label="records behind", high=max(most.values(), default=1))
    curves = [(*_CONSUMERS[name], points) for name, points in seen.items()]
    return _over_time(timeline, "Lag", sentence, scale, curves, columns)


def latency(timeline: Timeline) -> Figure:
    """Percentiles of raw event to committed prediction, second by second."""
    seen, live = timeline.latencies, timeline.phase("live")
    low, high = min((s.p50 for s in seen), default=1), max((s.p99 for s in seen), default=1_000)
    slowest = max((s.p99 for s in seen if live and live.from_s <= s.at_s < live.to_s), default=None)
    columns = (
        (
            s.at_s,
            s.at_s + 1,
            [f"{s.count:,} predictions", *(f"{p} {milliseconds(getattr(s, p))}" for p in _PERCENTILES)],
        )
        for s in seen
    )
    return _over_time(
        timeline,
        "Latency",
        "From a raw event's Kafka timestamp to its committed prediction. History waits for its model, a burst queues; "
        f"live, the slowest second had a p99 of {milliseconds(slowest) if slowest else 'n/a'}.",
        partial(scales.log, label="milliseconds", low=max(low, 0.1), high=high, text=milliseconds),
        [(name, colour, _with_gaps(timeline, name)) for name, colour in _PERCENTILES.items()],
        columns,
    )


def live_latency(latencies_ms: Sequence[float]) -> Figure:
    """How the latencies of live traffic are spread."""
    values = np.maximum(np.asarray(latencies_ms, dtype=float), 0.1)
    first, last = np.floor(np.log10(values.min()) * 10) / 10, np.ceil(np.log10(values.max()) * 10) / 10
    edges = (10 ** np.arange(first, last + 0.15, 0.1)).tolist()
    shares = (np.histogram(values, edges)[0] / len(values)).tolist()
    p50, p95, p99 = np.percentile(values, (50, 95, 99)).tolist()

    def paint(ax: Axes) -> None:
        scales.log(ax.xaxis, "raw event to committed prediction", values.min(), values.max(), milliseconds)
        scales.linear(ax.yaxis, "share of live predictions", max(shares), percent)
        outline(ax, edges, shares, 0, "c1")
        rule(ax, p50, "p50", side="right")
        rule(ax, p95, "p95", side="left")
        rule(ax, p99, "p99", side="right")
        for (low, high), share in zip(pairwise(edges), shares, strict=True):
            tip = f"{milliseconds(round(low, 1))} to {milliseconds(round(high, 1))}"
            reading(ax, low, high, f"{tip}\n{percent(share)} of the predictions")

    return Figure(
        "Live latency",
        f"Of {len(values):,} live predictions half arrived within {milliseconds(round(p50))}, 95 % within "
        f"{milliseconds(round(p95))}, 99 % within {milliseconds(round(p99))}.",
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
            outline(ax, edges, each, floor, key.colour)
        rule(ax, evidence.threshold, f"{evidence.positive} from {evidence.threshold:g}")
        for (begin, end), *each in zip(pairwise(edges), *shares, strict=True):
            told = (f"{key.text}: {percent(share)}" for (key, _), share in zip(series, each, strict=True))
            reading(ax, begin, end, "\n".join([f"score {begin:.2g} to {end:.2g}", *told]))

    return Figure(
        "Scores",
        f"Share of predictions by score, both logarithmic. Decided as {evidence.positive}: {', '.join(flagged)}.",
        paint,
        tuple(replace(key, marker="s") for key, _ in series),
    )


def calibration(evidence: Evidence) -> Figure:
    """Published scores against what the events turned out to be."""
    series = _series(evidence)
    ends = [p for _, s in series for b in s.bins for p in (b.mean_score, *b.interval()) if 0 < p < 0.9995]
    low, high = max(min(ends, default=0.01), 1e-4), min(max(ends, default=0.99), 1 - 1e-4)
    said = [f"{key.text} they promised {s.expected:,.0f} and {s.positives:,} came" for key, s in series]

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
        f"Positives among {sum(s.labelled for _, s in series):,} labelled events later than the training, with "
        f"95 % intervals; on the line a score keeps its promise, a hollow mark is none at all: {'; '.join(said)}.",
        paint,
        tuple(key for key, _ in series),
        height=400,
    )


def importance(evidence: Evidence) -> Figure:
    """The inputs without which the model loses the most."""
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
        f"AUC lost on the validation part when one input is shuffled: most by {best.input}, {best.loss:.3f}. "
        "Inputs that tell the same share their worth."
        if best
        else "The model's manifest does not say.",
        paint,
        tuple(Key(view, colour[view], "s") for view in views),
        height=46 + 27 * max(1, len(top)),
        narrow_height=46 + 30 * max(1, len(top)),
    )


def drift(evidence: Evidence) -> Figure:
    """What each monitor reported, over event time."""
    alerts, since = evidence.alerts, evidence.drift_from_ms
    found = [d for d in _DETECTORS if any(a.detector == d for a in alerts)]
    begin = max(evidence.begin_ms, evidence.trained_until_ms - (evidence.end_ms - evidence.trained_until_ms) // 3)

    def paint(ax: Axes) -> None:
        scales.dates(ax.xaxis, "event time (UTC)", begin, evidence.end_ms)
        row = dict(zip(evidence.monitors, scales.rows(ax, evidence.monitors), strict=True))
        span(ax, begin, evidence.trained_until_ms, "reference")
        if since is not None:
            rule(ax, since, "drift injected", "bad")
        for alert in alerts:
            if alert.monitor in row:
                place = (found.index(alert.detector) - (len(found) - 1) / 2) * 0.13
                _alert(ax, row[alert.monitor] + place, alert, since)

    return Figure(
        "Drift",
        _drift_reading(evidence),
        paint,
        (
            *(Key(_DETECTORS[d][0], _DETECTORS[d][2], _DETECTORS[d][1]) for d in found),
            *((Key("false alarm", "bad", "o", hollow=True),) if false_alarms(evidence) else ()),
        ),
        height=64 + 30 * max(1, len(evidence.monitors)),
        narrow_height=64 + 46 * max(1, len(evidence.monitors)),
        wide=True,
    )


def false_alarms(evidence: Evidence) -> int:
    """Alerts before the injected drift; without one nothing can be called false."""
    since = evidence.drift_from_ms
    return sum(alert.at_ms < since for alert in evidence.alerts) if since is not None else 0


def _alert(ax: Axes, y: float, alert: AlertFact, since: int | None) -> None:
    name, marker, colour = _DETECTORS[alert.detector]
    false = since is not None and alert.at_ms < since
    tip = (
        f"{alert.monitor}: {name}{' (false alarm)' if false else ''}\n{day(alert.at_ms, with_hour=True)}\n"
        f"statistic {alert.statistic:.4g}, threshold {alert.threshold:.4g}\n"
        f"expected {alert.reference:.4g}, now {alert.current:.4g}"
    )
    dot(ax, alert.at_ms, y, "bad" if false else colour, tip, marker=marker, hollow=false)


def _drift_reading(evidence: Evidence) -> str:
    alerts, since = evidence.alerts, evidence.drift_from_ms
    if since is None:
        return f"{len(alerts):,} alerts. No drift was injected here: the data are real, and so are their changes."
    after = [alert for alert in alerts if alert.at_ms >= since]
    if not after:
        return f"No alert after the drift of {day(since)}; {false_alarms(evidence):,} before it."
    first = min(after, key=lambda alert: alert.at_ms)
    hours = (first.at_ms - since) / 3_600_000
    noticed = f"{hours / 24:.1f} days" if hours >= 48 else f"{hours:.0f} hours"
    return (
        f"Injected on {day(since)}, noticed {noticed} of event time later by {_DETECTORS[first.detector][0]} on "
        f"{first.monitor}; {len(after):,} alerts since; false alarms before: {false_alarms(evidence):,}."
    )


def _over_time(
    timeline: Timeline,
    title: str,
    sentence: str,
    scale: Callable[[Axis], None],
    curves: Sequence[tuple[str, str, Sequence[Point]]],
    columns: Iterable[tuple[float, float, list[str]]],
    **how: Any,
) -> Figure:
    """Curves (name, colour, points) over the run's phases; columns (from, to, lines) tell their values."""
    tips = [(low, high, "\n".join([f"{clock(low)} after the start", *lines])) for low, high, lines in columns]

    def paint(ax: Axes) -> None:
        scale(ax.yaxis)
        scales.seconds(ax.xaxis, "time since the pipeline's start", timeline.phases[-1].to_s)
        for number, phase in enumerate(timeline.phases):
            # Every other one is shaded, so that neighbours are told apart.
            span(ax, phase.from_s, phase.to_s, phase.name, "strong" if phase.name == "live" else _SHADES[number % 2])
        for _, colour, points in curves:
            line(ax, points, colour, **how)
        for low, high, tip in tips:
            reading(ax, low, high, tip)

    return Figure(title, sentence, paint, tuple(Key(name, colour) for name, colour, _ in curves), wide=True)


def _with_gaps(timeline: Timeline, percentile: str) -> list[Point]:
    """A percentile at the middle of each second; NaN where none was seen for over two seconds."""
    points = [(second.at_s + 0.5, max(getattr(second, percentile), 0.1)) for second in timeline.latencies]
    gaps = [(now[0] + 1, math.nan) for now, then in pairwise(points) if then[0] - now[0] > 2.5]
    return sorted([*points, *gaps])


def _highest(curves: Iterable[Sequence[Point]]) -> float:
    return max((y for points in curves for _, y in points), default=0.0)


def _series(evidence: Evidence) -> list[tuple[Key, Scores]]:
    """The scores of each stretch of event time, with the look of its marks."""
    if evidence.after is None:
        return [(Key("after the training", "c1", "o"), evidence.before)]
    return [(Key("before the drift", "c1", "o"), evidence.before), (Key("after the drift", "c2", "s"), evidence.after)]
