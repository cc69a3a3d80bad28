"""Builds ``report.html``: the run on one self-contained page, in the light or dark scheme of the reader's browser."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from examples.demo import figures
from examples.demo.evidence import Evidence, Gates
from examples.demo.figures import Figure, LegendEntry
from examples.demo.formats import milliseconds
from examples.demo.loop_record import Loop
from examples.demo.loop_section import loop_section
from examples.demo.markup import Child, Element, append_children, el, html
from examples.demo.plots import draw
from examples.demo.rollout_record import Rollouts
from examples.demo.rollout_section import rollout_section
from examples.demo.timeline import Timeline
from penstock.time import readable
from verify.measured import Measured
from verify.report import PipelineReport, Report

_STYLE = Path(__file__).with_name("report_page.css")
# The page loads nothing; the browser enforces it.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_MUST_BE_ZERO = ("mismatches", "gaps", "duplicates", "missing", "extra", "unfollowed")
# Characters for Matplotlib's markers in the legend.
_SIGNS = {"-": "━", "o": "●", "^": "▲", "s": "■", "D": "◆", "x": "✕"}
# Widths of plots in pixels: across the page, in one of two columns, on a phone.
_FULL, _HALF, _NARROW = 976.0, 470.0, 364.0


@dataclass(frozen=True)
class PipelineRun:
    """The data of one pipeline's run, in addition to the verifier's report."""

    measured: Measured
    timeline: Timeline
    evidence: Evidence
    rollouts: Rollouts | None = None
    loop: Loop | None = None


def report_page(report: Report, runs: Mapping[str, PipelineRun], command: str, seed: int) -> str:
    """The whole document as HTML; it has no external references. ``command`` and ``seed`` made the run."""
    head = el(
        "head",
        {},
        el("meta", {"charset": "utf-8"}),
        el("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        el("meta", {"name": "color-scheme", "content": "light dark"}),
        el("meta", {"http-equiv": "Content-Security-Policy", "content": _POLICY}),
        el("title", {}, f"Penstock demo: {'passed' if report.held else 'not passed'}"),
        el("style", {}, _STYLE.read_text(encoding="utf-8")),
    )
    body = el(
        "body",
        {},
        _page_header(report),
        el(
            "main",
            {},
            *(_pipeline(name, one, runs[name]) for name, one in report.pipelines.items()),
            _all_numbers(report),
            _versions(report, command, seed),
        ),
    )
    return "<!doctype html>\n" + html(el("html", {"lang": "en"}, head, body)) + "\n"


def _page_header(report: Report) -> Element:
    verdict: list[Child] = (
        [el("span", {"class": "passed"}, "✓ Passed."), " Everything served matches the raw events."]
        if report.held
        else [el("span", {"class": "failed"}, "✗ Not passed."), " Something is wrong, or was not checked."]
    )
    return el(
        "header",
        {"class": "top"},
        el("p", {"class": "brand"}, "Penstock demo"),
        append_children(el("h1", {}), verdict),
        el(
            "p",
            {"class": "lead"},
            "Raw events from Kafka became windowed features, entries in two stores, and predictions in Kafka. "
            "Afterwards a separate process recomputed all of them from the raw events alone and compared the results.",
        ),
        el("ul", {"class": "verdicts"}, *(_verdict(name, one) for name, one in report.pipelines.items())),
    )


def _verdict(name: str, one: PipelineReport) -> Element:
    summary = (
        f"{one.events_valid:,} events and all {one.features_total:,} feature values compared: none lost, duplicated or "
        "different."
        if one.verdict == "passed"
        else "; ".join((*one.failures(), *one.unchecked())) + "."
    )
    return el("li", {}, el("a", {"href": f"#{name}"}, name), _badge(one), el("p", {}, summary))


def _badge(one: PipelineReport) -> Element:
    return el("span", {"class": f"badge {'passed' if one.verdict == 'passed' else 'failed'}"}, one.verdict)


def _pipeline(name: str, one: PipelineReport, run: PipelineRun) -> Element:
    parts: list[Child] = [el("h2", {}, name, _badge(one))]
    if one.verdict != "passed":
        failures = [el("li", {}, text) for text in (*one.failures(), *one.unchecked())]
        failures += [el("li", {}, el("code", {}, example)) for example in one.examples[:5]]
        parts.append(el("ul", {"class": "failures"}, *failures))
    parts.append(_key_numbers(one))
    shown = [figures.throughput(run.timeline), figures.lag(run.timeline), figures.latency(run.timeline)]
    if run.evidence.monitors:
        shown.append(figures.drift(run.evidence))
    if run.measured.latencies_ms:
        shown.append(figures.live_latency(run.measured.latencies_ms))
    shown += [figures.scores(run.evidence), figures.calibration(run.evidence), figures.importance(run.evidence)]
    parts.append(el("div", {"class": "figures"}, *(_figure(one) for one in shown)))
    if run.evidence.gates is not None:
        parts += _gates(name, run.evidence.gates)
    if run.loop is not None:
        parts += loop_section(run.loop, one, _figure, _number)
    if run.rollouts is not None:
        parts += rollout_section(run.rollouts, _figure, _number)
    return el("section", {"id": name, "class": "pipeline"}, *parts)


def _gates(name: str, gates: Gates) -> list[Child]:
    """What the gates said of the model before it was served."""
    passed = gates.verdict == "pass"
    badge = el("span", {"class": f"badge {'passed' if passed else 'warned'}"}, gates.verdict)
    card = el("a", {"href": f"{name}/card.html"}, "model card")
    text = (
        f"Before it was served, the model was judged on {gates.events:,} labelled events that are later than its "
        f"training. {'' if passed else 'The demo served it all the same. '}See also its "
    )
    head = el(
        "tr", {}, *(el("th", {"scope": "col"}, one) for one in ("verdict", "gate", "where", "n", "found", "passes"))
    )
    rows = [
        el(
            "tr",
            {},
            el("td", {"class": one.verdict}, one.verdict),
            *(el("td", {}, text) for text in (one.gate, one.where, f"{one.n:,}", one.measured, one.passes)),
        )
        for one in gates.results
    ]
    table = el("table", {"class": "gates"}, el("thead", {}, head), el("tbody", {}, *rows))
    return [
        el("h3", {"class": "gates"}, "Gates", badge),
        el("p", {}, text, card, "."),
        el("div", {"class": "scroll"}, table),
    ]


def _key_numbers(one: PipelineReport) -> Element:
    """The most important numbers."""
    latency, model = one.latency_ms, one.model
    wrong_stored = one.redis_mismatches + one.cassandra_mismatches
    unchecked = one.features_total - one.features_checked
    note, result = _count_note(
        {"differ": one.feature_mismatches, "missing": one.feature_gaps, "not compared": unchecked}
    )
    numbers = [
        _number(
            "valid events",
            f"{one.events_valid:,}",
            f"{one.events_invalid:,} refused, {one.events_duplicate:,} duplicates dropped",
        ),
        _number("feature values compared", f"{one.features_checked:,}", f"of {one.features_total:,}: {note}", result),
        _number(
            "predictions",
            f"{one.predictions:,}",
            *_count_note(
                {
                    "duplicated": one.prediction_duplicates,
                    "missing": one.prediction_gaps,
                    "wrong": one.prediction_mismatches,
                }
            ),
        ),
        _number(
            "entries in the stores",
            f"{one.redis_checked + one.cassandra_rows:,}",
            *_count_note({"wrong": wrong_stored}),
        ),
    ]
    if one.backfill_rows:
        numbers.append(
            _number(
                "rows backfilled",
                f"{one.backfill_rows:,}",
                *_count_note({"differ from what was served": one.backfill_mismatches}),
            )
        )
    if one.events_per_s:
        numbers.append(
            _number(
                "burst, raw to prediction", f"{one.events_per_s:,.0f}", "produced without a rate limit", unit="events/s"
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
        baseline = model.auc_without_windows
        without = "no baseline" if baseline is None else f"{baseline:.4f} without windowed features"
        numbers.append(_number("AUC on later events", f"{model.auc:.4f}", without))
    numbers.append(_drift_number(one))
    return el("dl", {"class": "numbers"}, *numbers)


def _drift_number(one: PipelineReport) -> Element:
    wrong = {
        "missing": one.drift_alerts_missing,
        "without cause": one.drift_alerts_extra,
        "duplicated": one.drift_alert_duplicates,
        "records not followed": one.drift_unfollowed,
        "differ from a replay": one.drift_mismatches,
    }
    if any(wrong.values()):
        return _number("drift alerts", f"{one.drift_alerts:,}", *_count_note(wrong))
    note = (
        f"false incidents before the injected drift: {one.false_incidents_before_drift:,}"
        if one.drift_from_ms is not None
        else "real data, no drift injected"
    )
    return _number("drift alerts", f"{one.drift_alerts:,}", note)


def _number(label: str, value: str, note: str, result: str = "", unit: str = "") -> Element:
    """A number with its label and a note; ``result`` colours the note: passed, failed or neither."""
    shown = el("span", {"class": "value"}, value, *((" ", el("small", {}, unit)) if unit else ()))
    return el(
        "div",
        {},
        el("dt", {}, label),
        el("dd", {}, shown, el("div", {"class": f"note {result}".strip()}, note)),
    )


def _count_note(counts: Mapping[str, int]) -> tuple[str, str]:
    """The note for counts that must be 0, and its result: passed or failed."""
    wrong = {name: count for name, count in counts.items() if count}
    shown = wrong or counts
    return ", ".join(f"{count:,} {name}" for name, count in shown.items()), "failed" if wrong else "passed"


def _figure(figure: Figure) -> Element:
    description = f"{figure.title}. {figure.caption}"
    return el(
        "figure",
        {"class": "wide"} if figure.wide else {},
        el("figcaption", {}, el("h3", {}, figure.title), el("p", {}, figure.caption)),
        *([el("ul", {"class": "legend"}, *map(_legend_entry, figure.legend))] if figure.legend else []),
        draw(figure.paint, _FULL if figure.wide else _HALF, figure.height, description, "broad"),
        draw(figure.paint, _NARROW, figure.narrow_height, description, "narrow"),
    )


def _legend_entry(entry: LegendEntry) -> Element:
    sign = "○" if entry.hollow else _SIGNS[entry.marker]
    return el("li", {}, el("span", {"class": entry.colour, "aria-hidden": "true"}, sign), entry.text)


def _all_numbers(report: Report) -> Element:
    columns = [
        _flat(one.model_dump(exclude={"examples", "drift_from_ms"})) | {"drift injected": _date(one.drift_from_ms)}
        for one in report.pipelines.values()
    ]
    names = list(dict.fromkeys(name for column in columns for name in column))
    header = el("tr", {}, el("th", {}, ""), *(el("th", {"scope": "col"}, name) for name in report.pipelines))
    rows = [
        el("tr", {}, el("td", {}, name), *(_table_cell(name, column.get(name)) for column in columns)) for name in names
    ]
    table = el("table", {}, el("thead", {}, header), el("tbody", {}, *rows))
    return el("section", {"id": "numbers"}, el("h2", {}, "All numbers"), el("div", {"class": "scroll"}, table))


def _date(ms: int | None) -> str | None:
    return None if ms is None else readable(ms, "minutes", zone="")


def _table_cell(name: str, value: object) -> Element:
    text = "n/a" if value is None else f"{value:,}" if isinstance(value, int | float) else str(value)
    wrong = bool(value) and name.endswith(_MUST_BE_ZERO)
    return el("td", {"class": "bad"} if wrong else {}, text)


def _flat(content: Mapping[str, object], before: str = "") -> dict[str, object]:
    """Flatten nested values; field names become readable labels."""
    flat: dict[str, object] = {}
    for name, value in content.items():
        label = f"{before}{name.replace('_', ' ')}"
        flat |= _flat(value, f"{label}: ") if isinstance(value, Mapping) else {label: value}
    return flat


def _versions(report: Report, command: str, seed: int) -> Element:
    versions = [el("div", {}, el("dt", {}, name), el("dd", {}, version)) for name, version in report.versions.items()]
    return el(
        "section",
        {"id": "versions"},
        el("h2", {}, "Versions"),
        el("dl", {"class": "versions"}, *versions),
        el(
            "footer",
            {},
            "Written by ",
            el("code", {}, command),
            f" with seed {seed}. This page is self-contained and loads nothing from the network.",
        ),
    )
