"""In shadow a version has no fallback: where its server gives nothing, it has no scores, and nobody waits for it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from penstock.errors import PenstockError
from scoring.breaker import FIRST_S, LATE_IN_A_ROW, LEAST
from scoring.model_metadata import ModelMetadata
from scoring.unbacked_inference import NoScoresInTime, UnbackedInference
from tests.scoring.fake_server import FakeServer

DEADLINE_S = 0.2


class Rig:
    """A version on a server that adds 0.5, with a clock that is set by hand."""

    def __init__(self, server: FakeServer | None = None, kept: tuple[str, ...] = ()) -> None:
        self.now = 100.0
        self.server = server or FakeServer("Triton", added=0.5)
        model = ModelMetadata("taps", 3, ("event.amount",), {}, 4096, kept=kept)
        self.inference = UnbackedInference(self.server, model, deadline_s=DEADLINE_S, clock=lambda: self.now)

    def infer(self, *values: float) -> list[float]:
        scores = self.inference.infer(np.array([[value] for value in values], np.float32))
        assert set(scores.routes()) == {"primary"}
        return scores.values.tolist()

    def fail(self, times: int = 1) -> None:
        for _ in range(times):
            with pytest.raises(NoScoresInTime):
                self.infer(0)


def test_a_batch_is_one_call_to_the_version_with_the_deadline() -> None:
    rig = Rig()
    assert rig.infer(0, 1) == [0.5, 1.5]
    assert rig.server.calls == [("taps", 3, 2, DEADLINE_S)]


def test_a_server_that_fails_is_asked_once_and_gives_no_scores_for_the_batch() -> None:
    rig = Rig(FakeServer("Triton", infers=False))
    with pytest.raises(PenstockError, match=r"StatusCode\.UNAVAILABLE"):
        rig.infer(0, 1)
    assert len(rig.server.calls) == 1


def test_one_row_on_which_the_version_fails_takes_the_scores_of_its_batch() -> None:
    rig = Rig(FakeServer("Triton", added=0.5, refused_value=13))
    with pytest.raises(NoScoresInTime):
        rig.infer(1, 13)
    assert rig.infer(1) == [1.5]


@pytest.mark.parametrize("nothing", [math.nan, math.inf])
def test_a_row_without_a_number_leaves_the_others_their_scores(nothing: float) -> None:
    rig = Rig(FakeServer("Triton", numberless=(7,), nothing=nothing))
    found = rig.inference.infer(np.array([[1], [7]], np.float32))
    assert found.finite.tolist() == [True, False]


def test_an_answer_of_another_width_is_a_failure() -> None:
    rig = Rig(kept=("loss",))
    with pytest.raises(NoScoresInTime, match="1 numbers came for each row, the version has 2"):
        rig.infer(0)


def test_a_server_that_fails_again_and_again_is_not_asked_for_one_second() -> None:
    rig = Rig(FakeServer("Triton", infers=False))
    rig.fail(LEAST + 3)
    assert len(rig.server.calls) == LEAST
    assert rig.inference.waits()
    rig.now += FIRST_S
    rig.server.infers = True
    assert rig.infer(0) == [0.0]
    rig.server.infers = False
    rig.fail()
    assert not rig.inference.waits()  # it had recovered


def test_three_late_answers_in_a_row_are_enough() -> None:
    rig = Rig(FakeServer("Triton", infers=False, late=True))
    rig.fail(LATE_IN_A_ROW + 3)
    assert len(rig.server.calls) == LATE_IN_A_ROW


def test_an_outage_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig(FakeServer("Triton", infers=False))
    rig.fail(3)
    rig.server.infers = True
    rig.infer(0)
    rig.server.infers = False
    rig.fail()
    assert caplog.messages == ["model taps version 3 gives no scores: StatusCode.UNAVAILABLE"] * 2
