"""A stored report says what was found; one that was edited does not hold."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from scoring.gates.gates import Result, Verdict
from scoring.gates.report import Basis, Report, report_content
from scoring.gates.statistics import Interval
from scoring.gates.stored_reports import differences, faults, read_report, store, stored_reports
from scoring.repository import ModelRepository
from scoring.version_files import content_hash
from tests.scoring.gates.test_report import REPORT

BASIS = Basis("identity", "other", "limits", "backfill", "holdout", 0.5, 0, "1")
JUDGED = replace(REPORT, basis=BASIS)


@pytest.fixture
def stored(tmp_path):
    repository = ModelRepository(tmp_path)
    own = store(repository, JUDGED, made_ms=5)
    (content,) = stored_reports(repository, "fraud", 3).values()
    assert content["hash"] == own
    return json.loads(json.dumps(content))


def resealed(content):
    return {**content, "hash": content_hash({name: value for name, value in content.items() if name != "hash"})}


def test_a_report_is_read_as_it_was_stored(stored):
    assert faults(stored, "identity") == []
    assert report_content(read_report(stored)) == report_content(JUDGED)
    assert read_report(stored).basis == BASIS


def test_an_edited_verdict_is_found_by_the_hash(stored):
    stored["report"]["verdict"] = "pass"
    assert faults(stored, "identity")[0] == "its hash is not that of its content"


def test_a_verdict_that_the_gates_do_not_give_is_found_although_the_hash_fits(stored):
    stored["report"]["verdict"] = "pass"
    assert faults(resealed(stored), "identity") == ["it says pass, its gates say fail"]


def test_a_report_of_other_bytes_is_found(stored):
    assert faults(stored, "another") == ["it is of other bytes than the version has"]


@pytest.mark.parametrize("broken", [{}, {"report": {}}, {"report": {"verdict": "pass", "gates": [{}]}}])
def test_what_is_no_report_is_found(broken):
    assert "it is no report" in faults(resealed(broken), "identity")[-1]


def test_a_gate_whose_verdict_or_numbers_were_edited_is_found_by_a_second_run(stored):
    first = stored["report"]["gates"][0]
    first["verdict"] = "pass"
    assert differences(read_report(stored), JUDGED) == [
        "quality, slice 2 of 5: brier loss, difference is a pass there, and a fail now"
    ]
    first.update(verdict="fail", estimate=0.0)
    assert len(differences(read_report(stored), JUDGED)) == 1


def test_a_gate_that_was_taken_out_is_found_by_a_second_run(stored):
    del stored["report"]["gates"][0]
    assert "is in one of both only" in differences(read_report(stored), JUDGED)[0]


def test_rounding_and_what_is_measured_anew_are_no_difference():
    def report(estimate: float, latency: Verdict) -> Report:
        quality = Result("quality", "all", Verdict.PASS, 1, "loss", Interval(estimate, float("nan"), 1.0), "")
        calls = Result("latency", "1 row", latency, 1, "p99", Interval(1.0, 0.9, 1.1), "")
        return replace(REPORT, results=(quality, calls))

    assert differences(report(0.5, Verdict.PASS), report(0.5 + 1e-9, Verdict.FAIL)) == []
