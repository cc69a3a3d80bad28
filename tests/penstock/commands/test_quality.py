"""``penstock quality show``, on histograms as the process has saved them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

from penstock.cli import cli
from penstock.commands import quality
from penstock.errors import PenstockError
from penstock.time import iso
from tests.scoring.quality.quality_records import define_quality, time_of
from tests.verify.test_check_quality import record_run


@pytest.fixture
def show(tmp_path, monkeypatch):
    """Runs the command on the run that the verifier's tests judge."""
    project, run = record_run(tmp_path)
    monkeypatch.setattr(quality, "read_topic", lambda _kafka, _topic, **_: iter(run.quality))

    def call(*options: str):
        return CliRunner().invoke(cli, ["quality", "show", project.reference, *options], catch_exceptions=False)

    return call


def test_every_version_and_arm_has_a_row_with_counts_intervals_and_what_is_expected(show) -> None:
    found = json.loads(show("--json").output)
    assert [row["of"] for row in found["rows"]] == [
        {"version": "1", "arm": "present"},
        {"version": "2", "arm": "shadow"},
    ]
    live = found["rows"][0]
    assert live["counts"]["scored"] == 400
    assert live["counts"]["hidden"] == live["counts"]["unknown"] > 0
    auc = live["measures"]["auc"]
    assert auc["low"] < auc["estimate"] < auc["high"]
    assert live["expected"]["auc"]["estimate"] > 0.5
    assert live["auc_resolution"] < 0.05
    assert found["intervals"]["methods"].keys() == live["measures"].keys()


def test_parts_add_up_to_the_whole(show) -> None:
    whole = json.loads(show("--json", "--by", "version").output)["rows"][0]["counts"]
    for by in ("policy", "route", "hour", "day"):
        rows = json.loads(show("--json", "--by", "version", "--by", by).output)["rows"]
        of_first = [row["counts"] for row in rows if row["of"]["version"] == "1"]
        assert {name: sum(counts[name] for counts in of_first) for name in whole} == whole, by
    groups = json.loads(show("--json", "--by", "version", "--by", "group").output)["rows"]
    assert sum(row["counts"]["scored"] for row in groups if row["of"]["version"] == "1") == 400
    assert {row["of"]["group"] for row in groups} == {f"event.shop={shop}" for shop in range(3)}


def test_a_range_takes_whole_hours(show) -> None:
    hour = time_of(0) // 3_600_000 * 3_600_000 + 3_600_000
    found = json.loads(show("--json", "--by", "hour", "--from", str(hour), "--to", str(hour + 1)).output)
    assert [row["of"]["hour"] for row in found["rows"]] == [iso(hour)]


def test_costs_are_those_that_were_given(show) -> None:
    def cost(*options: str) -> float:
        row = json.loads(show("--json", *options).output)["rows"][0]
        return float(row["measures"]["cost"]["estimate"])

    free = cost("--false-positive-cost", "0", "--false-negative-cost", "0")
    assert (free, cost("--false-negative-cost", "40") > cost() > free) == (0, True)


def test_for_people_it_is_a_table_with_fairness_below(show) -> None:
    text = show().output
    assert "labels are final 1h after an event" in text
    assert "expected" in text
    assert "event.shop: decision_rate of" in text
    assert "present" in text


def test_it_says_how_labels_agree_with_scores(show) -> None:
    assert json.loads(show("--json").output)["label_watch"] == {"1": {"labels": 191, "alarms": 1, "part": 0.0}}
    assert "labels and scores of version 1: 1 alarm after 191 labels, and 0.00% of what makes the next" in show().output


def test_where_nothing_is_to_be_shown_it_says_why(show, monkeypatch) -> None:
    assert "no predictions in that time" in show("--to", "2020-01-01").output
    # As if the groups that are declared were no inputs.
    facts_of, read = quality.QualityFacts.of, quality.read_topic
    monkeypatch.setattr(quality.QualityFacts, "of", lambda pipeline: replace(facts_of(pipeline), groups=()))
    monkeypatch.setattr(quality, "require_counted", lambda kept, *_: kept.note)
    monkeypatch.setattr(
        quality, "read_topic", lambda *of, **_: (one for one in read(*of) if b"event.shop" not in (one.key or b""))
    )
    assert "no column of Model(groups=...) of model taps_verified is among its inputs" in show("--by", "group").output


def test_without_a_count_it_says_what_to_start(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(quality, "read_topic", lambda _kafka, _topic, **_: iter(()))
    with pytest.raises(PenstockError, match="never counted"):
        CliRunner().invoke(
            cli,
            ["quality", "show", define_quality(tmp_path, "unseen").reference],
            catch_exceptions=False,
        )
