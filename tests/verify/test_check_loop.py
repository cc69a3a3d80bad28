"""The check of the log of incidents: what a log may claim, and what it may not."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from penstock.kafka.reading import Record
from schemas.codec import Encoder
from schemas.records import DRIFT_SCHEMA
from verify.check_loop import LoopFindings, check_loop
from verify.rollout_log import Change
from verify.rollout_policies import Arm, Declared, Policy

Log = list[dict[str, Any]]
ALERTED_MS, PROMOTED_MS = 1_000_000, 1_061_000


def alert(name: str) -> Record:
    content = {
        "alert_id": name,
        "pipeline": "taps",
        "monitor": "event.amount",
        "detector": "psi",
        "statistic": 1.0,
        "threshold": 0.2,
        "reference": 3.0,
        "current": 300.0,
        "event_time": 5,
        "topic": "features.taps",
        "partition": 0,
        "offset": 7,
        "model": "taps",
        "model_version": "1",
        "message": "moved",
    }
    return Record(0, 0, ALERTED_MS, None, Encoder(DRIFT_SCHEMA).encode(content), ())


def signal(name: str) -> dict[str, Any]:
    return {"id": name, "what": "w", "text": "t", "event_time_ms": 5, "place": "p", "model_version": "1"}


def log() -> Log:
    of = {"incident": "inc-1", "time_ms": 1}
    proposed = {"proposal": "ret-1", "cause": "concept-drift", "action": "retrain", "from_ms": 1, "to_ms": 2}
    done = {"proposal": "ret-1", "outcome": "done", "detail": ""}
    return [
        {**of, "kind": "opened", "signals": [signal("a")]},
        {**of, "kind": "joined", "signals": [signal("b")]},
        {**of, "kind": "diagnosed", "cause": "concept-drift", "action": "retrain", "why": []},
        {**of, "kind": "proposed", **proposed, "model_version": "1"},
        *({**of, "kind": "stepped", "step": step, **done} for step in ("backfill", "training", "gates", "rollout")),
    ]


def change(salt: str, arms: dict[int, Any], time_ms: int) -> Change:
    policy = Policy(
        policy=Declared(
            pipeline="taps",
            mode="canary",
            salt=salt,
            arms=tuple(Arm(name=f"v{version}", version=version, role=role) for version, role in arms.items()),
        ),
        ranges=(),
    )
    return Change(
        format=1,
        kind="change",
        policy=policy,
        author="controller",
        reason="",
        evidence={},
        previous=None,
        time_ms=time_ms,
        step=0,
        status="running",
    )


CHANGES = [
    change("ret-1", {1: "champion", 2: "candidate"}, 1_050_000),
    change("ret-1", {2: "champion"}, PROMOTED_MS),
]


def check(entries: Log, changes: list[Change] | None = None) -> LoopFindings:
    records = [Record(0, n, 0, None, json.dumps(entry).encode(), ()) for n, entry in enumerate(entries)]
    return check_loop("incidents.taps", records, [alert("a"), alert("b")], CHANGES if changes is None else changes)


def test_a_true_log_holds_and_says_what_was_retrained_and_how_long_it_took():
    found = check(log())
    assert (found.mismatches, found.examples) == (0, [])
    assert (found.incidents, dict(found.causes)) == (1, {"concept-drift": 1})
    assert (found.replaced, found.retrained, found.seconds) == (1, 2, 61.0)


def test_a_version_that_was_rolled_back_is_no_recovery():
    found = check(log(), [CHANGES[0], change("ret-1", {1: "champion"}, PROMOTED_MS)])
    assert (found.retrained, found.seconds) == (None, None)


def edited(number: int, **fields: Any) -> Callable[[Log], Log]:
    return lambda entries: [entry | fields if n == number else entry for n, entry in enumerate(entries)]


def without(number: int) -> Callable[[Log], Log]:
    return lambda entries: [entry for n, entry in enumerate(entries) if n != number]


@pytest.mark.parametrize(
    ("mutate", "says"),
    [
        (edited(1, signals=[signal("c")]), "the alert c, which was not published"),
        (without(0), "which was not opened"),
        (edited(2, cause="upstream-fault"), "because of concept-drift, and the incident of upstream-fault"),
        (edited(3, cause="upstream-fault"), "because of upstream-fault, and the incident of concept-drift"),
        (edited(3, action="prepare"), "proposes to prepare because of concept-drift"),
        (without(6), "ret-1 was rolled out, and has not passed the gates"),
        (edited(6, outcome="refused"), "ret-1 was rolled out, and has not passed the gates"),
        (edited(2, cause=None, kind=None), "because of concept-drift, and the incident of unknown"),
        (
            lambda entries: [*entries, {**entries[0], "incident": "inc-2"}],
            "incidents inc-1 and inc-2 both have the alert a",
        ),
        (edited(0, signals=3), "is no entry"),
    ],
)
def test_each_false_claim_is_found(mutate: Callable[[Log], Log], says: str) -> None:
    found = check(mutate(log()))
    assert found.mismatches
    assert says in " ".join(found.examples)


def test_a_rollout_that_is_told_and_never_was_is_found():
    assert "no policy has tried it" in " ".join(check(log(), []).examples)


def test_a_training_that_a_schedule_proposed_is_no_incident_and_needs_no_alert():
    entries = log()
    entries[0]["signals"], entries[1]["signals"] = [signal("proposed:1")], []
    del entries[2]
    entries[2]["cause"] = "scheduled"
    found = check(entries)
    assert (found.mismatches, found.incidents, found.retrained, found.seconds) == (0, 0, 2, None)
