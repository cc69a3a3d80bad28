"""The report's plots: which data, on which axes, and the sentence that reads each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from examples.demo.axes import (
    Axis,
    dates,
    day,
    from_zero,
    linear,
    log,
    milliseconds,
    percent,
    probability,
    rows,
    seconds,
)
from examples.demo.evidence import SCORE_EDGES, Alert, Evidence
from examples.demo.plots import Area, Bar, Chart, Diagonal, Dot, Line, Mark, Point, Readings, Rule, Shape, Span
from examples.demo.timeline import Phase, Timeline

_STAGES = (("produced", "c3"), ("features", "c1"), ("predictions", "c2"))
_CONSUMERS = {
    "features": ("feature job", "c1"),
    "scorer": ("scorer", "c2"),
    "sink-redis": ("Redis sink", "c5"),
    "sink-cassandra": ("Cassandra sink", "c4"),
    "drift": ("drift detectors", "c6"),
}
_DETECTORS: dict[str, tuple[str, Shape, str]] = {
    "adwin": ("ADWIN", "circle", "c1"),
    "page_hinkley": ("Page-Hinkley", "triangle", "c2"),
    "psi": ("PSI", "square", "c4"),
    "kl": ("KL", "diamond", "c5"),
    "missing": ("missing values", "cross", "c6"),
}
_MOST_USEFUL = 15
# More would be finer than a pointer, and most of the file.
_COLUMNS = 240


@dataclass(frozen=True)
class Key:
    """An entry of a plot's legend."""

    text: str
    colour: str
    shape: Shape | Literal["line", "area"] = "line"
    hollow: bool = False


@dataclass(frozen=True)
class Figure:
    """A plot with its heading, the sentence that reads it, and its legend. ``wide`` ones take the page's width."""

    title: str
    reading: str
    chart: Chart
    keys: tuple[Key, ...] = ()
    height: float = 250
    narrow_height: float = 270
    wide: bool = False


def throughput(timeline: Timeline) -> Figure:
    """Records per second of each stage."""
    step = float(math.ceil(max(1.0, _end(timeline) / _COLUMNS)))
    rates = {stage: timeline.rates(stage, step) for stage, _ in _STAGES}
    burst, live = (_within(timeline.phase(name), rates) for name in ("burst", "live"))
    top = {stage: max((rate for _, rate in points), default=0.0) for stage, points in rates.items()}
    columns = [
        (at, at + step, "\n".join([_clock(at), *(f"{s}: {_rate(rates[s], n)}/s" for s, _ in _STAGES if rates[s])]))
        for n, (at, _) in enumerate(rates["produced"])
    ]
    lines = [
        Line([*points, (points[-1][0] + step, 0)], colour, step=True) for s, colour in _STAGES if (points := rates[s])
    ]
    return Figure(
        "Throughput",
        f"In the burst up to {max(burst['features'], default=0):,.0f} feature records and "
        f"{max(burst['predictions'], default=0):,.0f} predictions in a second; live, a median of "
        f"{float(np.median(live['predictions'] or [0])):,.0f} predictions a second.",
        _over_time(timeline, from_zero("records per second", max(top.values())), (*lines, Readings(columns))),
        tuple(Key(stage, colour) for stage, colour in _STAGES),
        wide=True,
    )


def lag(timeline: Timeline) -> Figure:
    """Records that each consumer is behind."""
    seen = {name: points for name in _CONSUMERS if (points := timeline.lag(name))}
    most = {name: max(behind for _, behind in points) for name, points in seen.items()}
    last = sum(points[-1][1] for name, points in seen.items() if name != "features")
    columns = []
    for now, then in pairwise(timeline.samples[:: math.ceil(len(timeline.samples) / _COLUMNS) or 1]):
        told = (f"{_CONSUMERS[n][0]}: {behind:,} behind" for n, behind in now.lags.items() if n in seen)
        columns.append((now.at_s, then.at_s, "\n".join([_clock(now.at_s), *told])))
    worst = max(most, key=lambda name: most[name], default="")
    reading = (
        f"Largest: the {_CONSUMERS[worst][0]}, {most[worst]:,.0f} records. "
        f"At the end {'everything was caught up' if last == 0 else f'{last:,.0f} records were left'}; "
        "the feature job commits at checkpoints, so its lag is a saw."
        if worst
        else "No consumer was watched."
    )
    lines = [Line(points, _CONSUMERS[name][1]) for name, points in seen.items()]
    axis = from_zero("records behind", max(most.values(), default=1))
    return Figure(
        "Lag",
        reading,
        _over_time(timeline, axis, (*lines, Readings(columns))),
        tuple(Key(*_CONSUMERS[name]) for name in seen),
        wide=True,
    )


def latency(timeline: Timeline) -> Figure:
    """Percentiles of raw event to committed prediction, second by second."""
    seen = timeline.latencies
    low, high = min((s.p50 for s in seen), default=1), max((s.p99 for s in seen), default=1_000)
    curves = {name: _with_gaps([(s.at_s + 0.5, getattr(s, name)) for s in seen]) for name in ("p50", "p95", "p99")}
    columns = [
        (
            s.at_s,
            s.at_s + 1,
            f"{_clock(s.at_s)}\n{s.count:,} predictions\np50 {milliseconds(s.p50)}\np95 {milliseconds(s.p95)}\n"
            f"p99 {milliseconds(s.p99)}",
        )
        for s in seen
    ]
    colours = {"p50": "c1", "p95": "c2", "p99": "c4"}
    live = timeline.phase("live")
    slowest = max((s.p99 for s in seen if live and live.from_s <= s.at_s < live.to_s), default=None)
    return Figure(
        "Latency",
        "From a raw event's Kafka timestamp to its committed prediction. History waits for its model, a burst queues; "
        f"live, the slowest second had a p99 of {milliseconds(slowest) if slowest else 'n/a'}.",
        _over_time(
            timeline,
            log("milliseconds", max(low, 0.1), high, text=milliseconds),
            (*(Line(points, colours[name]) for name, points in curves.items()), Readings(columns)),
        ),
        tuple(Key(name, colour) for name, colour in colours.items()),
        wide=True,
    )


def live_latency(latencies_ms: Sequence[float]) -> Figure:
    """How the latencies of live traffic are spread."""
    values = np.maximum(np.asarray(latencies_ms, dtype=float), 0.1)
    first, last = np.floor(np.log10(values.min()) * 10) / 10, np.ceil(np.log10(values.max()) * 10) / 10
    edges = 10 ** np.arange(first, last + 0.15, 0.1)
    shares = np.histogram(values, edges)[0] / len(values)
    p50, p95, p99 = np.percentile(values, (50, 95, 99))
    points = _steps(edges.tolist(), shares.tolist(), 0)
    columns = [
        (
            low,
            high,
            f"{milliseconds(round(low, 1))} to {milliseconds(round(high, 1))}\n{percent(share)} of the predictions",
        )
        for (low, high), share in zip(pairwise(edges.tolist()), shares.tolist(), strict=True)
    ]
    rules = (Rule(float(p50), "p50"), Rule(float(p95), "p95", side="left"), Rule(float(p99), "p99"))
    x = log("raw event to committed prediction", float(values.min()), float(values.max()), text=milliseconds)
    y = linear("share of live predictions", 0, float(shares.max()), text=percent)
    area = Area([(x, 0) for x, _ in points], points, "c1")
    return Figure(
        "Live latency",
        f"Of {len(values):,} live predictions half arrived within {milliseconds(round(p50))}, 95 % within "
        f"{milliseconds(round(p95))}, 99 % within {milliseconds(round(p99))}.",
        Chart(x, y, (area, Line(points, "c1"), *rules, Readings(columns))),
    )


def scores(evidence: Evidence) -> Figure:
    """The published scores, before and after the injected drift."""
    series = [("before the drift" if evidence.after else "after the training", "c1", evidence.before)]
    if evidence.after:
        series.append(("after the drift", "c2", evidence.after))
    used = [n for _, _, s in series for n, count in enumerate(s.histogram) if count]
    low, high = min(used, default=0), max(used, default=len(SCORE_EDGES) - 2) + 1
    edges = SCORE_EDGES[low : high + 1]
    shares = [[count / max(1, s.predictions) for count in s.histogram[low:high]] for _, _, s in series]
    floor = 10 ** np.floor(np.log10(min((v for each in shares for v in each if v), default=0.1)))
    marks: list[Mark] = []
    for (_, colour, _), each in zip(series, shares, strict=True):
        points = _steps(edges, each, float(floor))
        marks += [Area([(x, float(floor)) for x, _ in points], points, colour), Line(points, colour)]
    columns = [
        (
            edge,
            up,
            "\n".join(
                [
                    f"score {edge:.2g} to {up:.2g}",
                    *(f"{s[0]}: {percent(v[n])}" for s, v in zip(series, shares, strict=True)),
                ]
            ),
        )
        for n, (edge, up) in enumerate(pairwise(edges))
    ]
    marks += [Rule(evidence.threshold, f"{evidence.positive} from {evidence.threshold:g}"), Readings(columns)]
    flagged = [f"{name} {percent(s.flagged / s.predictions)}" for name, _, s in series if s.predictions]
    return Figure(
        "Scores",
        f"Share of predictions by score, both logarithmic. Decided as {evidence.positive}: {', '.join(flagged)}.",
        Chart(
            probability("score", edges[0], edges[-1]),
            log("share of predictions", float(floor), max(v for each in shares for v in each), text=percent),
            tuple(marks),
        ),
        tuple(Key(name, colour, "area") for name, colour, _ in series),
    )


def calibration(evidence: Evidence) -> Figure:
    """Published scores against what the events turned out to be."""
    series = [("before the drift" if evidence.after else "after the training", "c1", evidence.before, "circle")]
    if evidence.after:
        series.append(("after the drift", "c2", evidence.after, "square"))
    bins = [b for _, _, s, _ in series for b in s.bins]
    ends = [p for b in bins for p in (b.mean_score, *b.interval()) if 0 < p < 0.9995]
    low, high = max(min(ends, default=0.01), 1e-4), min(max(ends, default=0.99), 1 - 1e-4)
    marks: list[Mark] = [Diagonal()]
    said = []
    for name, colour, s, shape in series:
        for b in s.bins:
            begin, end = b.interval()
            tip = (
                f"{name}\nmean score {b.mean_score:.3g}\n"
                f"{b.positives:,} of {b.labelled:,} positive: {percent(b.share)}\n"
                f"95 % interval {percent(begin)} to {percent(end)}"
            )
            dot: Shape = "square" if shape == "square" else "circle"
            marks.append(Dot(b.mean_score, b.share, colour, tip, dot, 4, begin, end, hollow=b.positives == 0))
        said.append(f"{name} they promised {s.expected:,.0f} and {s.positives:,} came")
    return Figure(
        "Calibration",
        f"Positives among {sum(s.labelled for _, _, s, _ in series):,} labelled events later than the training, with "
        f"95 % intervals; on the line a score keeps its promise, a hollow mark is none at all: {'; '.join(said)}.",
        Chart(
            probability("mean published score", low, high),
            probability("share that was positive", low, high),
            tuple(marks),
        ),
        tuple(Key(name, colour, "square" if shape == "square" else "circle") for name, colour, _, shape in series),
        height=400,
    )


def importance(evidence: Evidence) -> Figure:
    """The inputs without which the model loses the most."""
    top = evidence.importance[:_MOST_USEFUL]
    views = list(dict.fromkeys(one.input.partition(".")[0] for one in top))
    colour = {view: f"c{n % 6 + 1}" for n, view in enumerate(views)}
    marks: list[Mark] = [
        Bar(
            row,
            max(0.0, one.loss),
            max(0.0, one.loss - one.spread),
            max(0.0, one.loss + one.spread),
            colour[one.input.partition(".")[0]],
            f"{one.input}\nAUC lost {one.loss:.4f} ± {one.spread:.4f}",
        )
        for row, one in enumerate(top)
    ]
    most = max((one.loss + one.spread for one in top), default=0.01)
    best = top[0] if top else None
    return Figure(
        "Most useful features",
        f"AUC lost on the validation part when one input is shuffled: most by {best.input}, {best.loss:.3f}. "
        "Inputs that tell the same share their worth."
        if best
        else "The model's manifest does not say.",
        Chart(linear("AUC lost", 0, most, ticks=4), rows([one.input for one in top]), tuple(marks)),
        tuple(Key(view, colour[view], "area") for view in views),
        height=46 + 27 * max(1, len(top)),
        narrow_height=46 + 30 * max(1, len(top)),
    )


def drift(evidence: Evidence) -> Figure:
    """What each monitor reported, over event time."""
    alerts, since = evidence.alerts, evidence.drift_from_ms
    found = [d for d in _DETECTORS if any(a.detector == d for a in alerts)]
    begin = max(evidence.begin_ms, evidence.trained_until_ms - (evidence.end_ms - evidence.trained_until_ms) // 3)
    marks: list[Mark] = [Span(begin, evidence.trained_until_ms, "reference")]
    if since is not None:
        marks.append(Rule(since, "drift injected", "bad"))
    marks += [_alert(alert, evidence, found) for alert in alerts if alert.monitor in evidence.monitors]
    return Figure(
        "Drift",
        _drift_reading(evidence),
        Chart(dates("event time (UTC)", begin, evidence.end_ms), rows(list(evidence.monitors)), tuple(marks)),
        (
            *(Key(_DETECTORS[d][0], _DETECTORS[d][2], _DETECTORS[d][1]) for d in found),
            *((Key("false alarm", "bad", "circle", hollow=True),) if false_alarms(evidence) else ()),
        ),
        height=64 + 30 * max(1, len(evidence.monitors)),
        narrow_height=64 + 46 * max(1, len(evidence.monitors)),
        wide=True,
    )


def false_alarms(evidence: Evidence) -> int:
    """Alerts before the injected drift; without one nothing can be called false."""
    since = evidence.drift_from_ms
    return sum(alert.at_ms < since for alert in evidence.alerts) if since is not None else 0


def _alert(alert: Alert, evidence: Evidence, found: list[str]) -> Dot:
    name, shape, colour = _DETECTORS[alert.detector]
    false = evidence.drift_from_ms is not None and alert.at_ms < evidence.drift_from_ms
    place = (found.index(alert.detector) - (len(found) - 1) / 2) * 0.16
    tip = (
        f"{alert.monitor}: {name}{' (false alarm)' if false else ''}\n{day(alert.at_ms, with_hour=True)}\n"
        f"statistic {alert.statistic:.4g}, threshold {alert.threshold:.4g}\n"
        f"expected {alert.reference:.4g}, now {alert.current:.4g}"
    )
    row = evidence.monitors.index(alert.monitor) + 0.5 + place
    return Dot(alert.at_ms, row, "bad" if false else colour, tip, shape, 4, hollow=false)


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


def _over_time(timeline: Timeline, y: Axis, marks: Sequence[Mark]) -> Chart:
    spans = [_span(phase, number) for number, phase in enumerate(timeline.phases)]
    return Chart(seconds("time since the pipeline's start", 0, _end(timeline)), y, (*spans, *marks))


def _end(timeline: Timeline) -> float:
    return timeline.phases[-1].to_s


def _span(phase: Phase, number: int) -> Span:
    if phase.name == "live":
        return Span(phase.from_s, phase.to_s, phase.name, "strong")
    # Every other one is shaded, so that neighbours are told apart.
    return Span(phase.from_s, phase.to_s, phase.name, "odd" if number % 2 else "even")


def _with_gaps(points: list[Point]) -> list[Point | None]:
    joined: list[Point | None] = []
    for point in points:
        if joined and joined[-1] is not None and point[0] - joined[-1][0] > 2.5:
            joined.append(None)
        joined.append(point)
    return joined


def _steps(edges: Sequence[float], values: Sequence[float], floor: float) -> list[Point]:
    """The outline of a histogram, from floor to floor."""
    tops = [(x, max(value, floor)) for n, value in enumerate(values) for x in (edges[n], edges[n + 1])]
    return [(edges[0], floor), *tops, (edges[-1], floor)]


def _within(phase: Phase | None, rates: Mapping[str, list[Point]]) -> dict[str, list[float]]:
    """The rates of the seconds of a phase."""
    low, high = (phase.from_s, phase.to_s) if phase else (0, 0)
    return {stage: [rate for at, rate in points if low < at + 1 and at < high] for stage, points in rates.items()}


def _rate(points: list[Point], n: int) -> str:
    return f"{points[n][1]:,.0f}" if n < len(points) else "0"


def _clock(at_s: float) -> str:
    return f"{int(at_s) // 60}:{int(at_s) % 60:02} after the start"
