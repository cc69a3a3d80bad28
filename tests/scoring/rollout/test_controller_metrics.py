import math

import pytest
from prometheus_client import CollectorRegistry

from scoring.rollout.controller_metrics import DECISIONS, ControllerMetrics
from scoring.rollout.evidence import Interval, Verdict
from scoring.rollout.guardrails import GuardrailReport
from scoring.rollout.measures import Measured
from scoring.rollout.transitions import By, decision_between, paused, promoted, rolled_back
from tests.scoring.rollout.rollout_records import BEGIN_MS, canary, change_to, define_rollout

BY = By("controller", "a test", BEGIN_MS)


class Rig:
    def __init__(self, folder) -> None:
        self.project = define_rollout(folder, "unit", 1)
        self.change = change_to(canary(self.project, 0.25, 1))
        self.registry = CollectorRegistry()
        self.metrics = ControllerMetrics(self.registry, "taps", ["predictions.taps"])

    def of(self, name: str, *labels: str) -> dict:
        """The values of a metric by these labels."""
        return {
            tuple(sample.labels[label] for label in labels): sample.value
            for family in self.registry.collect()
            for sample in family.samples
            if sample.name == f"penstock_rollout_{name}"
        }


@pytest.fixture
def rig(tmp_path) -> Rig:
    return Rig(tmp_path)


def report(guardrail, verdict, low=0.0, high=1.0, **changes):
    measured = Measured("it", Interval(low, high), Interval(0.5, 2.0), verdict)
    fields = {"version": 2, "is_candidate": True, "group": None, "awaited": True, "events": 9, "measured": (measured,)}
    return GuardrailReport(guardrail=guardrail, verdict=verdict, **{**fields, **changes})


def test_every_series_of_a_counter_exists_from_the_start(rig):
    assert rig.of("decisions_total", "decision") == dict.fromkeys(((each,) for each in DECISIONS), 0)
    assert rig.of("unreadable_total", "topic") == {("predictions.taps",): 0}
    assert rig.of("status", "status") == {("none",): 1, ("running",): 0, ("paused",): 0, ("ended",): 0}


def test_a_policys_status_step_and_weights_replace_those_before(rig):
    rig.metrics.set_change(rig.change)
    assert rig.of("weight", "arm") == {("present",): 0.75, ("next",): 0.25}
    rig.metrics.set_change(rolled_back(rig.change, BY, []))
    assert rig.of("weight", "arm") == {("present",): 1}
    assert rig.of("status", "status")["ended",] == 1
    assert rig.of("status", "status")["running",] == 0


def test_a_guardrail_shows_its_interval_and_bounds_and_one_verdict(rig):
    rig.metrics.set_reports([report("errors", Verdict.CONTINUE, 0.25, math.inf)])
    assert rig.of("guardrail_low", "guardrail") == {("errors",): 0.25}
    assert rig.of("guardrail_high", "guardrail") == {("errors",): math.inf}
    assert rig.of("guardrail_bound_low", "guardrail") == {("errors",): 0.5}
    assert rig.of("guardrail_bound_high", "guardrail") == {("errors",): 2.0}
    verdicts = rig.of("guardrail_verdict", "guardrail", "verdict")
    assert {verdict for (_, verdict), value in verdicts.items() if value} == {"continue"}
    assert len(verdicts) == len(Verdict)


def test_of_several_versions_or_groups_the_one_that_is_worst_off_is_shown(rig):
    measured = tuple(
        Measured("it", Interval(low, 9.0), Interval(0.5, 2.0), verdict)
        for low, verdict in ((1.0, Verdict.EQUIVALENT), (3.0, Verdict.WORSE), (0.1, Verdict.CONTINUE))
    )
    rig.metrics.set_reports(
        [
            report("fairness", Verdict.EQUIVALENT, group="shop=1"),
            report("fairness", Verdict.WORSE, group="shop=2", measured=measured),
            report("fairness", Verdict.CONTINUE, group="shop=3"),
        ]
    )
    assert rig.of("guardrail_verdict", "guardrail", "verdict")["fairness", "worse"] == 1
    assert rig.of("guardrail_low", "guardrail") == {("fairness",): 3.0}


def test_a_guardrail_that_is_not_judged_any_more_is_gone(rig):
    rig.metrics.set_reports([report("errors", Verdict.CONTINUE)])
    rig.metrics.set_reports([report("latency", Verdict.CONTINUE)])
    assert rig.of("guardrail_low", "guardrail") == {("latency",): 0.0}


def test_what_the_controller_has_decided_is_told_from_the_changes(rig):
    step = rig.change.model_copy(update={"step": 1})
    decided = [step, paused(rig.change, BY), rolled_back(rig.change, BY, []), promoted(rig.change, BY, "next")]
    assert [decision_between(rig.change, each) for each in decided] == [
        "next_step",
        "paused",
        "rolled_back",
        "promoted",
    ]
