"""What the gates found, for programs, CI and people."""

from __future__ import annotations

import json
from dataclasses import replace
from xml.etree import ElementTree as ET

from scoring.gates.gates import Limits, Result, Verdict, overall, without_skipped
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
        Result("freshness", "training", Verdict.PASS, 1, "age in days", Interval(3.0, 3.0, 3.0), "at most 30 days"),
        *without_skipped((), Limits(skip=("latency",))),
    ),
    why_against="config.pbtxt names it",
)


def test_json_has_each_gate_with_its_interval_and_null_for_what_is_not_known() -> None:
    found = json.loads(as_json(REPORT))
    assert (found["model"], found["version"], found["against"], found["events"]) == ("fraud", 3, 2, 1_234)
    assert found["verdict"] == "fail"
    assert found["why_against"] == "config.pbtxt names it"
    first, second, _, skipped = found["gates"]
    assert (skipped["gate"], skipped["verdict"]) == ("latency", "skipped")
    assert (first["estimate"], first["low"], first["high"], first["limit"]) == (0.02, 0.01, 0.03, "at most 0.001")
    assert (second["verdict"], second["estimate"]) == ("inconclusive", None)


def test_junit_has_a_test_for_each_result_a_failure_and_a_skipped_one() -> None:
    suite = ET.fromstring(as_junit(REPORT))
    assert (suite.get("name"), suite.get("tests"), suite.get("failures"), suite.get("skipped")) == (
        "fraud@3",
        "4",
        "1",
        "2",
    )
    failure, skipped, passed, left_out = (list(case) for case in suite.iter("testcase"))
    assert (left_out[0].tag, left_out[0].get("message")) == ("skipped", "left out by the file of gates")
    assert [one.get("value") for one in suite.iter("property")] == ["version 2 (config.pbtxt names it)"]
    assert failure[0].get("message") == "brier loss, difference 0.02 (0.01 to 0.03); passes: at most 0.001"
    assert (skipped[0].tag, passed) == ("skipped", [])


def test_markdown_is_one_table() -> None:
    lines = as_markdown(REPORT).splitlines()
    assert lines[0] == "# fraud version 3: fail"
    assert (
        "| fail | quality | slice 2 of 5 | 250 | brier loss, difference 0.02 (0.01 to 0.03) | at most 0.001 |" in lines
    )
    assert "| pass | freshness | training | 1 | age in days 3 | at most 30 days |" in lines
    assert "| skipped | latency |  | 0 | left out by the file of gates |  |" in lines
    assert "Compared with version 2 (config.pbtxt names it) on 1,234 labelled events" in "".join(lines)


def test_a_gate_that_is_left_out_gives_no_verdict() -> None:
    failed, unsure, passed, skipped = REPORT.results
    assert without_skipped(REPORT.results[:3], Limits(skip=("quality", "quality"))) == [
        unsure,
        passed,
        *without_skipped((), Limits(skip=("quality",))),
    ]
    assert (overall((passed, skipped)), overall((failed, skipped))) == (Verdict.PASS, Verdict.FAIL)
    assert overall((skipped,)) is Verdict.INCONCLUSIVE


def test_no_text_breaks_the_table() -> None:
    group = replace(REPORT.results[1], where="event.country=a|b\nc")
    line = as_markdown(replace(REPORT, results=(group,))).splitlines()[-1]
    assert line.startswith("| inconclusive | fairness | event.country=a\\|b c | 7 |")
