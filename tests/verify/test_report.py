"""A run holds only if nothing that must be zero is not, and every count fits the next."""

from __future__ import annotations

from typing import Any

import pytest

from verify.report import ModelReport, PipelineReport, Report, percentiles

HELD: dict[str, Any] = {
    "events_valid": 100,
    "events_updating": 7,
    "events_invalid": 3,
    "events_duplicate": 2,
    "events_ignored": 4,
    "dead_letters": 3,
    "dead_letter_mismatches": 0,
    "features_emitted": 110,
    "epochs": 1,
    "features_total": 900,
    "features_checked": 900,
    "features_unverifiable": 0,
    "feature_mismatches": 0,
    "feature_gaps": 0,
    "predictions": 100,
    "prediction_duplicates": 0,
    "prediction_gaps": 0,
    "prediction_mismatches": 0,
    "rollout_mismatches": 0,
    "fallback_predictions": 5,
    "redis_checked": 40,
    "redis_mismatches": 0,
    "cassandra_rows": 300,
    "cassandra_rows_compared": 300,
    "cassandra_mismatches": 0,
    "backfill_rows": 50,
    "backfill_checked": 450,
    "backfill_order_differences": 4,
    "backfill_mismatches": 0,
    "drift_from_ms": None,
    "drift_alerts": 3,
    "drift_incidents": 0,
    "false_incidents_before_drift": 0,
    "drift_alerts_missing": 0,
    "drift_alerts_extra": 0,
    "drift_alert_duplicates": 0,
    "drift_unfollowed": 0,
    "drift_mismatches": 0,
    "latency_ms": None,
    "events_per_s": None,
    "model": None,
    "examples": [],
}


def test_emissions_after_a_failure_and_fallbacks_are_no_failure() -> None:
    report = PipelineReport(**HELD)
    assert (report.failures(), report.unchecked(), report.verdict) == ([], [], "passed")


_ZEROS = ("mismatches", "gaps", "duplicates", "missing", "extra", "unfollowed")


@pytest.mark.parametrize("name", [name for name in HELD if name.endswith(_ZEROS)])
def test_whatever_must_be_zero_fails_the_run(name: str) -> None:
    (failure,) = PipelineReport(**HELD | {name: 1}).failures()
    assert failure.startswith("1 ")


@pytest.mark.parametrize("name", ["predictions", "dead_letters"])
def test_a_count_that_does_not_fit_the_events_fails_the_run(name: str) -> None:
    assert len(PipelineReport(**HELD | {name: 99}).failures()) == 1


def test_more_epochs_than_announced_fail_the_run() -> None:
    (failure,) = PipelineReport(**HELD | {"epochs": 3, "epochs_announced": 2}).failures()
    assert failure.startswith("a view began with empty windows 3 times, 2 announced")
    assert PipelineReport(**HELD | {"epochs": 2, "epochs_announced": 2}).verdict == "passed"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"features_checked": 0}, "only 0 of 900 feature values were compared"),
        ({"features_unverifiable": 610}, "610 vectors cannot be verified"),
        ({"not_checked": ["the drift app never ran"]}, "the drift app never ran"),
    ],
)
def test_a_run_that_was_not_fully_checked_does_not_hold_and_says_so(changes: dict[str, Any], text: str) -> None:
    one = PipelineReport(**HELD | changes)
    assert (one.failures(), one.verdict) == ([], "incomplete")
    assert one.unchecked()[0].startswith(text)
    report = Report(pipelines={"p": one, "q": PipelineReport(**HELD)}, versions={})
    assert not report.held
    assert '"verdict":"incomplete"' in report.model_dump_json()


def test_a_model_that_windows_do_not_help_fails_the_run() -> None:
    model = ModelReport(name="m", version="1", auc=0.8, auc_without_windows=0.8, evaluated=10)
    (failure,) = PipelineReport(**HELD | {"model": model}).failures()
    assert "is not better than" in failure


def test_an_injected_drift_that_nothing_noticed_fails_the_run() -> None:
    (failure,) = PipelineReport(**HELD | {"drift_from_ms": 5, "false_incidents_before_drift": 3}).failures()
    assert "no alert" in failure


def test_percentiles_of_nothing_are_nothing() -> None:
    assert percentiles([]) is None
    found = percentiles([float(n) for n in range(101)])
    assert found is not None
    assert (found.p50, found.p95, found.p99) == (50.0, 95.0, 99.0)
