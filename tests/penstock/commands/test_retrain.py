"""What `penstock retrain run` refuses to replace, and what it leaves alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from loop.entries import Closed, Opened
from penstock.commands import retrain
from penstock.commands.exit_codes import ExitCode
from penstock.errors import PenstockError
from tests.loop.test_retraining import PROPOSAL, SIGNAL

OPENED = Opened(incident="inc-1", time_ms=1, signals=(SIGNAL,))


def change(status: str, salt: str) -> Any:
    return SimpleNamespace(
        status=status, policy=SimpleNamespace(version="7", policy=SimpleNamespace(salt=salt, champion=None))
    )


@pytest.mark.parametrize(
    "present", [None, change("ended", "another"), change("running", "ret-1"), change("paused", "ret-1")]
)
def test_a_rollout_begins_where_no_other_one_is_being_tried(present):
    retrain._require_no_other_rollout(present, PROPOSAL)


@pytest.mark.parametrize("status", ["running", "paused"])
def test_a_rollout_replaces_no_other_one_that_is_being_tried(status):
    with pytest.raises(PenstockError, match=f"another rollout is {status}, under policy 7"):
        retrain._require_no_other_rollout(change(status, "another"), PROPOSAL)


def test_a_proposal_whose_incident_was_closed_is_not_carried_out(monkeypatch):
    log = [OPENED, PROPOSAL, Closed(incident="inc-1", time_ms=2, author="ada", reason="mended")]
    monkeypatch.setattr(retrain, "read_entries", lambda *_: log)
    monkeypatch.setattr(retrain, "open_project", lambda _: SimpleNamespace(pipeline=None))
    result = CliRunner().invoke(retrain.retrain, ["run", "fraud", "--proposal", "ret-1"])
    assert result.exit_code == ExitCode.NOTHING_TO_DO, result.output
    assert result.output == "inc-1 was closed: nothing to do\n"
