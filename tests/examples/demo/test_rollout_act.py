"""Rollouts of the demo: traffic goes on until each has ended as it must."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from examples.cli import _FRAUD_CANDIDATES
from examples.demo import rollout_act
from examples.demo.rollout_act import Candidate, RolloutAct, Traffic
from examples.demo.rollout_readers import Guardrail
from examples.demo.screen import ScreenState
from examples.fraud.pipeline import pipeline
from examples.messages import Message
from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from scoring.rollout.policy_files import read_policy
from scoring.rollout.policy_log import Logged, Marker, PolicyChange
from tests.examples.demo.sample_rollouts import BEGAN_MS, log

MESSAGE = Message("events.transactions", b"card", b"{}", 0, "event")
SAYS = {"quality": Guardrail("continue", 0.8, 1.2, 0.0, 1.05), "errors": Guardrail("equivalent", 0.0, 0.01, 0.0, 0.03)}


class FakePolicyReader:
    """Reads one more entry of the log at each poll."""

    def __init__(self, *_: Any) -> None:
        self.present: PolicyChange | None = None
        self.followed: dict[int, str] = {}
        self.entries = iter(log())

    @property
    def is_followed(self) -> bool:
        policy = self.present and self.present.policy.hash
        return len(self.followed) == 4 and set(self.followed.values()) == {policy}

    def poll(self) -> None:
        entry = next(self.entries, Logged(0, 0, None)).entry  # type: ignore[arg-type]
        if isinstance(entry, PolicyChange):
            self.present = entry
        elif isinstance(entry, Marker):
            self.followed[entry.partition] = entry.policy

    def close(self) -> None:
        pass


class FakeGuardrailReader:
    def __init__(self, url: str) -> None:
        assert url == "http://127.0.0.1:1234/metrics"

    def read(self, step: int) -> dict[str, Guardrail]:
        return SAYS if step == 0 else {}

    def close(self) -> None:
        pass


class FakeDemo:
    """Measures with every message, and notes what is done."""

    def __init__(self) -> None:
        self.done: list[tuple[Any, ...]] = []
        self.state = ScreenState()
        self.act: RolloutAct | None = None

    def begin(self, phase: str, text: str) -> None:
        self.done.append(("begin", phase, text))

    def step(self, text: str) -> None:
        self.done.append(("step", text))

    def call(self, *command: str, code: int = 0) -> None:
        assert code == 0
        self.done.append(("call", *command[:3]))

    def start(self, name: str, *command: str) -> None:
        assert name == "controller"
        self.done.append(("start", *command[:3]))

    def produce(self, messages: Iterator[Message], per_second: float | None) -> None:
        assert self.act is not None
        sent = 0
        for _ in messages:
            sent += 1
            self.act.measure(100.0 + sent, self.state)
        self.done.append(("produce", per_second, sent))


def candidates(folder: Path, better: str = "promoted", **changes: Any) -> tuple[Candidate, ...]:
    """Those of the sample log, whose files have the same salts."""
    files = []
    for name, salt, champion, version in (("better", "fraud/better", 1, 2), ("bad", "fraud/bad", 2, 3)):
        files.append(folder / f"{name}.yaml")
        files[-1].write_text(
            f"pipeline: fraud\nmode: canary\nsalt: {salt}\n"
            f"arms: [{{name: a, version: {champion}, role: champion}}, {{name: b, version: {version}}}]\n"
        )
    return (
        Candidate("a better one", files[0], better, "it is better", **changes),  # type: ignore[arg-type]
        Candidate("a bad one", files[1], "rolled back", "in a hurry"),
    )


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> FakeDemo:
    monkeypatch.setattr(rollout_act, "PolicyReader", FakePolicyReader)
    monkeypatch.setattr(rollout_act, "GuardrailReader", FakeGuardrailReader)
    monkeypatch.setattr(rollout_act, "read_log", lambda *_: log())
    return FakeDemo()


def acting(demo: FakeDemo) -> RolloutAct:
    predictions: Any = SimpleNamespace(under=Counter(), entities={})
    demo.act = RolloutAct(pipeline, KafkaAccess(bootstrap="nowhere:1"), predictions, demo, 1234)
    return demo.act


def run(act: RolloutAct, demo: FakeDemo, tried: tuple[Candidate, ...]) -> None:
    """The first one was applied by somebody else."""
    traffic = Traffic(itertools.repeat(MESSAGE), 1_200.0, 400.0)
    act.start(demo)  # type: ignore[arg-type]
    act.follow(tried[0], traffic)
    act.roll_out(tried[1], traffic)


def test_traffic_goes_on_until_all_partitions_follow_the_end_of_a_rollout(demo: FakeDemo, tmp_path: Path) -> None:
    run(acting(demo), demo, candidates(tmp_path))
    commands = [done[1:] for done in demo.done if done[0] in ("call", "start")]
    assert commands == [("rollout", "controller", "run"), ("rollout", "apply", "fraud")]
    # A change and four markers each: shadow, 20 %, 50 %, promoted; 5 %, rolled back. The reader sees one per message.
    assert [done[1:] for done in demo.done if done[0] == "produce"] == [(1200, 6), (400, 14), (1200, 1), (400, 9)]


def test_the_screen_follows_the_policy(demo: FakeDemo) -> None:
    act = acting(demo)
    for poll in range(6):
        act.measure(float(poll), demo.state)
    assert [done[1] for done in demo.done] == ["version 2 in shadow", "version 2 scores 20 %"]
    shown = demo.state.rollout
    assert shown is not None
    assert shown.weights == {"first (version 1)": 0.8, "better (version 2)": 0.2}
    assert shown.verdicts == {"quality": "continue", "errors": "equivalent"}


def test_what_guardrails_say_is_kept_when_it_changes_and_anew_under_each_policy(demo: FakeDemo) -> None:
    act = acting(demo)
    for poll in range(7):
        act.measure(100.0 + poll, demo.state)
    found = act.record(90.0, BEGAN_MS).looks
    assert [(look.at_s, look.version, look.guardrail) for look in found] == [
        (10.0, 2, "quality"),
        (10.0, 2, "errors"),
        (15.0, 2, "quality"),
        (15.0, 2, "errors"),
    ]
    assert (found[0].low, found[0].high, found[0].least, found[0].most) == (0.8, 1.2, 0.0, 1.05)


def test_the_record_says_how_each_rollout_ended(demo: FakeDemo, tmp_path: Path) -> None:
    act = acting(demo)
    run(act, demo, candidates(tmp_path))
    found = act.record(0.0, BEGAN_MS)
    assert [(trial.version, trial.about, trial.outcome) for trial in found.trials] == [
        (2, "a better one", "promoted"),
        (3, "a bad one", "rolled back"),
    ]


def test_a_rollout_that_ends_otherwise_than_it_must_stops_the_demo(demo: FakeDemo, tmp_path: Path) -> None:
    with pytest.raises(PenstockError, match="a better one was promoted, and not rolled back: all steps passed"):
        run(acting(demo), demo, candidates(tmp_path, better="rolled back"))


def test_a_rollout_that_pauses_stops_the_demo(demo: FakeDemo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = log()[0].entry
    assert isinstance(first, PolicyChange)
    paused = PolicyChange(**dict(first) | {"status": "paused", "reason": "paused: not sure after 90s"})
    monkeypatch.setattr(rollout_act, "PolicyReader", lambda *_: SimpleNamespace(present=paused, poll=lambda: None))
    with pytest.raises(PenstockError, match="a better one was paused: paused: not sure after 90s"):
        run(acting(demo), demo, candidates(tmp_path))


def test_a_rollout_that_does_not_end_in_time_stops_the_demo_and_says_what_it_waits_for(
    demo: FakeDemo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = itertools.count(0.0, 10.0)
    monkeypatch.setattr(rollout_act, "time", SimpleNamespace(monotonic=lambda: next(now)))
    with pytest.raises(PenstockError) as caught:
        run(acting(demo), demo, candidates(tmp_path, most_s=50.0))
    assert "has not ended within 50 s (quality continue, errors equivalent)" in str(caught.value)
    assert "penstock rollout history fraud --evidence" in str(caught.value)


def test_the_candidate_of_the_demo_has_the_version_that_its_training_gives() -> None:
    (policy,) = (read_policy(candidate.file) for candidate in _FRAUD_CANDIDATES)
    # Version 2 is the one that is trained anew.
    assert (policy.champion.version, policy.candidates[0].version) == (2, 3)
