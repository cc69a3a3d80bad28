"""What parts wait for."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from penstock.errors import PenstockError
from penstock.running import needs as module
from penstock.running.needs import WatchedNeeds, missing_answers
from penstock.settings import Settings
from scoring.servers.protocol import ModelServerUnavailable, VersionState
from streams.definitions.monitors import DataQuality
from streams.drift.data_quality.quality_store import Kept
from tests.loop.taps import define


def look(tmp_path: Path) -> WatchedNeeds:
    found = WatchedNeeds(define(tmp_path), Settings(model_repository=tmp_path / "models"), {"model", "policy"})
    found._look()
    return found


def test_without_a_model_the_next_commands_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "read_followed", lambda *_: None)
    missing = look(tmp_path)("model")
    assert missing is not None
    assert missing.what == "model taps_x has no version yet"
    assert "penstock backfill run" in (missing.next or "")
    policy = look(tmp_path)("policy")
    assert policy is not None
    assert "penstock rollout apply" in (policy.next or "")


def test_with_a_model_and_a_policy_nothing_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models" / "taps_x" / "1").mkdir(parents=True)
    monkeypatch.setattr(module, "read_followed", lambda *_: "a policy")
    found = look(tmp_path)
    assert (found("model"), found("policy")) == (None, None)


class Server:
    """A model server with these states of the model's versions; None if it does not answer."""

    name = "Triton"

    def __init__(self, states: list[str] | None) -> None:
        self._states, self.is_closed = states, False

    def versions(self, _model: str) -> list[VersionState]:
        if self._states is None:
            raise ModelServerUnavailable("Triton does not answer")
        return [VersionState(number, state, "") for number, state in enumerate(self._states, 1)]

    def close(self) -> None:
        self.is_closed = True


@pytest.mark.parametrize(
    ("states", "what"),
    [
        ([], "model taps_x is not loaded in Triton"),
        (["UNAVAILABLE", "LOADING"], "model taps_x is not loaded in Triton"),
        (["UNAVAILABLE", "READY"], None),
        (None, None),  # the scorer can start without it, and its copy of the model scores
    ],
)
def test_a_scorer_waits_until_the_model_server_has_loaded_a_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, states: list[str] | None, what: str | None
) -> None:
    server = Server(states)
    monkeypatch.setattr(module, "open_server", lambda *_: server)
    project = define(tmp_path)
    found = WatchedNeeds(project, Settings(model_repository=tmp_path / "models"), {"model", "loaded model"})
    found._look()
    assert found("loaded model") == found("model") is not None  # no version yet
    (tmp_path / "models" / "taps_x" / "1").mkdir(parents=True)
    found._look()
    missing = found("loaded model")
    assert (missing and missing.what, found("model"), server.is_closed) == (what, None, True)
    assert missing is None or f"penstock model load {project.reference}" in (missing.next or "")


@pytest.mark.parametrize(
    ("states", "has_version", "what"),
    [
        ([], False, "has no version yet"),
        ([], True, "is not loaded in Triton"),
        (["READY"], False, None),  # nor need this process see the repository
        (None, False, None),
    ],
)
def test_no_model_answers_if_the_model_server_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, states: list[str] | None, has_version: bool, what: str | None
) -> None:
    monkeypatch.setattr(module, "open_server", lambda *_: Server(states))
    if has_version:
        (tmp_path / "models" / "taps_x" / "1").mkdir(parents=True)
    missing = missing_answers(define(tmp_path), Settings(model_repository=tmp_path / "models"))
    assert (missing and missing.what) == (what and f"model taps_x {what}")


def test_grpc_learns_that_it_need_not_care_about_forks_before_it_is_imported() -> None:
    code = """
import importlib.abc, os, sys

class Watch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "grpc":
            print(os.environ.get("GRPC_ENABLE_FORK_SUPPORT"))

sys.meta_path.insert(0, Watch())
import penstock.commands.running.run
"""
    environment = {name: value for name, value in os.environ.items() if name != "GRPC_ENABLE_FORK_SUPPORT"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == "0\n"


def test_what_cannot_be_looked_for_is_missing_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise PenstockError("Kafka cannot be reached", next="penstock up")

    monkeypatch.setattr(module, "read_followed", fail)
    assert look(tmp_path)("policy") == ("Kafka cannot be reached", "penstock up")


def test_without_a_profile_of_raw_events_the_next_command_is_named_and_one_that_was_found_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = [Kept(None, None, {}), Kept(SimpleNamespace(window=1, false_alarm_every=2), None, {})]  # type: ignore[arg-type]
    monkeypatch.setattr(module, "read_kept", lambda *_: kept.pop(0))
    project = define(tmp_path)
    assert project.pipeline.monitors is not None
    update = {"data_quality": DataQuality(), "window": 1, "false_alarm_every": 2}
    monitors = project.pipeline.monitors.model_copy(update=update)
    pipeline = project.pipeline.model_copy(update={"monitors": monitors})
    found = WatchedNeeds(replace(project, pipeline=pipeline), Settings(), {"profile"})
    found._look()
    missing = found("profile")
    assert missing is not None
    assert missing.next == f"penstock data-quality profile {project.reference}"
    for _ in range(2):  # nothing is read the third time
        found._look()
        assert found("profile") is None
