"""What gates found, for programs (JSON), CI (JUnit) and people (Markdown)."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from xml.etree import ElementTree as ET

from scoring.gates.gates import Result, Verdict, overall


class Bin(NamedTuple):
    """Equally many events by score: their mean score, the share of positive ones, and how many they are."""

    score: float
    positive: float
    events: int


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
    """

    model: str
    version: int
    against: int | None
    events: int
    results: Sequence[Result]
    bins: Sequence[Bin] = ()

    @property
    def verdict(self) -> Verdict:
        """The worst of the gates' verdicts."""
        return overall(self.results)


def as_json(report: Report) -> str:
    """The report as a JSON object; numbers that are not known are null."""
    return json.dumps(
        {
            "model": report.model,
            "version": report.version,
            "against": report.against,
            "events": report.events,
            "verdict": report.verdict.value,
            "gates": [
                {
                    "gate": one.gate,
                    "where": one.where,
                    "verdict": one.verdict.value,
                    "n": one.n,
                    "measured": one.measured,
                    **{name: _or_null(value) for name, value in one.interval._asdict().items()},
                    "limit": one.limit,
                }
                for one in report.results
            ],
            "calibration": [one._asdict() for one in report.bins],
        },
        indent=2,
    )


def as_junit(report: Report) -> str:
    """The report as JUnit's XML: a test for each result; an inconclusive one is skipped."""
    suite = ET.Element(
        "testsuite",
        name=f"{report.model}@{report.version}",
        tests=str(len(report.results)),
        failures=str(sum(one.verdict is Verdict.FAIL for one in report.results)),
        skipped=str(sum(one.verdict in (Verdict.INCONCLUSIVE, Verdict.NOT_JUDGED) for one in report.results)),
    )
    for one in report.results:
        case = ET.SubElement(suite, "testcase", classname=one.gate, name=f"{one.where}: {one.measured}")
        if one.verdict is not Verdict.PASS:
            kind = "failure" if one.verdict is Verdict.FAIL else "skipped"
            ET.SubElement(case, kind, message=f"{evidence(one)}; passes: {one.limit}")
    ET.indent(suite)
    return ET.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def as_markdown(report: Report) -> str:
    """The report as a table."""
    against = "nothing" if report.against is None else f"version {report.against}"
    rows = [
        f"| {one.verdict.value} | {one.gate} | {one.where} | {one.n:,} | {evidence(one)} | {one.limit} |"
        for one in report.results
    ]
    return "\n".join(
        (
            f"# {report.model} version {report.version}: {report.verdict.value}",
            "",
            f"Compared with {against} on {report.events:,} labelled events that neither was trained on.",
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


def _or_null(value: float) -> float | None:
    return value if math.isfinite(value) else None
