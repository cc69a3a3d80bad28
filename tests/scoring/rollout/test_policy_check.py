"""A policy that the pipeline's scorers cannot follow is refused, and the error names the field of its file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penstock.errors import PenstockError
from scoring.repository import ModelRepository
from scoring.rollout.policy import RolloutPolicy
from scoring.rollout.policy_check import check_declared, check_policy
from scoring.trained_model import TrainedModel
from streams.definitions.rollout import DEFAULT_STEPS
from streams.plan.project import Project
from tests.scoring.rollout.rollout_records import define_rollout
from tests.scoring.scorer_bench import define, manifest_of, onnx_bytes

NAME = "taps_check"
POLICY: dict[str, Any] = {
    "pipeline": NAME,
    "mode": "canary",
    "salt": "taps/1",
    "arms": [{"name": "present", "version": 1, "role": "champion"}, {"name": "other", "version": 2}],
    "shadow": [3],
    "exploration": {"share": 0.01, "decision": "pass", "salt": "taps/explored"},
}


class World:
    """A pipeline, and three versions of its model."""

    def __init__(self, folder: Path, cascade: str = "") -> None:
        self.pipeline = define(folder, "check", partitions=1, cascade=cascade)[1]
        self.project = Project.of(self.pipeline, folder)
        self.repository = ModelRepository(folder / "models")
        for _ in range(3):
            self.add()

    def add(self, **changed: Any) -> None:
        manifest = manifest_of(self.pipeline).model_copy(update=changed)
        for name in self.pipeline.model.names:
            self.repository.add(name, TrainedModel(onnx_bytes(), None, manifest))

    def check(self, **changed: Any) -> None:
        policy = RolloutPolicy.model_validate(POLICY | changed).with_steps(DEFAULT_STEPS)
        check_policy(policy, self.project, self.repository, "rollout.yaml")

    def refusal(self, **changed: Any) -> PenstockError:
        with pytest.raises(PenstockError) as refused:
            self.check(**changed)
        assert refused.value.safe == "no policy was changed, and nothing was loaded"
        assert refused.value.next
        return refused.value


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_policy_whose_versions_fit_the_pipeline_is_accepted(world: World) -> None:
    world.check()


def test_a_policy_of_another_pipeline_is_refused(world: World) -> None:
    error = world.refusal(pipeline="other")
    assert (error.where, error.what) == (
        "rollout.yaml: pipeline",
        f"the policy is of pipeline other, and not of {NAME}",
    )


@pytest.mark.parametrize("decision", ["pass", "block"])
def test_an_exploration_may_have_each_decision_of_the_pipeline(world: World, decision: str) -> None:
    world.check(exploration=POLICY["exploration"] | {"decision": decision})


def test_another_decision_is_refused_and_the_two_are_named(world: World) -> None:
    error = world.refusal(exploration=POLICY["exploration"] | {"decision": "approve"})
    assert error.where == "rollout.yaml: exploration.decision"
    assert "'block' and 'pass'" in str(error.next)


def test_a_version_that_does_not_exist_is_refused_and_those_that_do_are_named(world: World) -> None:
    error = world.refusal(shadow=[7])
    assert str(error.where).startswith("rollout.yaml: shadow (")
    assert "has no version 7 (there are: 1, 2, 3)" in error.what


def test_a_version_with_a_file_that_was_changed_is_refused(world: World) -> None:
    world.repository.model_file(NAME, 2).write_bytes(b"another")
    error = world.refusal()
    assert str(error.where).startswith("rollout.yaml: version of arm other (")
    assert error.what.startswith("version 2: ")


def test_a_version_that_learned_from_another_definition_of_a_view_is_refused(world: World) -> None:
    world.add(views={"activity": "1:other"})
    error = world.refusal(shadow=[4])
    assert "version 4: view activity is not what the model was trained on" in error.what


def test_each_version_needs_a_band_with_the_strong_model_of_a_cascade(tmp_path: Path) -> None:
    world = World(tmp_path, cascade='strong="taps_strong"')
    error = world.refusal()
    assert "version 1: no band was chosen for taps_check version 1 and taps_strong version 1" in error.what
    assert error.next == "penstock model band PIPELINE --backfill FOLDER --fast 1"


def test_a_band_that_is_declared_holds_for_all_versions(tmp_path: Path) -> None:
    World(tmp_path, cascade='strong="taps_strong", band=(0.2, 0.8)').check()


def test_a_bandit_needs_the_labels_of_its_pipeline_as_rewards(world: World, tmp_path: Path) -> None:
    error = world.refusal(mode="bandit")
    assert (error.where, "the pipeline declares none" in error.what) == ("rollout.yaml: mode", True)
    labelled = define_rollout(tmp_path, "labelled", 1).pipeline
    bandit = RolloutPolicy.model_validate(POLICY | {"mode": "bandit", "pipeline": labelled.name})
    check_declared(bandit, labelled, "rollout.yaml")
