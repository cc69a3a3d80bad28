"""``penstock rollout touched | rescore`` on real Kafka and Triton: exactly what the bad version scored, once."""

from __future__ import annotations

import json
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Message

from penstock.settings import Settings
from schemas.history import record_decoder
from scoring.rollout.policy import PublishedPolicy
from scoring.rollout.policy_store import read_policy
from tests.integration.test_rollout_scoring import (
    ManyEntities,
    apply,
    arm_of,
    canary,
    markers_of,
    score_of,
    three_versions,
    wait_until_followed,
)
from tests.integration.test_scoring import EAGER
from tests.scoring.rollout.naive_log import effective
from tests.scoring.scorer_bench import feeding, penstock

# Where one command after the other is killed: a point, and in which of its transactions. Each partition takes one
# transaction; the last command finds nothing left to do.
KILLS = (("before_commit", "1"), ("after_commit", "1"), ("before_commit", "2"), ("after_commit", "1"))


@pytest.fixture
def bench(settings: Settings, suffix: str, tmp_path: Path) -> Iterator[ManyEntities]:
    with three_versions(settings, suffix, tmp_path) as bench:
        yield bench


def rollout(
    bench: ManyEntities, command: str, *options: str, crash: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """``penstock rollout`` as a process, which may kill itself at a point of its n-th transaction."""
    return penstock("rollout", command, bench.reference, *options, crash=crash)


def said(bench: ManyEntities, command: str, *options: str, exits: int = 0) -> str:
    done = rollout(bench, command, *options)
    assert done.returncode == exits, done.stderr
    return done.stdout


def roll_back_a_bad_version(bench: ManyEntities) -> list[PublishedPolicy]:
    """Version 2 scores in shadow, then 20 and 50 % of the entities, and is rolled back; returns the two policies."""
    policies = []
    with bench.scoring("0", *EAGER), feeding(bench, per_burst=10, pause_s=0.05):
        for weight in (0.0, 0.2, 0.5):
            policies.append(apply(bench, canary(bench), weight))
            wait_until_followed(bench, policies[-1])
        said(bench, "rollback", "--reason", "its scores are inverted", "--author", "ada")
        present = read_policy(bench.settings.kafka.access, bench.pipeline)
        assert present is not None
        wait_until_followed(bench, present.policy)
    with bench.scoring("0", *EAGER):
        bench.feed(60)
        bench.wait_until_drained()
    return policies[1:]


def touched_by_the_log(bench: ManyEntities, bad: list[PublishedPolicy]) -> dict[str, dict[str, Any]]:
    """The predictions of the candidate, by the markers and the ranges of the policies, not by what they say."""
    markers, policies = markers_of(bench), {policy.hash: policy for policy in bad}
    found = {}
    for one in bench.predictions():
        policy = policies.get(effective(markers, one["features_partition"], one["features_offset"]) or "")
        if policy is not None and arm_of(policy, one["entity"]) == "next":
            found[one["event_id"]] = one
    return found


def headers_of(message: Message) -> dict[str, str]:
    return {name: (value or b"").decode() for name, value in message.headers() or []}


def test_what_was_touched_is_what_the_log_says(bench: ManyEntities) -> None:
    bad = roll_back_a_bad_version(bench)
    expected = touched_by_the_log(bench, bad)
    assert len(expected) > 20
    shown = json.loads(said(bench, "touched", "--json"))
    listed = {one["event_id"]: one for one in shown["predictions"]}
    assert len(listed) == len(shown["predictions"])
    assert {
        event: (one["entity"], one["position"], one["score"], one["decision"]) for event, one in listed.items()
    } == {
        event: (
            one["entity"],
            f"{one['features_partition']}@{one['features_offset']}",
            one["score"],
            one["decision"],
        )
        for event, one in expected.items()
    }
    assert shown["policies"] == {policy.hash: ["next"] for policy in bad}
    assert shown["entities"] == len({one["entity"] for one in expected.values()})
    assert shown["decisions"] == Counter(one["decision"] for one in expected.values())
    assert json.loads(said(bench, "touched", "--version", "2", "--json"))["touched"] == len(expected)


def test_killed_between_two_steps_each_touched_prediction_is_corrected_once(bench: ManyEntities) -> None:
    expected = touched_by_the_log(bench, roll_back_a_bad_version(bench))
    topic = bench.pipeline.corrections_topic
    planned = said(bench, "rescore", "--dry-run")
    assert f"{len(expected):,} predictions would be corrected" in planned
    assert bench.messages(topic) == []
    for kill in KILLS:
        crashed = rollout(bench, "rescore", "--reason", "a test", crash=kill)
        assert crashed.returncode == -signal.SIGKILL, (kill, crashed.stderr)
    assert f"0 predictions corrected, 0 with another decision; {len(expected):,} corrected before" in said(
        bench, "rescore", "--reason", "again", exits=99
    )
    decoder, seen, changed = record_decoder("prediction"), set(), 0
    places = {(m.partition(), m.offset()): m for m in bench.messages(bench.pipeline.predictions_topic)}
    for message in bench.messages(topic):
        correction, headers = decoder.decode(message.value()), headers_of(message)
        place = message.partition(), int(headers["penstock.corrects.offset"])
        assert headers["penstock.corrects.topic"] == bench.pipeline.predictions_topic
        assert headers["penstock.corrects.partition"] == str(message.partition())
        before = decoder.decode(places[place].value())
        assert before == expected[correction["event_id"]]
        assert headers["penstock.corrects.decision"] == before["decision"]
        assert headers["penstock.corrects.reason"] == "a test"
        assert (correction["model_version"], correction["rollout"]["arm"]) == ("1", "present")
        assert correction["score"] == pytest.approx(score_of(1, correction["vector"]), abs=1e-5)
        kept = ("entity", "event_time", "views", "source", "features_partition", "features_offset", "vector", "attempt")
        assert {name: correction[name] for name in kept} == {name: before[name] for name in kept}
        changed += correction["decision"] != before["decision"]
        assert place not in seen
        seen.add(place)
    assert len(seen) == len(expected)
    assert f"would be corrected, {changed:,} with another decision" in planned
