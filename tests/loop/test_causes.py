"""Each cause is named in a world that has it; the rules alone, by a table."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from loop.causes import ACTIONS, Evidence, diagnose, evidence_of
from loop.label_changes import LabelChange
from loop.performance import Estimate
from loop.sample import Sample
from loop.shifts import Shift
from tests.loop.worlds import ROOTS, injected, unit, values_world, verdict_of, world

WORLDS = {name: (cause, before, now) for name, cause, before, now in injected(0)}


@pytest.mark.parametrize("name", WORLDS)
def test_the_cause_of_a_world_is_named(name):
    cause, before, now = WORLDS[name]
    assert verdict_of(before, now).cause == cause


@pytest.mark.parametrize(
    ("name", "column", "why"),
    [
        ("cents", "amount", "values are 100 times as large"),
        ("thousands, late in the period", "amount", "1/1,000 of what they were"),
        ("nulls", "terminal", "of the values are null, 0% before"),
        ("default", "age_days", "of the values are 0.0, 0% before"),
    ],
)
def test_an_upstream_fault_names_the_raw_column_and_what_is_wrong(name, column, why):
    _, before, now = WORLDS[name]
    verdict = verdict_of(before, now)
    assert verdict.column == column
    assert why in verdict.why[0]


VALUES = values_world(1, 12_000)


@pytest.mark.parametrize(
    ("now", "cause"),
    [
        (values_world(2, 4_000), "none"),
        (values_world(3, 4_000, slope=0.2), "concept-drift"),
        (values_world(4, 4_000, added=20.0), "concept-drift"),
        (values_world(5, 4_000, moved=0.8), "covariate-shift"),
        (replace(VALUES, delays=VALUES.delays * 3), "label-fault"),
        (replace(VALUES, columns=VALUES.columns | {"event.distance": VALUES.columns["event.distance"] * 1_000}),
         "upstream-fault"),
    ],
)  # fmt: skip
def test_the_cause_is_named_of_a_regression(now, cause):
    verdict = verdict_of(VALUES, now)
    assert verdict.cause == cause
    assert cause != "concept-drift" or "labels show a skill (1 minus error over spread) of only" in verdict.why[-1]


def test_a_fault_is_found_from_the_first_event_that_has_it():
    _, before, _ = WORLDS["calm"]
    broken = unit(np.random.default_rng(0), world(7, 4_000), 100.0, share=0.25)
    evidence = evidence_with_fault(before, broken)
    assert evidence.first is not None
    assert 3_000 <= evidence.first < 3_100


def evidence_with_fault(before: Sample, now: Sample) -> Shift:
    return next(shift for shift in evidence_of(before, now).shifts if shift.fault is not None)


def test_the_shares_of_inputs_add_up_and_the_faulty_column_leads():
    _, before, now = WORLDS["nulls"]
    shares = verdict_of(before, now).shares
    assert shares is not None
    assert sum(shares.values()) == pytest.approx(1)
    assert max(shares, key=lambda name: shares[name]) == "by_terminal.share_1d"


def test_without_labels_a_shift_that_costs_nothing_is_unclear_and_no_reason_to_train():
    _, before, now = WORLDS["concept"]
    blind = replace(now, mature=np.zeros(len(now), bool))
    assert verdict_of(before, blind).action in ("wait", "nothing")


HIGH, LOW = Estimate(0.9, 0.005), Estimate(0.7, 0.005)
CALM = Evidence((), False, None, HIGH, HIGH, HIGH, HIGH, Estimate(0.0, 0.05))
SHIFT, FAULT = Shift("event.amount", 0.3, 0.05), Shift("event.amount", 0.9, 0.05, "unit", "x100", first=0)
SUM, COUNT = Shift("by_card.amount_sum_1h", 0.5, 0.05), Shift("by_card.count_1h", 0.5, 0.05)
SHARE = Shift("by_terminal.share_1d", 0.5, 0.05)


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({}, "none"),
        ({"shifts": (FAULT, SUM)}, "upstream-fault"),
        ({"shifts": (FAULT, SUM), "realised": LOW, "expected": LOW}, "upstream-fault"),
        ({"shifts": (FAULT, COUNT)}, "upstream-fault"),  # most of the shift, while traffic grows
        ({"shifts": (FAULT, COUNT, SHARE)}, "none"),  # the fault of one column does not explain the others
        ({"labels": LabelChange("late"), "realised": LOW}, "label-fault"),
        ({"shifts": (SHIFT,), "expected": LOW, "realised": LOW}, "covariate-shift"),
        ({"shifts": (SHIFT,), "expected": LOW, "realised": None}, "covariate-shift"),
        ({"shifts": (SHIFT,), "expected": LOW}, "none"),  # labels show that it costs nothing
        ({"realised": LOW}, "concept-drift"),
        ({"shifts": (SHIFT,), "realised": LOW}, "concept-drift"),
        ({"bias": Estimate(0.6, 0.05), "scores_shifted": True}, "calibration"),
        ({"bias": Estimate(0.6, 0.5)}, "none"),  # not sure
        ({"shifts": (SHIFT,), "realised": None}, "unclear"),
    ],
)
def test_the_rules(changes, cause):
    assert diagnose(replace(CALM, **changes), ROOTS).cause == cause


def test_neither_fault_leads_to_a_training():
    assert {ACTIONS["upstream-fault"], ACTIONS["label-fault"]} == {"mend-source", "mend-labels"}
