import math

import numpy as np
import pytest

from penstock.errors import PenstockError
from scoring.breaker import FIRST_S, LATE_IN_A_ROW, LEAST, LONGEST_S
from scoring.inference import Inference
from scoring.model_metadata import ModelMetadata
from tests.scoring.fake_server import FakeServer

MODEL = ModelMetadata("taps", 3, ("event.amount",), {}, 4096)


class InferenceRig:
    """Inference on a primary and a fallback that both add 0.5, with a clock that is set by hand."""

    def __init__(self, *, primary_infers=True, fallback_infers=True):
        self.now = 100.0
        self.primary = FakeServer("Triton", added=0.5, infers=primary_infers)
        self.fallback = FakeServer("the copy", added=0.5, infers=fallback_infers, refused_value=13)
        self.reasons = []
        self.inference = Inference(
            self.primary,
            self.fallback,
            MODEL,
            deadline_s=0.2,
            clock=lambda: self.now,
            on_fallback=self.reasons.append,
        )

    def infer(self, *values):
        """Score and route of each; None where the model fails."""
        scores = self.inference.infer(np.array([[value] for value in values], dtype=np.float32))
        rows = zip(scores.values.tolist(), scores.routes(), scores.failed.tolist(), strict=True)
        return [None if failed else (score, route) for score, route, failed in rows]


def test_a_batch_is_one_call_to_the_pinned_version_with_the_deadline():
    rig = InferenceRig()
    assert rig.infer(0, 1) == [(0.5, "primary"), (1.5, "primary")]
    assert rig.primary.calls == [("taps", 3, 2, 0.2)]


def test_when_the_primary_fails_the_same_version_on_the_fallback_scores_without_a_deadline():
    rig = InferenceRig(primary_infers=False)
    assert rig.infer(0, 1) == [(0.5, "fallback"), (1.5, "fallback")]
    assert rig.reasons == ["StatusCode.UNAVAILABLE"]
    assert rig.fallback.calls == [("taps", 3, 2, None)]


def failing_rig():
    """One whose primary has failed so often that it gets no requests."""
    rig = InferenceRig(primary_infers=False)
    for _ in range(LEAST):
        rig.infer(0)
    return rig


def test_after_several_failures_the_primary_gets_no_request_for_one_second():
    rig = failing_rig()
    rig.now += FIRST_S - 0.1
    assert rig.infer(0) == [(0.5, "fallback")]
    assert len(rig.primary.calls) == LEAST


def test_three_batches_that_are_late_in_a_row_are_enough():
    rig = InferenceRig(primary_infers=False)
    rig.primary.late = True
    for _ in range(LATE_IN_A_ROW + 2):
        rig.infer(0)
    assert len(rig.primary.calls) == LATE_IN_A_ROW


def test_then_one_batch_is_scored_by_both_and_if_they_agree_the_primary_gets_requests_again():
    rig = failing_rig()
    rig.primary.infers = True
    rig.now += FIRST_S
    asked = len(rig.fallback.calls)
    assert rig.infer(0) == [(0.5, "primary")]
    assert len(rig.fallback.calls) == asked + 1
    assert rig.infer(1) == [(1.5, "primary")]
    assert len(rig.fallback.calls) == asked + 1


@pytest.mark.parametrize("value", [1e6, -1e6])
@pytest.mark.parametrize(("added", "route"), [(0.75, "primary"), (500.0, "fallback")])
def test_large_values_of_a_regression_agree_if_they_are_equal_but_for_rounding(value, added, route):
    rig = failing_rig()
    rig.primary.infers, rig.primary.added = True, added
    rig.now += FIRST_S
    ((_, found),) = rig.infer(value)
    assert found == route


def test_a_primary_that_gives_other_scores_than_the_same_model_here_stays_out_for_twice_as_long():
    rig = failing_rig()
    rig.primary.infers, rig.primary.added = True, 0.25
    rig.now += FIRST_S
    assert rig.infer(0, 1) == [(0.5, "fallback"), (1.5, "fallback")]
    assert rig.reasons[-1] == "2 of 2 scores are not those of the same model here"
    calls = len(rig.primary.calls)
    rig.now += 2 * FIRST_S - 0.1
    rig.infer(0)
    assert len(rig.primary.calls) == calls


def test_an_outage_is_logged_once_with_both_servers_and_so_is_its_end(caplog):
    caplog.set_level("INFO")
    rig = InferenceRig(primary_infers=False)
    for _ in range(LEAST + 1):
        rig.infer(0)
        rig.now += LONGEST_S
    rig.primary.infers = True
    rig.infer(0)
    assert caplog.messages == [
        "Triton fails; scoring with the copy and the same model: StatusCode.UNAVAILABLE",
        "Triton answers again",
    ]


def test_only_the_row_on_which_the_model_fails_has_no_result():
    rig = InferenceRig(primary_infers=False)
    assert rig.infer(1, 13, 2) == [(1.5, "fallback"), None, (2.5, "fallback")]


@pytest.mark.parametrize("failing", [(0,), (99,), (3, 4), (1, 50, 98)])
def test_the_rows_on_which_the_model_fails_are_found_in_few_calls(failing):
    rig = InferenceRig(primary_infers=False)
    values = [13.0 if row in failing else float(row % 13) for row in range(100)]
    results = rig.infer(*values)
    assert tuple(row for row, result in enumerate(results) if result is None) == failing
    assert results[2] == (2.5, "fallback")
    assert len(rig.fallback.calls) <= 2 + 2 * 7 * len(failing)


def test_a_model_that_fails_on_every_input_is_an_error_and_not_the_fault_of_a_row():
    rig = InferenceRig(primary_infers=False, fallback_infers=False)
    with pytest.raises(PenstockError, match="fails on any input"):
        rig.infer(1, 2)


def test_no_rows_are_looked_for_in_vain_and_nothing_is_logged_of_them(caplog):
    rig = InferenceRig(primary_infers=False, fallback_infers=False)
    for _ in range(3):
        with pytest.raises(PenstockError):
            rig.infer(1, 2)
    assert caplog.messages == ["Triton fails; scoring with the copy and the same model: StatusCode.UNAVAILABLE"]


@pytest.mark.parametrize("nothing", [math.nan, math.inf, -math.inf])
def test_rows_for_which_the_primary_has_no_number_are_scored_by_the_fallback(nothing):
    rig = InferenceRig()
    rig.primary.numberless, rig.primary.nothing = (7,), nothing
    assert rig.infer(0, 7, 1) == [
        (0.5, "primary"),
        (7.5, "fallback"),
        (1.5, "primary"),
    ]
    assert rig.fallback.calls == [("taps", 3, 1, None)]


def test_a_primary_that_has_no_number_where_the_fallback_has_one_has_failed():
    rig = InferenceRig()
    rig.primary.numberless = (7, 8)
    for _ in range(LEAST):
        rig.infer(0, 7, 8)
    assert set(rig.reasons) == {"it returned no finite number for 2 of 3 rows that have one"}
    assert rig.infer(0) == [(0.5, "fallback")]


def test_a_row_for_which_the_model_itself_has_no_number_is_no_failure_of_the_primary(caplog):
    rig = InferenceRig()
    rig.primary.numberless = rig.fallback.numberless = (7,)
    results = rig.infer(0, 7)
    assert results[0] == (0.5, "primary")
    assert math.isnan(results[1][0])
    assert rig.reasons == []
    assert caplog.messages == []
    assert rig.infer(0) == [(0.5, "primary")]


def test_a_row_for_which_the_primary_has_no_number_and_on_which_the_fallback_fails_has_no_result():
    rig = InferenceRig()
    rig.primary.numberless = (13,)
    assert rig.infer(1, 13) == [(1.5, "primary"), None]
    assert rig.reasons == []


def test_a_primary_without_numbers_is_logged_once_and_answers_again_only_with_numbers(caplog):
    caplog.set_level("INFO")
    rig = InferenceRig()
    rig.primary.numberless = (7,)
    for _ in range(3):
        rig.infer(7)
    rig.infer(0)
    assert caplog.messages == [
        "Triton fails; scoring with the copy and the same model: "
        "it returned no finite number for 1 of 1 rows that have one",
        "Triton answers again",
    ]
    assert len(rig.reasons) == 3
