"""The policy of a rollout on real servers: its changes are ordered and whole, and its versions are served."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from penstock.kafka.topics import create_topics
from penstock.settings import Settings
from scoring.repository import ModelRepository
from scoring.rollout.policy import RolloutPolicy, publish
from scoring.rollout.policy_log import PolicyChange
from scoring.rollout.policy_store import change_policy, read_log, read_policy
from scoring.servers.protocol import ModelServer
from scoring.servers.registry import PRIMARY_SERVER, open_server
from scoring.trained_model import TrainedModel
from streams.definitions.pipeline import Pipeline
from streams.plan.pipeline_topics import pipeline_topics
from tests.scoring.scorer_bench import add_model, define, load_model, manifest_of, penstock, unload_model

CHANGES = 10
SIGNED = ("--reason", "a try", "--author", "ada")


@dataclass
class Rollout:
    """A pipeline, and the changes of its policy."""

    reference: str
    pipeline: Pipeline
    settings: Settings
    folder: Path

    def change(self, present: PolicyChange | None, salt: str) -> PolicyChange:
        """A policy with this salt, after the present one."""
        arms = [{"name": "present", "version": 1, "role": "champion"}, {"name": "other", "version": 2, "weight": 0.5}]
        arms[0]["weight"] = 0.5
        policy = {"pipeline": self.pipeline.name, "mode": "ab", "salt": salt, "arms": arms}
        return PolicyChange(
            policy=publish(RolloutPolicy.model_validate(policy), present and present.policy),
            author="ada",
            reason=salt,
            previous=None if present is None else present.policy.hash,
            time_ms=1,
        )

    def publish(self, salt: str) -> PolicyChange:
        change = change_policy(self.settings.kafka.access, self.pipeline, lambda present: self.change(present, salt))
        assert change is not None
        return change

    @property
    def present(self) -> PolicyChange | None:
        return read_policy(self.settings.kafka.access, self.pipeline)

    @property
    def changes(self) -> list[PolicyChange]:
        entries = [logged.entry for logged in read_log(self.settings.kafka.access, self.pipeline)]
        changes = [entry for entry in entries if isinstance(entry, PolicyChange)]
        assert len(changes) == len(entries)
        return changes

    def file(self, candidate: int, **changed: Any) -> str:
        arms = [{"name": "present", "version": 1, "role": "champion"}, {"name": "other", "version": candidate}]
        policy = {"pipeline": self.pipeline.name, "mode": "canary", "salt": "taps/1", "arms": arms}
        path = self.folder / "rollout.yaml"
        path.write_text(json.dumps(policy | changed), encoding="utf-8")
        return str(path)

    def run(self, command: str, *arguments: str) -> str:
        done = penstock("rollout", command, self.reference, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def rollout(settings: Settings, suffix: str, tmp_path: Path) -> Rollout:
    reference, pipeline = define(tmp_path, suffix, 1)
    create_topics(pipeline_topics(pipeline), settings.kafka.access)
    return Rollout(reference, pipeline, settings, tmp_path)


def test_changes_by_two_writers_at_once_follow_each_other_and_none_is_lost(rollout: Rollout) -> None:
    def write(name: str) -> None:
        for number in range(CHANGES):
            rollout.publish(f"{name} {number}")

    writers = [threading.Thread(target=write, args=(name,)) for name in ("one", "other")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    changes = rollout.changes
    assert [change.previous for change in changes] == [None, *(change.policy.hash for change in changes[:-1])]
    assert sorted(change.reason for change in changes) == sorted(
        f"{name} {number}" for name in ("one", "other") for number in range(CHANGES)
    )
    assert rollout.present == changes[-1]


def test_a_writer_that_was_fenced_reads_what_the_other_has_written_and_decides_again(rollout: Rollout) -> None:
    seen = []

    def decide(present: PolicyChange | None) -> PolicyChange:
        seen.append(present)
        if len(seen) == 1:
            rollout.publish("the other")
        return rollout.change(present, "one")

    written = change_policy(rollout.settings.kafka.access, rollout.pipeline, decide)
    assert seen == [None, rollout.changes[0]]
    assert rollout.changes == [rollout.changes[0], written]
    assert [change.reason for change in rollout.changes] == ["the other", "one"]


@pytest.mark.parametrize("point", ["after_first_record", "before_commit"])
def test_of_a_writer_that_is_killed_before_its_commit_nothing_is_seen_and_the_next_one_does_not_wait(
    rollout: Rollout, point: str
) -> None:
    first = rollout.publish("first")
    assert penstock("rollout", "pause", rollout.reference, *SIGNED, crash=(point, "1")).returncode == -9
    assert (rollout.present, rollout.changes) == (first, [first])
    rollout.run("pause", *SIGNED)
    assert [change.status for change in rollout.changes] == ["running", "paused"]
    assert rollout.present == rollout.changes[-1]


def test_what_a_killed_writer_has_committed_is_not_written_again(rollout: Rollout) -> None:
    rollout.publish("first")
    assert penstock("rollout", "pause", rollout.reference, *SIGNED, crash=("after_commit", "1")).returncode == -9
    assert rollout.run("pause", *SIGNED) == "it is paused already: nothing to do\n"
    assert [change.status for change in rollout.changes] == ["running", "paused"]


@pytest.mark.parametrize("attempt", [read_policy, partial(change_policy, decide=lambda _: None)])
def test_without_its_topics_the_command_that_creates_them_is_named(
    settings: Settings, suffix: str, tmp_path: Path, attempt: Callable[[KafkaAccess, Pipeline], object]
) -> None:
    _, pipeline = define(tmp_path, suffix, 1)
    with pytest.raises(PenstockError) as missing:
        attempt(settings.kafka.access, pipeline)
    assert "penstock topics create PIPELINE" in str(missing.value.next)


@pytest.fixture
def served(rollout: Rollout) -> Iterator[ModelServer]:
    """Two versions, of which the first is loaded, and a third that no server can load."""
    repository, name = ModelRepository(rollout.settings.model_repository), rollout.pipeline.model.name
    add_model(rollout.pipeline, rollout.settings)
    load_model(rollout.pipeline, rollout.settings)
    add_model(rollout.pipeline, rollout.settings)
    repository.add(name, TrainedModel(b"no model", None, manifest_of(rollout.pipeline)))
    with contextlib.closing(open_server(PRIMARY_SERVER, rollout.settings)) as server:
        yield server
    with contextlib.suppress(Exception):  # if it fails, the test has failed already
        unload_model(rollout.pipeline, rollout.settings)


def test_a_policy_is_loaded_applied_once_promoted_and_rolled_back(rollout: Rollout, served: ModelServer) -> None:
    name = rollout.pipeline.model.name

    def state() -> tuple[int, set[int]]:
        """The current version, and those that score."""
        ready = {each.version for each in served.versions(name) if each.state == "READY"}
        for version in ready:
            assert served.infer(name, version, np.zeros((1, 3), np.float32), 5.0).shape == (1, 1)
        return served.metadata(name).version, ready

    rollout.run("apply", "-f", rollout.file(2), *SIGNED)
    assert state() == (1, {1, 2})
    assert rollout.run("apply", "-f", rollout.file(2), *SIGNED) == "this policy is published: nothing to do\n"
    (applied,) = rollout.changes

    broken = penstock("rollout", "apply", rollout.reference, "-f", rollout.file(3), *SIGNED)
    assert broken.returncode == 1
    assert "cannot load version 3" in broken.stderr
    assert (state(), rollout.present) == ((1, {1, 2}), applied)

    rollout.run("promote", *SIGNED)
    assert state() == (2, {1, 2})
    listed = json.loads(penstock("model", "list", rollout.reference, "--json").stdout)
    assert [one["version"] for one in listed if "champion" in one["aliases"]] == [2]

    rollout.run("rollback", *SIGNED)
    assert state() == (1, {1, 2})
    assert [change.policy.policy.champion.version for change in rollout.changes] == [1, 2, 1]
    shown = json.loads(rollout.run("show", "--json"))
    assert (shown["present"]["status"], shown["partitions"]) == ("ended", {})
