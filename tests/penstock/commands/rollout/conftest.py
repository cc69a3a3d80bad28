"""A pipeline with four versions of its model, a server that loads them, and a log in memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from penstock.cli import cli
from penstock.commands.rollout import changing
from penstock.settings import Settings
from scoring.repository import ModelRepository
from scoring.rollout.policy import RolloutPolicy
from scoring.rollout.policy_log import Marker, PolicyChange
from scoring.trained_model import TrainedModel
from tests.penstock.commands.rollout.fake_log import FakeLog
from tests.scoring.fake_server import LoadingServer
from tests.scoring.scorer_bench import define, manifest_of, onnx_bytes

CANARY: dict[str, Any] = {
    "pipeline": "taps_rollout",
    "mode": "canary",
    "salt": "taps/1",
    "arms": [{"name": "present", "version": 1, "role": "champion"}, {"name": "other", "version": 2}],
    "shadow": [3],
    "steps": [
        {"weight": 0, "least_events": 10, "least_time": "1m", "most_time": "1h"},
        {"weight": 0.05, "least_events": 10, "least_time": "1m", "most_time": "1h"},
    ],
}
ALONE: dict[str, Any] = CANARY | {"mode": "shadow", "arms": CANARY["arms"][:1], "shadow": [], "steps": []}
SIGNED = ("--reason", "a try", "--author", "ada")


class World:
    """The pipeline, and ``penstock rollout`` on it."""

    def __init__(self, folder: Path, log: FakeLog) -> None:
        self.folder, self.log = folder, log
        self.reference, self.pipeline = define(folder, "rollout", partitions=2)
        self.repository = ModelRepository(folder / "models")
        for _ in range(4):
            self.repository.add(self.pipeline.model.name, TrainedModel(onnx_bytes(), None, manifest_of(self.pipeline)))
        self.server = LoadingServer(self.repository)

    def run(self, command: str, *arguments: str) -> Result:
        done = CliRunner().invoke(cli, ["rollout", command, self.reference, *arguments])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done

    def shown(self, command: str, *arguments: str) -> Any:
        return json.loads(self.run(command, *arguments, "--json").output)

    def file(self, **changed: Any) -> str:
        path = self.folder / "rollout.yaml"
        path.write_text(json.dumps(CANARY | changed), encoding="utf-8")
        return str(path)

    def apply(self, *arguments: str, **changed: Any) -> Result:
        return self.run("apply", "-f", self.file(**changed), *SIGNED, *arguments)

    @property
    def present(self) -> PolicyChange:
        assert self.log.present is not None
        return self.log.present

    @property
    def current(self) -> int:
        return self.repository.current(self.pipeline.model.name)

    def taken_up(self, partition: int, first_offset: int) -> None:
        self.log.write(Marker(partition=partition, first_offset=first_offset, policy=self.present.policy.hash))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    log = FakeLog()
    log.install(monkeypatch)
    world = World(tmp_path, log)
    monkeypatch.setenv("PENSTOCK_MODEL_REPOSITORY", str(world.repository.root))
    assert Settings().model_repository == world.repository.root
    silent: Callable[[], None] = lambda: None  # noqa: E731
    monkeypatch.setattr(changing, "configure_logging", silent)
    monkeypatch.setattr(changing, "open_server", lambda *_: world.server)
    return world


def declared(**changed: Any) -> RolloutPolicy:
    return RolloutPolicy.model_validate(CANARY | changed)
