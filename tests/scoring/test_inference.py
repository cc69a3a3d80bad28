import math

import numpy as np
import pytest

from penstock.errors import PenstockError
from scoring.inference import Inference
from scoring.model_metadata import ModelMetadata
from tests.scoring.fake_server import FakeServer

MODEL = ModelMetadata("taps", 3, ("event.amount",), {}, 4096)


class InferenceRig:
    """Inference on a primary that adds 0.5 and a fallback that adds 0.25, with a clock that is set by hand."""

    def __init__(self, *, primary_infers=True, fallback_infers=True):
        self.now = 100.0
        self.primary = FakeServer("Triton", added=0.5, infers=primary_infers)
        self.fallback = FakeServer("the copy", added=0.25, infers=fallback_infers, refused_value=13)
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
    assert rig.infer(0, 1) == [(0.25, "fallback"), (1.25, "fallback")]
    assert rig.reasons == ["StatusCode.UNAVAILABLE"]
    assert rig.fallback.calls == [("taps", 3, 2, None)]


def test_after_a_failure_the_primary_gets_no_request_for_one_second():
    rig = InferenceRig(primary_infers=False)
    for _ in range(3):
        rig.infer(0)
        rig.now += 0.3
    assert len(rig.primary.calls) == 1


def test_after_the_cool_down_the_primary_gets_requests_again():
    rig = InferenceRig(primary_infers=False)
    rig.infer(0)
    rig.primary.infers = True
    rig.now += 1.0
    assert rig.infer(0) == [(0.5, "primary")]


def test_an_outage_is_logged_once_with_both_servers_and_so_is_its_end(caplog):
    caplog.set_level("INFO")
    rig = InferenceRig(primary_infers=False)
    for _ in range(3):
        rig.infer(0)
        rig.now += 1.0
    rig.primary.infers = True
    rig.infer(0)
    assert caplog.messages == [
        "Triton fails; scoring with the copy and the same model: StatusCode.UNAVAILABLE",
        "Triton answers again",
    ]


def test_only_the_row_on_which_the_model_fails_has_no_result():
    rig = InferenceRig(primary_infers=False)
    assert rig.infer(1, 13, 2) == [(1.25, "fallback"), None, (2.25, "fallback")]


def test_a_model_that_fails_on_every_input_is_an_error_and_not_the_fault_of_a_row():
    rig = InferenceRig(primary_infers=False, fallback_infers=False)
    with pytest.raises(PenstockError, match="fails on any input"):
        rig.infer(1, 2)


@pytest.mark.parametrize("nothing", [math.nan, math.inf, -math.inf])
def test_rows_for_which_the_primary_has_no_number_are_scored_by_the_fallback(nothing):
    rig = InferenceRig()
    rig.primary.numberless, rig.primary.nothing = (7,), nothing
    assert rig.infer(0, 7, 1) == [
        (0.5, "primary"),
        (7.25, "fallback"),
        (1.5, "primary"),
    ]
    assert rig.fallback.calls == [("taps", 3, 1, None)]


def test_a_primary_that_has_no_number_where_the_fallback_has_one_has_failed_and_gets_no_request_for_one_second():
    rig = InferenceRig()
    rig.primary.numberless = (7, 8)
    rig.infer(0, 7, 8)
    assert rig.reasons == ["it returned no finite number for 2 of 3 rows that have one"]
    assert rig.infer(0) == [(0.25, "fallback")]
    rig.now += 1.0
    assert rig.infer(0) == [(0.5, "primary")]


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
        rig.now += 1.0
    rig.infer(0)
    assert caplog.messages == [
        "Triton fails; scoring with the copy and the same model: "
        "it returned no finite number for 1 of 1 rows that have one",
        "Triton answers again",
    ]
    assert len(rig.reasons) == 3
