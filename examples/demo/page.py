"""``report.html``: the run on one self-contained page, in light or dark colours as the reader prefers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from examples.demo import figures
from examples.demo.evidence import Evidence
from examples.demo.figures import Figure, Key
from examples.demo.formats import milliseconds
from examples.demo.markup import Child, Element, el, extended, html
from examples.demo.plots import draw
from examples.demo.timeline import Timeline
from penstock.time import readable
from verify.measured import Measured
from verify.report import PipelineReport, Report

_STYLE = Path(__file__).with_name("page.css")
# The page may load nothing.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_MUST_BE_ZERO = ("mismatches", "gaps", "duplicates", "missing", "extra", "unfollowed")
# Legend signs of Matplotlib's markers, filled and hollow.
_SIGNS = {"-": "━", "o": "●", "^": "▲", "s": "■", "D": "◆", "x": "✕"}
_FULL, _HALF, _NARROW = 976.0, 470.0, 364.0


@dataclass(frozen=True)
class PipelineRun:
    """The data of one pipeline's run, in addition to the verifier's report."""

    measured: Measured
    timeline: Timeline
    evidence: Evidence


def page(report: Report, seen: Mapping[str, PipelineRun], command: str, seed: int) -> str:
    """The whole document as HTML; it has no external references."""
    head = el(
        "head",
        {},
        el("meta", {"charset": "utf-8"}),
        el("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        el("meta", {"name": "color-scheme", "content": "light dark"}),
        el("meta", {"http-equiv": "Content-Security-Policy", "content": _POLICY}),
        el("title", {}, f"Penstock demo: {'held' if report.held else 'did not hold'}"),
        el("style", {}, _STYLE.read_text(encoding="utf-8")),
    )
    body = el(
        "body",
        {},
        _top(report),
        el(
            "main",
            {},
            *(_pipeline(name, one, seen[name]) for name, one in report.pipelines.items()),
            _all_numbers(report),
            _made_with(report, command, seed),
        ),
    )
    return "<!doctype html>\n" + html(el("html", {"lang": "en"}, head, body)) + "\n"


def _top(report: Report) -> Element:
    verdict: list[Child] = (
        [el("span", {"class": "held"}, "✓ Held."), " What was served is what the raw events give."]
        if report.held
        else [el("span", {"class": "broken"}, "✗ Did not hold."), " Something was lost, doubled or different."]
    )
    return el(
        "header",
        {"class": "top"},
        el("p", {"class": "brand"}, "Penstock demo"),
        extended(el("h1", {}), verdict),
        el(
            "p",
            {"class": "lead"},
            "Raw events went through Kafka, windowed features, two stores, a model and back to Kafka as predictions. "
            "Afterwards a separate process recomputed them from the raw events alone and compared.",
        ),
        el("ul", {"class": "verdicts"}, *(_verdict(name, one) for name, one in report.pipelines.items())),
    )


def _verdict(name: str, one: PipelineReport) -> Element:
    said = (
        f"{one.events_valid:,} events, {one.features_checked:,} feature values compared: none lost, none doubled, "
        "none different."
        if not one.failures()
        else "; ".join(one.failures()) + "."
    )
    return el("li", {}, el("a", {"href": f"#{name}"}, name), _pill(one), el("p", {}, said))


def _pill(one: PipelineReport) -> Element:
    broken = one.failures()
    return el("span", {"class": f"pill {'broken' if broken else 'held'}"}, "did not hold" if broken else "held")


def _pipeline(name: str, one: PipelineReport, seen: PipelineRun) -> Element:
    parts: list[Child] = [el("h2", {}, name, _pill(one))]
    if one.failures():
        told = [el("li", {}, failure) for failure in one.failures()]
        told += [el("li", {}, el("code", {}, example)) for example in one.examples[:5]]
        parts.append(el("ul", {"class": "failures"}, *told))
    parts.append(_numbers(one))
    shown = [figures.throughput(seen.timeline), figures.lag(seen.timeline), figures.latency(seen.timeline)]
    if seen.evidence.monitors:
        shown.append(figures.drift(seen.evidence))
    if seen.measured.latencies_ms:
        shown.append(figures.live_latency(seen.measured.latencies_ms))
    shown += [figures.scores(seen.evidence), figures.calibration(seen.evidence), figures.importance(seen.evidence)]
    parts.append(el("div", {"class": "figures"}, *(_figure(one) for one in shown)))
    return el("section", {"id": name, "class": "pipeline"}, *parts)


def _numbers(one: PipelineReport) -> Element:
    """The most important numbers."""
    latency, model = one.latency_ms, one.model
    wrong_stored = one.redis_mismatches + one.cassandra_mismatches
    numbers = [
        _number(
            "valid events",
            f"{one.events_valid:,}",
            f"{one.events_invalid:,} refused, {one.events_duplicate:,} duplicates dropped",
        ),
        _number(
            "feature values compared",
            f"{one.features_checked:,}",
            *_zero({"differ": one.feature_mismatches, "missing": one.feature_gaps}),
        ),
        _number(
            "predictions",
            f"{one.predictions:,}",
            *_zero(
                {
                    "doubled": one.prediction_duplicates,
                    "missing": one.prediction_gaps,
                    "wrong": one.prediction_mismatches,
                }
            ),
        ),
        _number(
            "entries in the stores", f"{one.redis_checked + one.cassandra_rows:,}", *_zero({"wrong": wrong_stored})
        ),
    ]
    if one.backfill_rows:
        numbers.append(
            _number(
                "rows backfilled",
                f"{one.backfill_rows:,}",
                *_zero({"mismatches with what was served": one.backfill_mismatches}),
            )
        )
    if one.events_per_s:
        numbers.append(
            _number(
                "burst, raw to prediction", f"{one.events_per_s:,.0f}", "valid events, as fast as it goes", unit="/s"
            )
        )
    if latency:
        numbers.append(
            _number(
                "live, raw to prediction",
                milliseconds(round(latency.p50)),
                f"p95 {milliseconds(latency.p95)}, p99 {milliseconds(latency.p99)}",
                unit="median",
            )
        )
    if model:
        without = f"{model.auc_without_windows:.4f} without windowed features"
        numbers.append(_number("AUC on later events", f"{model.auc:.4f}", without))
    numbers.append(_drift_number(one))
    return el("dl", {"class": "numbers"}, *numbers)


def _drift_number(one: PipelineReport) -> Element:
    wrong = {
        "lost": one.drift_alerts_missing,
        "made up": one.drift_alerts_extra,
        "doubled": one.drift_alert_duplicates,
        "records not followed": one.drift_unfollowed,
        "unlike a replay": one.drift_mismatches,
    }
    if any(wrong.values()):
        return _number("drift alerts", f"{one.drift_alerts:,}", *_zero(wrong))
    false = (
        f"false alarms before the injected drift: {one.false_alarms_before_drift:,}"
        if one.drift_from_ms is not None
        else "no drift was injected: the data are real"
    )
    return _number("drift alerts", f"{one.drift_alerts:,}", false)


def _number(label: str, value: str, note: str, look: str = "", unit: str = "") -> Element:
    shown = el("span", {"class": "value"}, value, *((" ", el("small", {}, unit)) if unit else ()))
    return el(
        "div",
        {},
        el("dt", {}, label),
        el("dd", {}, shown, el("div", {"class": f"note {look}".strip()}, note)),
    )


def _zero(counts: Mapping[str, int]) -> tuple[str, str]:
    """Counts that must be 0, and how to show them."""
    wrong = {name: count for name, count in counts.items() if count}
    shown = wrong or counts
    return ", ".join(f"{count:,} {name}" for name, count in shown.items()), "broken" if wrong else "held"


def _figure(figure: Figure) -> Element:
    description = f"{figure.title}. {figure.reading}"
    return el(
        "figure",
        {"class": "wide"} if figure.wide else {},
        el("figcaption", {}, el("h3", {}, figure.title), el("p", {}, figure.reading)),
        *([el("ul", {"class": "keys"}, *(_key(key) for key in figure.keys))] if figure.keys else []),
        draw(figure.paint, _FULL if figure.wide else _HALF, figure.height, description, "broad"),
        draw(figure.paint, _NARROW, figure.narrow_height, description, "narrow"),
    )


def _key(key: Key) -> Element:
    sign = "○" if key.hollow else _SIGNS[key.marker]
    return el("li", {}, el("span", {"class": key.colour, "aria-hidden": "true"}, sign), key.text)


def _all_numbers(report: Report) -> Element:
    columns = [
        _flat(one.model_dump(exclude={"examples", "drift_from_ms"})) | {"drift injected": _date(one.drift_from_ms)}
        for one in report.pipelines.values()
    ]
    names = list(dict.fromkeys(name for column in columns for name in column))
    header = el("tr", {}, el("th", {}, ""), *(el("th", {"scope": "col"}, name) for name in report.pipelines))
    rows = [el("tr", {}, el("td", {}, name), *(_cell(name, column.get(name)) for column in columns)) for name in names]
    table = el("table", {}, el("thead", {}, header), el("tbody", {}, *rows))
    return el("section", {"id": "numbers"}, el("h2", {}, "All numbers"), el("div", {"class": "scroll"}, table))


def _date(ms: int | None) -> str | None:
    return None if ms is None else readable(ms, "minutes", zone="")


def _cell(name: str, value: object) -> Element:
    text = "n/a" if value is None else f"{value:,}" if isinstance(value, int | float) else str(value)
    wrong = bool(value) and name.endswith(_MUST_BE_ZERO)
    return el("td", {"class": "bad"} if wrong else {}, text)


def _flat(content: Mapping[str, object], before: str = "") -> dict[str, object]:
    """Flatten nested values; their names become readable labels."""
    found: dict[str, object] = {}
    for name, value in content.items():
        words = f"{before}{name.replace('_', ' ')}"
        found |= _flat(value, f"{words}: ") if isinstance(value, Mapping) else {words: value}
    return found


def _made_with(report: Report, command: str, seed: int) -> Element:
    versions = [el("div", {}, el("dt", {}, name), el("dd", {}, version)) for name, version in report.versions.items()]
    return el(
        "section",
        {"id": "versions"},
        el("h2", {}, "Made with"),
        el("dl", {"class": "versions"}, *versions),
        el(
            "footer",
            {},
            "Made by ",
            el("code", {}, command),
            f" with seed {seed}. It needs no network and loads nothing.",
        ),
    )
