"""A model card: one HTML page that says what a version is, what it was made from, and what the gates found. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from xml.etree import ElementTree as ET

from penstock.counts import counted
from penstock.time import readable
from scoring.gates.gates import Verdict
from scoring.gates.report import Bin, Report, evidence
from scoring.trained_model import ImportManifest, ModelManifest, Provenance, quality_of, training_set_of

_PLOT, _MARGIN = 320, 40
_MOST = 15
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1c2024 }
h1 { margin-bottom: 0 } h2 { margin-top: 2.5rem; font-size: 1.2rem }
table { border-collapse: collapse; width: 100%; font-size: .9rem }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #e0e3e7; vertical-align: top }
th:has(+ td) { width: 9rem }
.verdict { font-weight: 600 } .pass { color: #14713b } .fail { color: #b42318 } .inconclusive { color: #8a5a00 }
.skipped, .not_judged { color: #5b6470 }
.bar { background: #3b6fb6; height: .7rem } svg { max-width: 100% } .note { color: #5b6470 }
code { overflow-wrap: anywhere }
"""


def card(
    report: Report, manifest: ModelManifest | ImportManifest, threshold: float, override: str | None = None
) -> str:
    """The page.

    Args:
        report: What the gates found.
        manifest: The version's.
        threshold: The score from which on the decision is positive.
        override: The reason for which it is served although the gates do not pass.
    """
    html = ET.Element("html", lang="en")
    head = ET.SubElement(html, "head")
    ET.SubElement(head, "meta", charset="utf-8")
    ET.SubElement(head, "meta", name="viewport", content="width=device-width, initial-scale=1")
    ET.SubElement(head, "title").text = f"{report.model} version {report.version}"
    ET.SubElement(head, "style").text = _STYLE
    body = ET.SubElement(html, "body")
    ET.SubElement(body, "h1").text = f"{report.model} version {report.version}"
    verdict = ET.SubElement(body, "p")
    verdict.text = "The gates say: "
    _verdict(verdict, report.verdict)
    ET.SubElement(verdict, "span").text = _why(report)
    if override is not None:
        ET.SubElement(body, "p", {"class": "verdict fail"}).text = f"The gates were overridden: {override}"
    _what_it_is(body, manifest, threshold)
    _gates(body, report)
    if report.bins:
        _calibration(body, report.bins)
    _importance(body, manifest)
    _lineage(body, manifest)
    return "<!doctype html>\n" + ET.tostring(html, encoding="unicode", method="html") + "\n"


def _why(report: Report) -> str:
    """Which gates are behind the verdict, after it."""
    parts = [
        f"{', '.join(gates)} {verb}"
        for verdict, verb in ((Verdict.FAIL, "refused it"), (Verdict.INCONCLUSIVE, "could not tell"))
        if (gates := dict.fromkeys(one.gate for one in report.results if one.verdict is verdict))
    ]
    return f": {'; '.join(parts)}." if parts else "."


def _what_it_is(body: ET.Element, manifest: ModelManifest | ImportManifest, threshold: float) -> None:
    ET.SubElement(body, "h2").text = "What it is"
    trained_to = manifest.trained_to_ms
    made = manifest.provenance
    rows = [
        *([] if made is None else [("made", _made(made))]),
        ("inputs", ", ".join(manifest.inputs)),
        ("decides", f"positive from a score of {threshold:,.12g} on"),
        (
            "trained on events until",
            "not known" if trained_to is None else readable(trained_to, "seconds", zone=" UTC"),
        ),
    ]
    if isinstance(manifest, ImportManifest):
        rows += [
            ("imported from", f"{manifest.file}, {manifest.producer or 'of an unnamed program'}"),
            ("score", f"output {manifest.output}, column {manifest.column}"),
            ("checked", f"{counted(manifest.check_rows, 'row')} with known scores, within {manifest.difference:.2g}"),
        ]
    else:
        validation = manifest.validation
        rows += [
            ("trained by", manifest.trainer or f"Penstock, {manifest.iterations} trees"),
            ("training set", training_set_of(manifest)),
            ("when it was trained", f"{quality_of(validation)} on the latest {counted(validation.rows, 'event')}"),
        ]
    _table(body, (), rows)


def _made(provenance: Provenance) -> str:
    author = "" if provenance.author is None else f" by {provenance.author}"
    return readable(provenance.made_ms, "seconds", zone=" UTC") + author


def _gates(body: ET.Element, report: Report) -> None:
    ET.SubElement(body, "h2").text = "Gates"
    text = f"On {report.events:,} later labelled events, compared with {report.compared_with}. Intervals in brackets."
    ET.SubElement(body, "p", {"class": "note"}).text = text
    table = _table(body, ("verdict", "gate", "where", "n", "measured", "passes"), ())
    for one in report.results:
        row = ET.SubElement(table, "tr")
        _verdict(ET.SubElement(row, "td"), one.verdict)
        for text in (one.gate, one.where, f"{one.n:,}", evidence(one), one.limit):
            ET.SubElement(row, "td").text = text


def _calibration(body: ET.Element, bins: Sequence[Bin]) -> None:
    ET.SubElement(body, "h2").text = "Calibration"
    text = "Each point is a tenth of the later events: its mean score, and the share of positive events among them."
    ET.SubElement(body, "p", {"class": "note"}).text = text
    most = max([each for one in bins for each in (one.score, one.positive)], default=1.0) or 1.0
    size = _PLOT + 2 * _MARGIN
    svg = ET.SubElement(body, "svg", width=str(size), height=str(size), viewBox=f"0 0 {size} {size}", role="img")
    ET.SubElement(svg, "title").text = "share of positive events over the mean score"

    def place(x: float, y: float) -> tuple[str, str]:
        return f"{_MARGIN + x / most * _PLOT:.1f}", f"{_MARGIN + _PLOT - y / most * _PLOT:.1f}"

    corner, right, top = place(0, 0), place(most, 0), place(0, most)
    for begin, end in ((corner, right), (corner, top)):
        ET.SubElement(svg, "line", x1=begin[0], y1=begin[1], x2=end[0], y2=end[1], stroke="#5b6470")
    ideal = place(most, most)
    dashed = {"stroke": "#9aa3ad", "stroke-dasharray": "4 4"}
    ET.SubElement(svg, "line", dashed, x1=corner[0], y1=corner[1], x2=ideal[0], y2=ideal[1])
    for one in bins:
        x, y = place(one.score, one.positive)
        point = ET.SubElement(svg, "circle", cx=x, cy=y, r="4", fill="#3b6fb6")
        ET.SubElement(
            point, "title"
        ).text = f"score {one.score:.3f}, positive {one.positive:.3f}, {one.events:,} events"
    for text, (x, y), anchor in (
        ("0", (corner[0], f"{size - _MARGIN / 2:.0f}"), "middle"),
        (f"score {most:.2g}", (right[0], f"{size - _MARGIN / 2:.0f}"), "end"),
        (f"positive {most:.2g}", (f"{_MARGIN:.0f}", f"{_MARGIN / 2:.0f}"), "start"),
    ):
        label = {"font-size": "12", "text-anchor": anchor, "fill": "#5b6470"}
        ET.SubElement(svg, "text", label, x=x, y=y).text = text


def _importance(body: ET.Element, manifest: ModelManifest | ImportManifest) -> None:
    if not manifest.importance:
        return
    ET.SubElement(body, "h2").text = "Most useful inputs"
    measure = "R²" if isinstance(manifest, ModelManifest) and manifest.task == "regression" else "AUC"
    text = f"What the {measure} loses when an input's values are shuffled. Correlated inputs share their importance."
    ET.SubElement(body, "p", {"class": "note"}).text = text
    table = _table(body, (), ())
    most = max(one.loss for one in manifest.importance)
    for one in manifest.importance[:_MOST]:
        row = ET.SubElement(table, "tr")
        ET.SubElement(row, "td").text = one.input
        ET.SubElement(row, "td").text = f"{one.loss:.4f} ± {one.spread:.4f}"
        share = max(one.loss, 0) / most if most > 0 else 0
        ET.SubElement(ET.SubElement(row, "td", width="50%"), "div", {"class": "bar", "style": f"width: {share:.0%}"})


def _lineage(body: ET.Element, manifest: ModelManifest | ImportManifest) -> None:
    ET.SubElement(body, "h2").text = "Where it comes from"
    rows = [(f"view {view}", identity) for view, identity in manifest.views.items()]
    if isinstance(manifest, ImportManifest):
        rows += [("SHA-256 of the file", manifest.sha256), ("SHA-256 of the check rows", manifest.check_sha256)]
    else:
        rows += [("SHA-256 of the training set", manifest.data_hash), ("seed", str(manifest.seed))]
        rows += [(f"offsets of {topic}", offsets_in_words(ranges)) for topic, ranges in manifest.offsets.items()]
    rows += [(f"library {name}", version) for name, version in manifest.libraries.items()]
    _table(body, (), rows, code=True)
    ET.SubElement(body, "h2").text = "What it takes to make it again"
    _table(body, (), recipe_in_words(manifest), code=True)


def recipe_in_words(manifest: ModelManifest | ImportManifest) -> list[tuple[str, str]]:
    """What ``penstock model rebuild`` needs to make a version again, as labels and texts."""
    recipe = manifest.recipe
    is_enough = manifest.hosted is None if isinstance(manifest, ImportManifest) else recipe and recipe.data
    if recipe is None or not is_enough:
        return [("made again", "it cannot be: its manifest does not say enough")]
    rows = [("made again by", "penstock model rebuild PIPELINE VERSION")]
    if isinstance(manifest, ImportManifest):
        rows.append(("of", f"{manifest.file}, and the {counted(manifest.check_rows, 'check row')}"))
    elif manifest.trainer is not None:
        rows.append(("function", f"{manifest.trainer}, source {recipe.trainer or 'not known'}"))
    if (data := recipe.data) is not None:
        begin, end = (readable(ms, "seconds", zone=" UTC") for ms in (data.from_ms, data.to_ms))
        rows.append(("features", f"a backfill from {begin} to {end}, of {', '.join(data.views)}"))
        rows += [
            (f"records of {topic}", f"{counted(read.records, 'record')}: {offsets_in_words(read.offsets) or 'none'}")
            for topic, read in data.topics.items()
        ]
    rows += [(f"parameter {name}", f"{value:g}") for name, value in recipe.parameters.items()]
    return [*rows, ("Penstock's source", recipe.code[:16])]


def offsets_in_words(ranges: Mapping[int, tuple[int, int]]) -> str:
    """The offsets that were read of each partition: the first, and the end."""
    return ", ".join(f"[{partition}] {begin} to {end}" for partition, (begin, end) in sorted(ranges.items()))


def _verdict(parent: ET.Element, verdict: Verdict) -> None:
    ET.SubElement(parent, "span", {"class": f"verdict {verdict.name.lower()}"}).text = verdict.value


def _table(
    body: ET.Element, header: Sequence[str], rows: Iterable[tuple[str, str]], *, code: bool = False
) -> ET.Element:
    table = ET.SubElement(body, "table")
    if header:
        row = ET.SubElement(table, "tr")
        for text in header:
            ET.SubElement(row, "th").text = text
    for label, text in rows:
        row = ET.SubElement(table, "tr")
        ET.SubElement(row, "th").text = label
        cell = ET.SubElement(row, "td")
        (ET.SubElement(cell, "code") if code else cell).text = text
    return table
