"""What `penstock retrain run` refuses to replace, and what it leaves alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from loop.entries import Closed, Opened, Stepped
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


def stepped(outcome: str, detail: str = "version 2", time_ms: int = 3) -> Any:
    return Stepped(incident="inc-1", time_ms=time_ms, proposal="ret-1", step="gates", outcome=outcome, detail=detail)  # type: ignore[arg-type]


def test_what_gates_could_not_tell_is_chosen_if_no_other_proposal_is_open():
    other = PROPOSAL.model_copy(update={"incident": "inc-2", "proposal": "ret-2"})
    log = [OPENED, PROPOSAL, stepped("undecided")]
    assert retrain._choose(log, None, ["concept-drift"]) == PROPOSAL
    assert retrain._choose([*log, OPENED.model_copy(update={"incident": "inc-2"}), other], None, [other.cause]) == other


@pytest.mark.parametrize(
    ("log", "is_told"),
    [
        ([], False),
        ([stepped("undecided", time_ms=1)], True),
        ([stepped("undecided"), stepped("failed")], False),
        ([stepped("undecided", "version 3")], False),
    ],
)
def test_a_step_is_told_unless_it_is_the_last_that_was_told(log, is_told):
    assert retrain._is_told(log, stepped("undecided")) == is_told
    assert not retrain._is_told([stepped("failed")], stepped("failed"))


def test_a_period_without_events_is_not_proposed(monkeypatch):
    def refuse(_project: object, _settings: object, request: Any) -> None:
        raise PenstockError(f"no event from {request.from_ms} to {request.to_ms} in {request.archive}")

    monkeypatch.setattr(retrain, "open_project", lambda _: SimpleNamespace(pipeline=None))
    monkeypatch.setattr(retrain, "plan_backfill", refuse)
    monkeypatch.setattr(retrain, "_champion", lambda *_: 1)
    monkeypatch.setattr(retrain, "extend", lambda _kafka, _pipeline, decide: decide([]))
    period = ["--from", "2026-06-01", "--to", "2026-07-01", "--source", "files", "--reason", "monthly"]
    result = CliRunner().invoke(retrain.retrain, ["propose", "fraud", *period])
    assert str(result.exception) == "no event from 1780272000000 to 1782864000000 in files"
