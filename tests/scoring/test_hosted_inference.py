"""Without a fallback, a batch waits for its server; a row fails only if the server answers and fails on it again."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest

from scoring.breaker import FIRST_S, LATE_IN_A_ROW, LEAST
from scoring.hosted_inference import LONGEST_S, HostedInference, NoScoresNow
from scoring.model_metadata import ModelMetadata
from scoring.servers.protocol import InferenceError
from scoring.vectors import FloatArray
from tests.scoring.fake_server import FakeServer

MODEL = ModelMetadata("taps", 3, ("event.amount",), {}, 4096)
DEADLINE_S = 0.2


class Rig:
    """Inference on a server that adds 0.5 and refuses 13, with a clock that is set by hand."""

    def __init__(self, server: FakeServer | None = None) -> None:
        self.now = 100.0
        self.server = server or FakeServer("Triton", added=0.5, refused_value=13)
        self.reasons: list[str] = []
        self.inference = HostedInference(
            self.server,
            MODEL,
            deadline_s=DEADLINE_S,
            clock=lambda: self.now,
            on_failure=self.reasons.append,
        )

    def infer(self, *values: float) -> list[float | None]:
        """The scores; None where the model fails."""
        scores = self.inference.infer(np.array([[value] for value in values], np.float32))
        assert set(scores.routes()) <= {"primary"}
        return [None if failed else score for score, failed in zip(scores.values, scores.failed, strict=True)]

    def fail(self, times: int = 1) -> str:
        for _ in range(times):
            with pytest.raises(NoScoresNow) as waiting:
                self.infer(0)
        return str(waiting.value.what)


def test_a_batch_is_one_call_to_the_pinned_version_with_the_deadline() -> None:
    rig = Rig()
    assert rig.infer(0, 1) == [0.5, 1.5]
    assert rig.server.calls == [("taps", 3, 2, DEADLINE_S)]


def test_a_server_that_fails_gives_no_scores_now_and_the_reason() -> None:
    rig = Rig(FakeServer("Triton", infers=False))
    assert rig.fail() == "Triton gives no scores, and only it has the model: StatusCode.UNAVAILABLE"
    assert rig.reasons == ["StatusCode.UNAVAILABLE"]


def test_after_several_failures_the_server_is_not_asked_for_one_second() -> None:
    rig = Rig(FakeServer("Triton", infers=False))
    rig.fail(LEAST)
    calls = len(rig.server.calls)
    assert rig.inference.waits()
    assert "StatusCode.UNAVAILABLE" in rig.fail()
    assert len(rig.server.calls) == calls
    rig.now += FIRST_S
    rig.server.infers = True
    assert not rig.inference.waits()
    assert rig.infer(0) == [0.0]
    assert not rig.inference.waits()


def test_an_outage_is_logged_once_for_each_reason_and_so_is_its_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    rig = Rig(FakeServer("Triton", infers=False))
    rig.fail(3)
    rig.server.infers = True
    rig.infer(0)
    assert caplog.messages == [
        "Triton fails, and only it has the model; waiting for it: StatusCode.UNAVAILABLE",
        "Triton answers again",
    ]


def test_only_the_row_on_which_the_model_fails_has_no_score() -> None:
    rig = Rig()
    assert rig.infer(1, 13, 2) == [1.5, None, 2.5]
    assert rig.reasons == []


def test_a_row_without_a_number_is_the_models_own() -> None:
    rig = Rig(FakeServer("Triton", numberless=(7,)))
    scores = rig.infer(0, 7)
    assert scores[0] == 0.0
    assert scores[1] is not None
    assert math.isnan(scores[1])
    assert rig.reasons == []


class Flaky(FakeServer):
    """Fails at some of its calls, counted from 0."""

    def __init__(self, *failing: int) -> None:
        super().__init__("Triton", added=0.5)
        self.failing = failing
        self.count: Iterator[int] = iter(range(1_000))

    def infer(self, model: str, version: int, vectors: FloatArray, deadline_s: float | None) -> FloatArray:
        if next(self.count) in self.failing:
            raise InferenceError("a hiccup")
        return super().infer(model, version, vectors, deadline_s)


@pytest.mark.parametrize(
    "failing",
    [
        (0,),  # the batch
        (0, 2, 4),  # the batch twice, and its first half
        (0, 2, 4, 7),  # the batch twice, its first half, and the second half
    ],
)
def test_a_failure_that_does_not_come_again_costs_no_row_its_score(failing: tuple[int, ...]) -> None:
    assert Rig(Flaky(*failing)).infer(1, 2, 3) == [1.5, 2.5, 3.5]


def test_a_batch_of_one_row_that_meets_the_last_moment_of_an_outage_is_asked_again() -> None:
    assert Rig(Flaky(0)).infer(1) == [1.5]


@pytest.mark.parametrize("from_call", range(7))
def test_a_server_that_goes_away_while_rows_are_looked_for_fails_no_row(from_call: int) -> None:
    server = Flaky(*range(from_call, 1_000))
    server.refused_value = 13
    with pytest.raises(NoScoresNow):
        Rig(server).infer(13, 1)


class Slow(FakeServer):
    """Takes as long as it is told, of the rig's clock."""

    def __init__(self) -> None:
        super().__init__("Triton")
        self.takes_s = 0.0
        self.rig: Rig | None = None

    def infer(self, model: str, version: int, vectors: FloatArray, deadline_s: float | None) -> FloatArray:
        assert self.rig is not None
        assert deadline_s is not None
        self.infers, self.late = self.takes_s <= deadline_s, True
        self.rig.now += min(self.takes_s, deadline_s)
        return super().infer(model, version, vectors, deadline_s)


def slow_rig(takes_s: float) -> Rig:
    server = Slow()
    server.takes_s = takes_s
    server.rig = rig = Rig(server)
    return rig


def deadlines(rig: Rig) -> list[float]:
    return [call[3] for call in rig.server.calls]  # type: ignore[misc]


def test_a_batch_that_takes_longer_than_the_deadline_is_scored_within_twice_the_deadline_and_more() -> None:
    rig = slow_rig(0.7)
    rig.fail(2)
    assert rig.infer(0) == [0.0]
    assert deadlines(rig) == pytest.approx([0.2, 0.4, 0.8])


def test_the_deadline_is_the_given_one_again_after_an_answer_within_it() -> None:
    rig = slow_rig(0.3)
    rig.fail()
    rig.infer(0)
    rig.infer(0)
    rig.server.takes_s = 0.1  # type: ignore[attr-defined]
    rig.infer(0)
    rig.infer(0)
    assert deadlines(rig) == pytest.approx([0.2, 0.4, 0.4, 0.4, 0.2])


def test_a_frozen_server_is_waited_for_up_to_ten_seconds_at_a_time() -> None:
    rig = slow_rig(math.inf)
    for _ in range(12):
        rig.fail()
        rig.now += 60
    assert deadlines(rig)[-1] == LONGEST_S


def test_three_late_answers_in_a_row_stop_the_requests() -> None:
    rig = slow_rig(math.inf)
    rig.fail(LATE_IN_A_ROW)
    assert rig.inference.waits()


def test_an_answer_of_another_width_is_a_failure_of_the_server() -> None:
    class Wide(FakeServer):
        def infer(self, model: str, version: int, vectors: FloatArray, deadline_s: float | None) -> FloatArray:
            return np.repeat(super().infer(model, version, vectors, deadline_s), 2, axis=1)

    assert "2 numbers came for each row, the version has 1" in Rig(Wide("Triton")).fail()
