"""What gates found, for programs (JSON), CI (JUnit) and people (Markdown)."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from xml.etree import ElementTree as ET

from scoring.gates.gates import Result, Verdict, overall


class Bin(NamedTuple):
    """Equally many events by score: their mean score, the share of positive ones, and how many they are."""

    score: float
    positive: float
    events: int


class Basis(NamedTuple):
    """What a report rests on: two with the same basis must say the same, but for latency and drift.

    Args:
        version: The identity of the version.
        against: That of the version that it was compared with.
        limits: The hash of the gates' limits.
        backfill: The hash of the backfill's manifest.
        holdout: The hash of the labelled events that were read.
        threshold: The score from which on the decision is positive.
        seed: Of the intervals that were drawn.
        penstock: The version of Penstock.
        labels: How many records of the labels topic were read; None of a report of an earlier build.
        failure: What a version raised when it was called; a model server may do so at one time, and not at another.
    """

    version: str
    against: str | None
    limits: str
    backfill: str
    holdout: str
    threshold: float
    seed: int
    penstock: str
    failure: str | None = None
    labels: int | None = None


@dataclass(frozen=True)
class Report:
    """The results of all gates for one version.

    Args:
        model: The model's name.
        version: The version.
        against: The version that it was compared with; None if there is no other.
        events: How many labelled events were in the holdout.
        results: What the gates found.
        bins: The calibration on the holdout.
        basis: What it rests on.
        why_against: Why it was compared with that one, in words; empty if the user named it, or there is none.
    """

    model: str
    version: int
    against: int | None
    events: int
    results: Sequence[Result]
    bins: Sequence[Bin] = ()
    basis: Basis | None = None
    why_against: str = ""

    @property
    def compared_with(self) -> str:
        """The version that it was compared with, in words."""
        why = f" ({self.why_against})" if self.why_against else ""
        return "no other version" if self.against is None else f"version {self.against}{why}"

    @property
    def verdict(self) -> Verdict:
        """The worst of the gates' verdicts."""
        return overall(self.results)


def as_json(report: Report) -> str:
    """The report as a JSON object; numbers that are not known are null."""
    return json.dumps(report_content(report), indent=2)


def report_content(report: Report) -> dict[str, Any]:
    """The report as :func:`as_json` writes it, before it is text."""
    return {
        "model": report.model,
        "version": report.version,
        "against": report.against,
        "why_against": report.why_against,
        "events": report.events,
        "verdict": report.verdict.value,
        "gates": [result_content(one) for one in report.results],
        "calibration": [one._asdict() for one in report.bins],
        "basis": None if report.basis is None else report.basis._asdict(),
    }


def result_content(result: Result) -> dict[str, Any]:
    """What one gate found, as :func:`as_json` writes it, before it is text."""
    return {
        "gate": result.gate,
        "where": result.where,
        "verdict": result.verdict.value,
        "n": result.n,
        "measured": result.measured,
        **{name: _or_null(value) for name, value in result.interval._asdict().items()},
        "limit": result.limit,
    }


def as_junit(report: Report) -> str:
    """The report as JUnit's XML: a test for each result; an inconclusive one is skipped, as is a gate left out."""
    suite = ET.Element(
        "testsuite",
        name=f"{report.model}@{report.version}",
        tests=str(len(report.results)),
        failures=str(sum(one.verdict is Verdict.FAIL for one in report.results)),
        skipped=str(sum(one.verdict not in (Verdict.PASS, Verdict.FAIL) for one in report.results)),
    )
    properties = ET.SubElement(suite, "properties")
    ET.SubElement(properties, "property", name="compared with", value=report.compared_with)
    for one in report.results:
        name = ": ".join(part for part in (one.where, one.measured) if part)
        case = ET.SubElement(suite, "testcase", classname=one.gate, name=name)
        if one.verdict is not Verdict.PASS:
            kind = "failure" if one.verdict is Verdict.FAIL else "skipped"
            passes = f"; passes: {one.limit}" if one.limit else ""
            ET.SubElement(case, kind, message=evidence(one) + passes)
    ET.indent(suite)
    return ET.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def as_markdown(report: Report) -> str:
    """The report as a table."""
    rows = [
        f"| {one.verdict.value} | {one.gate} | {_cell(one.where)} | {one.n:,} | {_cell(evidence(one))} | {one.limit} |"
        for one in report.results
    ]
    return "\n".join(
        (
            f"# {report.model} version {report.version}: {report.verdict.value}",
            "",
            f"Compared with {report.compared_with} on {report.events:,} labelled events that neither was trained on.",
            "",
            "| verdict | gate | where | n | measured | passes |",
            "|---|---|---|---:|---|---|",
            *rows,
            "",
        )
    )


def evidence(result: Result) -> str:
    """What was measured, with its interval."""
    estimate, low, high = result.interval
    if math.isnan(estimate):
        return result.measured
    if math.isnan(low) or low == high:
        return f"{result.measured} {estimate:.4g}"
    return f"{result.measured} {estimate:.4g} ({low:.4g} to {high:.4g})"


def _cell(text: str) -> str:
    """A text that is not ours, such as the name of a group, in one cell."""
    return " ".join(text.replace("|", "\\|").split())


def _or_null(value: float) -> float | None:
    return value if math.isfinite(value) else None
