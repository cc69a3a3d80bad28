"""A training that was proposed is carried out step by step, once, also when it is killed between two steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from loop.entries import Opened, Proposed, Signal, Stepped
from loop.incidents import incidents_of
from loop.retraining import STEPS, Training, carry_out
from penstock.cli import cli
from penstock.commands.model.check import limits_in
from penstock.errors import PenstockError
from scoring.gates.gates import Limits
from scoring.rollout.policy_files import read_policy

PROPOSAL = Proposed(
    incident="inc-1",
    time_ms=1,
    proposal="ret-1",
    cause="concept-drift",
    action="retrain",
    from_ms=1_000,
    to_ms=2_000,
    model_version="1",
)
SIGNAL = Signal(id="a", what="score", text="t", event_time_ms=1, place="p", model_version="1")


class World:
    """Commands that do nothing but what counts: a training adds a version."""

    def __init__(self, folder: Path, **codes: int) -> None:
        self.codes, self.ran, self.told = codes, list[str](), list[tuple[str, str]]()
        self.answers: dict[int, str | None] = {1: None}
        self.made_ms, self.now_ms = dict[int, int](), 2
        self.kill_after: str | None = None
        self.unwanted: str | None = None
        self.log: list[Any] = [Opened(incident="inc-1", time_ms=1, signals=(SIGNAL,)), PROPOSAL]
        repository: Any = SimpleNamespace(
            versions=lambda _model: sorted(self.answers),
            manifest=lambda _model, version: SimpleNamespace(
                provenance=SimpleNamespace(incident=self.answers[version], made_ms=self.made_ms.get(version, 1))
            ),
        )
        project: Any = SimpleNamespace(
            reference="taps.py",
            pipeline=SimpleNamespace(
                name="taps", model=SimpleNamespace(name="taps"), labels=SimpleNamespace(horizon=None)
            ),
        )
        self.training = Training(project, PROPOSAL, folder / "ret-1", repository, champion=1, since_ms=1_000)

    def run(self, arguments: Sequence[str]) -> int:
        name = " ".join(arguments[:2])
        self.ran.append(name)
        code = self.codes.get(name.replace(" ", "_").replace("-", "_"), 0)
        self.now_ms += 1
        if name == "backfill run":
            self.training.backfill.mkdir(exist_ok=True)
        if name == "model train" and code == 0:
            version = max(self.answers) + 1
            self.answers[version], self.made_ms[version] = "ret-1", self.now_ms
        if self.kill_after == name:
            raise KeyboardInterrupt
        return code

    def tell(self, step: Any, outcome: Any, detail: str) -> None:
        self.told.append((step, outcome))
        self.log.append(
            Stepped(incident="inc-1", time_ms=self.now_ms, proposal="ret-1", step=step, outcome=outcome, detail=detail)
        )

    def require_wanted(self) -> None:
        if self.unwanted:
            raise PenstockError(self.unwanted)

    def carry_out(self) -> str:
        return carry_out(self.training, incidents_of(self.log)["inc-1"], self.run, self.tell, self.require_wanted)


ALL = ["backfill run", "model train", "model check", "rollout apply"]


def test_all_steps_are_done_in_order_and_told(tmp_path):
    world = World(tmp_path)
    assert world.carry_out() == "done"
    assert world.ran == ALL
    assert world.told == [(step, "done") for step in STEPS]


def test_the_policy_tries_the_new_version_beside_the_champion_under_the_id_of_the_proposal(tmp_path):
    world = World(tmp_path)
    world.carry_out()
    policy = read_policy(world.training.policy)
    assert (policy.salt, policy.champion.version, [arm.version for arm in policy.candidates]) == ("ret-1", 1, [2])


@pytest.mark.parametrize("killed", ALL)
def test_killed_after_any_command_no_second_version_is_made_and_what_is_told_as_done_is_not_done_again(
    tmp_path, killed
):
    world = World(tmp_path)
    world.kill_after = killed
    with pytest.raises(KeyboardInterrupt):
        world.carry_out()
    world.kill_after, before = None, list(world.ran)
    assert world.carry_out() == "done"
    assert sorted(world.answers) == [1, 2]
    again = world.ran[len(before) :]
    assert again == ALL[ALL.index("model check" if killed == "model train" else killed) :]


@pytest.mark.parametrize("killed", [None, "model train"])
def test_the_successor_of_a_version_that_was_deleted_must_pass_the_gates_itself(tmp_path, killed):
    world = World(tmp_path)
    world.unwanted = "not now"
    with pytest.raises(PenstockError, match="not now"):
        world.carry_out()
    assert world.told[-1] == ("gates", "done")
    del world.answers[2]
    world.unwanted, world.kill_after = None, killed
    if killed is not None:
        with pytest.raises(KeyboardInterrupt):
            world.carry_out()
        world.kill_after = None
    assert world.carry_out() == "done"
    assert world.ran == [*ALL[:3], *ALL[1:]]


def test_a_version_must_pass_the_gates_against_the_champion_that_it_is_tried_beside(tmp_path):
    world = World(tmp_path)
    world.unwanted = "another rollout runs"
    with pytest.raises(PenstockError, match="another rollout runs"):
        world.carry_out()
    world.unwanted, world.training = None, replace(world.training, champion=7)
    assert world.carry_out() == "done"
    assert world.ran == [*ALL[:3], *ALL[2:]]


def test_features_that_another_machine_has_made_are_made_again(tmp_path):
    world = World(tmp_path)
    world.kill_after = "model train"
    with pytest.raises(KeyboardInterrupt):
        world.carry_out()
    world.kill_after = None
    world.training.backfill.rmdir()
    assert world.carry_out() == "done"
    assert world.ran[2:] == ["backfill run", "model check", "rollout apply"]


def test_a_rollout_that_must_not_begin_now_is_not_applied_and_begins_later_without_another_training(tmp_path):
    world = World(tmp_path)
    world.unwanted = "another rollout runs"
    with pytest.raises(PenstockError, match="another rollout runs"):
        world.carry_out()
    assert world.ran == ALL[:3]
    world.unwanted = None
    assert world.carry_out() == "done"
    assert world.ran == ALL


@pytest.mark.parametrize(("code", "outcome"), [(10, "refused"), (11, "undecided")])
def test_a_version_that_the_gates_do_not_pass_is_not_tried(tmp_path, code, outcome):
    world = World(tmp_path, model_check=code)
    assert world.carry_out() == outcome
    assert world.ran == ALL[:3]
    assert world.told[-1] == ("gates", outcome)


def test_a_command_that_fails_ends_it_with_the_command_that_goes_on(tmp_path):
    world = World(tmp_path, model_train=1)
    with pytest.raises(PenstockError) as failed:
        world.carry_out()
    assert failed.value.next is not None
    assert "penstock retrain run taps.py --proposal ret-1" in failed.value.next
    assert world.told[-1] == ("training", "failed")
    world.codes = {}
    assert world.carry_out() == "done"


def test_what_there_is_already_is_no_failure(tmp_path):
    assert World(tmp_path, backfill_run=99).carry_out() == "done"


def test_the_latest_quarter_is_judged_and_not_trained_on(tmp_path):
    assert World(tmp_path).training.until_ms == 1_750


def test_it_is_a_quarter_of_the_time_since_the_first_alarm(tmp_path):
    assert replace(World(tmp_path).training, since_ms=1_800).until_ms == 1_950


def test_the_gates_are_the_limits_given_and_the_alarms_that_are_answered_are_closed(tmp_path):
    limits = Limits(slices=1, slope=(0.5, 2.0), skip=("latency",), groups=('of "x"',), closed_alerts=("b",))
    world = World(tmp_path)
    world.training = replace(world.training, limits=limits, alarms=lambda: ["a", "c"])
    world.carry_out()
    assert limits_in(world.training.gates) == limits.model_copy(update={"closed_alerts": ("b", "a", "c")})


def test_of_the_events_whose_labels_are_final_at_the_end_the_latest_quarter_is_judged(tmp_path):
    world = World(tmp_path)
    world.training.project.pipeline.labels.horizon = 200  # final are those of events before 1,800
    assert world.training.until_ms - 200 == 1_600


def test_a_period_of_which_no_label_is_final_is_refused_before_anything_is_computed(tmp_path):
    world = World(tmp_path)
    world.training.project.pipeline.labels.horizon = 1_000
    with pytest.raises(PenstockError, match=r"no label of events since .* is final"):
        world.carry_out()
    assert world.ran == []


@pytest.mark.parametrize("step", STEPS)
def test_each_command_has_the_options_that_it_is_given(tmp_path, step):
    training = replace(World(tmp_path).training, source="archive")
    training.backfill.mkdir(parents=True)
    training.gates.touch()
    training.write_policy(1)
    name, sub, *rest = [argument if argument != "N" else "2" for argument in training.command(step)]
    group: Any = cli.get_command(None, name)  # type: ignore[arg-type]
    command = group.get_command(None, sub)
    command.make_context(sub, rest)  # raises click.UsageError


def test_steps_of_a_template_are_the_policys(tmp_path):
    training = World(tmp_path).training
    steps = [{"weight": 0, "least_events": 5, "least_time": "1s", "most_time": "9s"}]
    training.folder.mkdir()
    replace(training, steps=steps).write_policy(2)
    assert yaml.safe_load(training.policy.read_text())["steps"] == steps
