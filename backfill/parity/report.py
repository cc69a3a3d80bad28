"""The result of a run for programs (JSON) and people (one HTML page). Pure."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any
from xml.etree import ElementTree as ET

from backfill.parity.check import Parity
from backfill.parity.findings import Findings, Root, Tally
from backfill.parity.values import RECORD, Cause, Difference, Place
from penstock.counts import counted
from penstock.time import readable

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #1c2024 }
h1 { margin-bottom: 0 } h2 { margin-top: 2.5rem; font-size: 1.2rem }
table { border-collapse: collapse; width: 100%; font-size: .9rem }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #e0e3e7; vertical-align: top }
.number { text-align: right } .verdict { font-weight: 600 } .pass { color: #14713b } .fail { color: #b42318 }
.note { color: #5b6470 } code { overflow-wrap: anywhere }
"""
_MEANING = {
    Cause.LATE: "the event came too late for its place in the order",
    Cause.INTERLEAVING: "the job took the entity's events, of several partitions, in another possible order",
    Cause.IN_FLIGHT: "nothing had been served yet when it was compared",
    Cause.EXPIRED: "the vector of another pipeline had expired, and its default was served",
    Cause.VERSION: "another version of the view or the model served it, or a job without the earlier events",
    Cause.REFERENCE: "the event was given another row of reference data, known before or after it, or deleted since",
    Cause.MISSING: "the vector was too long to publish, or the store had none and its default was served",
    Cause.UNEXPLAINED: "none of these: the pipeline did not serve what it should have",
}


def as_json(parity: Parity, topics: Sequence[str]) -> str:
    """The result as one JSON object; ``topics`` are those of the sources, in order."""
    findings = parity.findings
    content = {
        "pipeline": parity.pipeline,
        "from_ms": parity.range.from_ms,
        "to_ms": parity.range.to_ms,
        "sample": str(parity.range.sample),
        "seed": parity.range.sample.seed,
        "against": parity.against,
        "events": parity.events,
        "entities": parity.entities,
        "values": findings.values,
        "differences": {cause.value: count for cause, count in findings.by_cause().items()},
        "unexplained": parity.unexplained,
        "not_compared": dict(sorted(findings.not_compared.items())),
        "by_name": [
            {**tally._asdict(), "cause": tally.cause.value, "values": count} for tally, count in ordered(findings)
        ],
        "roots": {
            cause.value: {
                "count": findings.root_counts[cause],
                "most_followers": [_root(root, topics) for root in findings.roots[cause]],
            }
            for cause in Cause
            if cause in findings.roots
        },
    }
    return json.dumps(content, indent=2)


def ordered(findings: Findings) -> list[tuple[Tally, int]]:
    """The counts of differences, unexplained ones first, then the most frequent."""
    return sorted(
        findings.differing.items(), key=lambda item: (item[0].cause is not Cause.UNEXPLAINED, -item[1], item[0])
    )


def place_text(place: Place, topics: Sequence[str]) -> str:
    """``topic[partition]@offset``."""
    return f"{topics[place.source]}[{place.partition}]@{place.offset}"


def what(difference: Difference) -> str:
    """What differs, in words: a feature, an input of a vector, or the whole record."""
    if difference.step == RECORD:
        return difference.name
    return f"{difference.view} {difference.name}".strip() + (" in the vector" if difference.step == "vector" else "")


def _root(root: Root, topics: Sequence[str]) -> dict[str, Any]:
    first = root.first
    return {
        "step": first.step,
        "view": first.view,
        "entity": first.entity,
        "names": root.names,
        "event": place_text(first.place, topics),
        "served_at": first.served_at,
        "served": _plain(first.served),
        "recomputed": _plain(first.recomputed),
        "followers": root.followers,
    }


def _plain(value: Any) -> Any:
    """JSON has no NaN and no infinity."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def page(parity: Parity, topics: Sequence[str]) -> str:
    """The result as one HTML page; ``topics`` are those of the sources, in order."""
    findings, title = parity.findings, f"Parity of {parity.pipeline}"
    html = ET.Element("html", lang="en")
    head = ET.SubElement(html, "head")
    ET.SubElement(head, "meta", charset="utf-8")
    ET.SubElement(head, "meta", name="viewport", content="width=device-width, initial-scale=1")
    ET.SubElement(head, "title").text = title
    ET.SubElement(head, "style").text = _STYLE
    body = ET.SubElement(html, "body")
    ET.SubElement(body, "h1").text = title
    ET.SubElement(body, "p", {"class": "note"}).text = summary(parity)
    verdict = {"class": "verdict " + ("fail" if parity.unexplained else "pass")}
    ET.SubElement(body, "p", verdict).text = conclusion(parity)
    _table(
        body,
        "Differences by cause",
        ("cause", "values", "roots", "meaning"),
        (
            (cause.value, f"{count:,}", f"{findings.root_counts[cause]:,}", _MEANING[cause])
            for cause, count in findings.by_cause().items()
        ),
    )
    compared = Counter[str]()
    for (step, view), count in findings.compared.items():
        compared[f"{view or 'records'} ({step})"] += count
    _table(body, "Compared", ("what", "values"), ((name, f"{count:,}") for name, count in sorted(compared.items())))
    rows = ((*tally[:3], tally.cause.value, f"{count:,}") for tally, count in ordered(findings))
    _table(body, "Differences by name", ("step", "view", "name", "cause", "values"), rows)
    _table(
        body,
        "Roots with the most followers",
        ("cause", "what differs", "entity", "event", "served", "recomputed", "followers"),
        (
            (
                cause.value,
                what(root.first),
                root.first.entity or "",
                place_text(root.first.place, topics),
                _text(root.first.served),
                _text(root.first.recomputed),
                f"{root.followers:,}",
            )
            for cause in reversed(Cause)
            for root in findings.roots.get(cause, ())
        ),
    )
    gone = ((reason, f"{count:,}") for reason, count in sorted(findings.not_compared.items()))
    _table(body, "Not compared", ("what", "values or records"), gone)
    return "<!doctype html>\n" + ET.tostring(html, encoding="unicode", method="html") + "\n"


def summary(parity: Parity) -> str:
    """What was compared, in a line."""
    range_, sample = parity.range, parity.range.sample
    begin, end = (readable(ms, "seconds", zone=" UTC") for ms in (range_.from_ms, range_.to_ms))
    entities = "all entities" if sample.of == 1 else f"{sample} of the entities, seed {sample.seed}"
    return (
        f"{counted(parity.findings.values, 'value')} of {counted(parity.events, 'event')} and "
        f"{counted(parity.entities, 'entity', 'entities')} from {begin} to {end}, {entities}, "
        f"compared with {parity.against}"
    )


def conclusion(parity: Parity) -> str:
    """The verdict, in a line."""
    causes = parity.findings.by_cause()
    explained = sum(causes.values()) - parity.unexplained
    return f"{counted(explained, 'difference')} explained, {parity.unexplained:,} unexplained"


def _text(value: Any) -> str:
    return "null" if value is None else f"{value!r}"


def _table(body: ET.Element, title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    found = list(rows)
    if not found:
        return
    ET.SubElement(body, "h2").text = title
    table = ET.SubElement(body, "table")
    line = ET.SubElement(table, "tr")
    for text in header:
        ET.SubElement(line, "th").text = text
    for row in found:
        line = ET.SubElement(table, "tr")
        for text in row:
            ET.SubElement(line, "td").text = text
