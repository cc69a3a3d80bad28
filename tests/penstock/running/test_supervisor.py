"""The supervisor, with processes and a clock of the test's own."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.running.children import Child
from penstock.running.parts import Need, Part
from penstock.running.restarts import STEADY_S, End
from penstock.running.supervisor import Missing, Supervisor

JUDGE, JOB, SINK = (
    Part("drift", ("drift",), 0, needs="model", grace_s=10),
    Part("features", ("job",), 1, has_metrics=False, grace_s=100),
    Part("sink", ("sink",), 2, grace_s=10),
)
NO_MODEL = Missing("there is no model", "penstock model train x")


class FakeChild:
    def __init__(self, part: Part, pid: int) -> None:
        self.part, self.pid = part, pid
        self.asked = 0
        self.ended: End | None = None
        self.heeds = True

    def end(self) -> End | None:
        return self.ended

    def stop(self) -> None:
        self.asked += 1
        if self.heeds:
            self.ended = End(0)

    def kill(self) -> None:
        self.ended = End(-9)


class World:
    """A supervisor, and all that it is told."""

    def __init__(self, *parts: Part) -> None:
        self.now = 0.0
        self.missing: Missing | None = None
        self.children: list[FakeChild] = []
        self.said: list[str] = []
        self.fails = False
        self.supervisor = Supervisor(
            parts,
            {"sink": 19_101},
            self,
            self._needs,
            clock=lambda: self.now,
            now_ms=lambda: int(self.now * 1000),
            say=self.said.append,
        )

    def start(self, part: Part, port: int | None) -> Child:
        if self.fails:
            raise OSError("no more processes")
        assert port == (19_101 if part.name == "sink" else None)
        self.children.append(FakeChild(part, len(self.children) + 1))
        return self.children[-1]

    def tidy(self) -> None: ...

    def _needs(self, need: Need) -> Missing | None:
        assert need == "model"
        return self.missing

    def running(self) -> list[str]:
        return [child.part.name for child in self.children if child.ended is None]

    def state(self, name: str) -> str:
        return next(part.state for part in self.supervisor.records() if part.name == name)

    def pass_by(self, seconds: float, *ready: str) -> None:
        self.now += seconds
        self.supervisor.step(ready)


def test_parts_start_in_their_order_and_what_needs_a_model_when_there_is_one() -> None:
    world = World(JUDGE, JOB, SINK)
    world.missing = NO_MODEL
    world.supervisor.step()
    world.supervisor.step()
    assert world.running() == ["features", "sink"]
    assert [line for line in world.said if line.startswith("drift")] == [
        "drift waits: there is no model; next: penstock model train x"
    ]
    assert world.supervisor.records()[0].next == "penstock model train x"
    world.missing = None
    world.supervisor.step()
    assert world.running() == ["features", "sink", "drift"]


def test_what_has_died_starts_again_after_its_pause_and_says_why() -> None:
    world = World(SINK)
    world.supervisor.step()
    world.children[0].ended = End(-9)
    world.pass_by(0.1)
    (record,) = world.supervisor.records()
    assert (record.state, record.reason, record.pid) == ("pausing", "killed by signal 9", None)
    world.pass_by(0.8)
    assert world.running() == []
    world.pass_by(0.2)
    (record,) = world.supervisor.records()
    assert (record.state, record.restarts, record.reason, record.pid) == ("running", 1, "killed by signal 9", 2)


def test_what_cannot_work_is_given_up_until_somebody_asks_again() -> None:
    world = World(SINK)
    world.supervisor.step()
    world.children[0].ended = End(2, "no such option", "read the help")
    world.pass_by(1)
    world.pass_by(1_000)
    assert (world.state("sink"), world.running()) == ("given up", [])
    world.supervisor.retry()
    world.supervisor.step()
    assert world.running() == ["sink"]


# What a part says after so many seconds of each of its lives.
NEVER = [(STEADY_S, False), (STEADY_S, False)]
OLD_NEWS = [(1, True), (1, True), (STEADY_S, False), (1, True)]
LONG = [(1, True), (STEADY_S, True), (1, False)]


@pytest.mark.parametrize(
    ("lives", "expected"),
    [
        pytest.param([NEVER] * 5, "given up", id="never took records, however long each start took"),
        pytest.param([OLD_NEWS] * 5, "given up", id="what the process before it had said is no news of this one"),
        pytest.param([LONG] * 5, "pausing", id="took records for long each time"),
        pytest.param([LONG, *[NEVER] * 3], "pausing", id="four times, and had taken records for long before the first"),
        pytest.param(
            [LONG, *[NEVER] * 4], "given up", id="five times, and had taken records for long before the first"
        ),
    ],
)
def test_a_part_is_given_up_unless_it_had_taken_records_for_long(
    lives: list[list[tuple[float, bool]]], expected: str
) -> None:
    world = World(SINK)
    for life in lives:
        world.pass_by(60)  # starts it
        for seconds, is_ready in life:
            world.pass_by(seconds, *(["sink"] if is_ready else []))
        world.children[-1].ended = End(1, "the key is wrong", "set another")
        world.pass_by(1)
    assert world.state("sink") == expected


def test_a_process_that_the_system_does_not_start_is_tried_again() -> None:
    world = World(SINK)
    world.fails = True
    world.supervisor.step()
    assert "no more processes" in (world.supervisor.records()[0].reason or "")
    world.fails = False
    world.pass_by(1)
    assert world.running() == ["sink"]


def test_parts_stop_stage_by_stage_and_who_does_not_is_killed() -> None:
    world = World(JUDGE, JOB, SINK)
    world.supervisor.step()
    drift = next(child for child in world.children if child.part is JUDGE)
    drift.heeds = False
    world.supervisor.stop()
    world.supervisor.step()
    assert (drift.asked, world.running()) == (1, ["drift", "features", "sink"])
    world.pass_by(9)
    assert world.running() == ["drift", "features", "sink"]
    world.pass_by(2)  # killed
    assert world.running() == ["features", "sink"]
    for left in (["sink"], [], []):
        goes_on = world.supervisor.step()
        assert world.running() == left
    assert not goes_on
    assert world.supervisor.failures == ["drift: killed by signal 9"]


def test_a_job_that_could_not_be_stopped_is_a_failure_with_its_reason() -> None:
    world = World(JOB)
    world.supervisor.step()
    world.children[0].heeds = False
    world.supervisor.stop()
    world.supervisor.step()
    world.children[0].ended = End(1, "the savepoint failed: disk full")
    assert not world.supervisor.step()
    assert world.supervisor.failures == ["features: the savepoint failed: disk full"]


def test_a_second_signal_kills_all_at_once() -> None:
    world = World(JUDGE, JOB, SINK)
    world.supervisor.step()
    world.supervisor.stop()
    world.supervisor.kill()
    assert world.running() == []
    assert not world.supervisor.step()
    assert (world.supervisor.was_killed, world.supervisor.failures) == (True, [])


def test_nothing_starts_while_it_stops() -> None:
    world = World(SINK)
    world.supervisor.step()
    world.children[0].ended = End(-9)
    world.supervisor.step()
    world.supervisor.stop()
    world.supervisor.retry()
    world.pass_by(100)
    assert (world.running(), world.state("sink")) == ([], "stopped")


@pytest.mark.parametrize("lazy", [False, True])
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(events=st.lists(st.tuples(st.sampled_from(["die", "wait", "need", "retry"]), st.integers(0, 2)), max_size=30))
def test_whatever_happens_before_a_stop_leaves_no_process(lazy: bool, events: list[tuple[str, int]]) -> None:
    world = World(JUDGE, JOB, SINK)
    for what, number in events:
        alive = [child for child in world.children if child.ended is None]
        if what == "die" and alive:
            alive[number % len(alive)].ended = End(number, "an error" if number == 1 else None)
        elif what == "need":
            world.missing = NO_MODEL if number else None
        elif what == "retry":
            world.supervisor.retry()
        world.pass_by(10.0**number)
        names = world.running()
        assert len(names) == len(set(names)), "one process of each part"
    for child in world.children:
        child.heeds = not lazy
    world.supervisor.stop()
    for _ in range(20):
        world.pass_by(50)
    assert world.running() == []
    assert not world.supervisor.step()
    assert {part.state for part in world.supervisor.records()} == {"stopped"}
