"""What parts wait for."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.errors import PenstockError
from penstock.running import needs as module
from penstock.running.needs import WatchedNeeds
from penstock.settings import Settings
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


def test_what_cannot_be_looked_for_is_missing_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise PenstockError("Kafka cannot be reached", next="penstock up")

    monkeypatch.setattr(module, "read_followed", fail)
    assert look(tmp_path)("policy") == ("Kafka cannot be reached", "penstock up")
