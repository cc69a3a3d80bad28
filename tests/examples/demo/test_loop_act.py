"""The demo's third act: the cause of alerts is sought while traffic goes on, and a training follows, or none."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from examples.cli import _demo_parameters
from examples.demo import loop_act
from examples.demo.loop_act import Expected, LoopAct
from examples.demo.rollout_act import Traffic
from examples.fraud.pipeline import pipeline
from examples.messages import Message
from loop.entries import Closed, Diagnosed, Entry, Opened, Proposed, Signal
from penstock.commands.exit_codes import ExitCode
from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess

MESSAGE = Message("events.transactions", b"card", b"{}", 0, "event")
SIGNAL = Signal(id="a", what="score", text="t", event_time_ms=1, place="p", model_version="1")
OPENED = Opened(incident="inc-1", time_ms=1, signals=(SIGNAL,))
UNCLEAR = Diagnosed(incident="inc-1", time_ms=2, cause="unclear", action="wait", why=())
DRIFT = UNCLEAR.model_copy(update={"cause": "concept-drift", "action": "retrain"})
FAULT = UNCLEAR.model_copy(update={"cause": "upstream-fault", "action": "mend-source", "column": "dep_delay"})
PROPOSED = Proposed(
    incident="inc-1",
    time_ms=3,
    proposal="ret-1",
    cause="concept-drift",
    action="retrain",
    from_ms=1,
    to_ms=2,
    model_version="1",
)
RETRAINS = Expected(("concept-drift",), rollout=Path("rollout.yaml"), gates=Path("gates.toml"))
MENDS = Expected(("upstream-fault",), column="dep_delay")


class FakeDemo:
    """Notes what is done."""

    def __init__(self) -> None:
        self.called: list[tuple[str, ...]] = []
        self.codes: list[int] = []
        self.sent = 0

    def begin(self, phase: str, text: str) -> None: ...

    def step(self, text: str) -> None: ...

    def call(self, *command: str, code: int = 0) -> None:
        self.called.append(command)
        self.codes.append(code)

    def produce(self, messages: Iterator[Message], per_second: float | None) -> None:
        assert per_second == 100.0
        self.sent += len(list(messages))


def acting(demo: FakeDemo, expected: Expected, monkeypatch: pytest.MonkeyPatch, *logs: list[Entry]) -> LoopAct:
    """An act that finds one log after the other, and then the last one again and again."""
    found = itertools.chain(logs, itertools.repeat(logs[-1]))
    monkeypatch.setattr(loop_act, "read_entries", lambda *_: next(found))
    return LoopAct(expected, pipeline, KafkaAccess(bootstrap="nowhere:1"), demo, Path("retrain"))


def traffic() -> Traffic:
    return Traffic(itertools.repeat(MESSAGE), 100.0, 50.0)


def test_traffic_goes_on_until_the_cause_is_known_and_a_training_is_proposed(monkeypatch: pytest.MonkeyPatch) -> None:
    demo = FakeDemo()
    logs: list[list[Entry]] = [[], [OPENED], [OPENED, UNCLEAR], [OPENED, DRIFT], [OPENED, DRIFT, PROPOSED]]
    act = acting(demo, RETRAINS, monkeypatch, *logs)
    assert act.find_cause(traffic()).id == "inc-1"
    assert demo.called == [("incidents", "watch", "fraud", "--quiet", "7d")] * 5
    assert demo.sent == 4 * 300


def test_the_training_that_is_proposed_is_carried_out_and_its_rollout_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    demo = FakeDemo()
    act = acting(demo, RETRAINS, monkeypatch, [OPENED, DRIFT, PROPOSED])
    incident = act.find_cause(traffic())
    candidate = act.retrain(incident)
    assert candidate is not None
    assert (candidate.file, candidate.outcome) == (Path("retrain/ret-1/rollout.yaml"), "promoted")
    assert act.backfill(incident) == Path("retrain/ret-1/backfill")
    assert demo.called[-1][:3] == ("retrain", "run", "fraud")
    assert demo.called[-1][-4:] == ("--rollout", "rollout.yaml", "--gates", "gates.toml")


def test_after_a_fault_there_is_nothing_to_train(monkeypatch: pytest.MonkeyPatch) -> None:
    demo = FakeDemo()
    act = acting(demo, MENDS, monkeypatch, [OPENED, FAULT])
    assert act.retrain(act.find_cause(traffic())) is None
    assert demo.codes == [0, ExitCode.NOTHING_TO_DO]


@pytest.mark.parametrize(
    "log",
    [
        [OPENED, FAULT, PROPOSED],
        [OPENED, FAULT.model_copy(update={"column": "distance"})],
        [OPENED, DRIFT],
        [OPENED, FAULT, Closed(incident="inc-1", time_ms=4, author="ada", reason="mended")],
        [],
    ],
)
def test_another_end_than_the_expected_one_stops_the_demo(log: list[Entry], monkeypatch: pytest.MonkeyPatch) -> None:
    now = itertools.count(0.0, 40.0)
    monkeypatch.setattr(loop_act, "time", SimpleNamespace(monotonic=lambda: next(now)))
    with pytest.raises(PenstockError, match="no open incident of fraud has the cause upstream-fault"):
        acting(FakeDemo(), MENDS, monkeypatch, log).find_cause(traffic())


def test_the_files_that_the_demo_names_exist() -> None:
    expected: Any = [one.expected for one in _demo_parameters(False, 7, ("fraud", "flights"))]
    assert [one.causes for one in expected] == [
        ("concept-drift", "covariate-shift", "calibration"),
        ("upstream-fault",),
    ]
    assert expected[0].rollout.exists()
    assert expected[0].gates.exists()
