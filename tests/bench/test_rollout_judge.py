"""Simulated rollouts of good candidates go on, and those of bad ones are stopped.

The quick form of ``python -m tests.bench.rollout_judge``; docs/concepts/rollout-guardrails.md has its figures.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest

from tests.bench import rollout_judge
from tests.bench.rollout_judge import (
    ALL_STEPS,
    BAD,
    GOOD,
    ONLY_USERS,
    Candidate,
    Outcome,
    Simulation,
    main,
    noisy,
    steps,
    summary,
    worse_noise,
)

# Which guardrail stops what, where it begins in shadow and where it serves at once.
STOPPED_BY = {
    "crashes on load": ("refusal", "refusal"),
    "slow, beyond the deadline": ("errors", "errors"),
    "slow, 3 times the champion": (None, "latency"),
    "NaN for all": ("errors", "errors"),
    "NaN for 5 %": ("errors", "errors"),
    "inverted scores": ("decision_rate", "decision_rate"),
    "constant score": ("scores", "scores"),
    "10 times the decisions": ("decision_rate", "decision_rate"),
    "biased against one group": (None, "fairness"),
    "25 % worse": ("quality", None),
}


@cache
def five_percent() -> Candidate:
    return Candidate(noisy(worse_noise(0.05)))


@pytest.mark.parametrize("seed", range(20))
def test_a_good_candidate_is_not_stopped(seed: int) -> None:
    weights = ALL_STEPS if seed % 2 else ONLY_USERS
    assert Simulation(GOOD, steps(*weights), seed).run(360).verdict == "open"


def test_a_good_candidate_is_promoted() -> None:
    outcome = Simulation(GOOD, steps(*ALL_STEPS), 1).run()
    assert (outcome.verdict, outcome.step) == ("promoted", 3)


@pytest.mark.parametrize(("name", "by"), [(name, by) for name, (by, _) in STOPPED_BY.items() if by])
def test_a_bad_candidate_is_stopped_in_shadow(name: str, by: str) -> None:
    outcome = Simulation(BAD[name], steps(*ALL_STEPS), 1, look_s=10).run(600)
    assert (outcome.verdict, outcome.step, outcome.users) == ("rolled back", 0, 0)
    assert by in outcome.by


@pytest.mark.parametrize(("name", "by"), [(name, by) for name, (_, by) in STOPPED_BY.items() if by])
def test_a_bad_candidate_is_stopped_where_it_serves(name: str, by: str) -> None:
    outcome = Simulation(BAD[name], steps(*ONLY_USERS), 1, look_s=120 if by == "latency" else 20).run(6_000)
    assert (outcome.verdict, outcome.step) == ("rolled back", 0)
    assert by in outcome.by


@pytest.mark.parametrize("seed", range(3))
def test_a_candidate_that_is_five_percent_worse_is_never_promoted(seed: int) -> None:
    outcome = Simulation(five_percent(), steps(*ALL_STEPS, most_s=1_800), seed, look_s=300).run()
    assert outcome.verdict in ("paused", "rolled back")
    assert "quality" in outcome.by


def test_a_summary_counts_how_rollouts_ended() -> None:
    outcomes = [Outcome("promoted", 3, (), 9, 5, 7), Outcome("rolled back", 0, ("errors", "scores"), 5, 1, 3)]
    found = summary("good", "shadow", outcomes)
    assert found.verdicts == {"promoted": 1, "rolled back": 1}
    assert found.by == {"errors": 1, "scores": 1}
    assert (found.median_events, found.median_users, found.median_seconds) == (7, 3, 5)


def test_what_is_printed_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Simulation, "run", lambda _: Outcome("rolled back", 0, ("errors",), 5, 1, 3))
    monkeypatch.setattr(rollout_judge, "worse_noise", lambda _: 0.5)
    assert main(["--good", "2", "--bad", "1", "--out", str(tmp_path / "found.json")]) == 0
    written = json.loads((tmp_path / "found.json").read_text())
    assert written["good_stopped"] == 2
    assert len(written["rollouts"]) == 2 * len(BAD) + 2
    assert "2 of 2 good ones were stopped" in capsys.readouterr().out
