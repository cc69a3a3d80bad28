"""What the gates found, for programs, CI and people."""

from __future__ import annotations

import json
from xml.etree import ElementTree as ET

from scoring.gates.gates import Result, Verdict
from scoring.gates.report import Report, as_json, as_junit, as_markdown
from scoring.gates.statistics import Interval

NAN = float("nan")
REPORT = Report(
    "fraud",
    3,
    2,
    1_234,
    (
        Result(
            "quality",
            "slice 2 of 5",
            Verdict.FAIL,
            250,
            "brier loss, difference",
            Interval(0.02, 0.01, 0.03),
            "at most 0.001",
        ),
        Result(
            "fairness",
            "event.country=<x>",
            Verdict.INCONCLUSIVE,
            7,
            "too few positive events",
            Interval(NAN, NAN, NAN),
            "100",
        ),
        Result("freshness", "training", Verdict.PASS, 1, "days old", Interval(3.0, 3.0, 3.0), "at most 30 days"),
    ),
)


def test_json_has_each_gate_with_its_interval_and_null_for_what_is_not_known() -> None:
    found = json.loads(as_json(REPORT))
    assert (found["model"], found["version"], found["against"], found["events"]) == ("fraud", 3, 2, 1_234)
    assert found["verdict"] == "fail"
    first, second, _ = found["gates"]
    assert (first["estimate"], first["low"], first["high"], first["limit"]) == (0.02, 0.01, 0.03, "at most 0.001")
    assert (second["verdict"], second["estimate"]) == ("inconclusive", None)


def test_junit_has_a_test_for_each_result_a_failure_and_a_skipped_one() -> None:
    suite = ET.fromstring(as_junit(REPORT))
    assert (suite.get("name"), suite.get("tests"), suite.get("failures"), suite.get("skipped")) == (
        "fraud@3",
        "3",
        "1",
        "1",
    )
    failure, skipped, passed = (list(case) for case in suite)
    assert failure[0].get("message") == "brier loss, difference 0.02 (0.01 to 0.03); passes: at most 0.001"
    assert (skipped[0].tag, passed) == ("skipped", [])


def test_markdown_is_one_table() -> None:
    lines = as_markdown(REPORT).splitlines()
    assert lines[0] == "# fraud version 3: fail"
    assert (
        "| fail | quality | slice 2 of 5 | 250 | brier loss, difference 0.02 (0.01 to 0.03) | at most 0.001 |" in lines
    )
    assert "| pass | freshness | training | 1 | days old 3 | at most 30 days |" in lines
