"""The log of rollouts: it is read as the scorer writes it, and whatever breaks the chain of changes is found."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.kafka.reading import Record
from scoring.rollout.policy_log import Marker as ScorersMarker
from tests.scoring.rollout.naive_log import effective
from tests.verify.rollout_pipeline import canary, exploring, only_champion
from tests.verify.rollout_world import World
from verify.findings import Findings
from verify.rollout_log import Marker, Placed, RolloutLog, read_log


def world() -> World:
    """A canary at its second step, taken up on one partition, which one scorer could not follow."""
    found = World(seed=1, events=1)
    found.publish(canary(exploring("card7")))
    second = found.publish(canary(exploring("card7")), author="controller", step=1)
    found.mark(0, 3, second.hash)
    found.refuse(second.hash)
    return found


def read(found: World, pipeline: str = "taps") -> tuple[RolloutLog, list[str]]:
    findings = Findings()
    log = read_log(pipeline, found.log, found.latest, findings)
    assert findings.mismatches == len(findings.examples)
    return log, findings.examples


def rewrite(found: World, at: int, **changes: Any) -> None:
    """Change an entry of the log, also where it is the latest change."""
    before, value = found.log[at].value, json.loads(found.log[at].value or b"") | changes
    found.log[at] = dataclasses.replace(found.log[at], value=json.dumps(value).encode())
    found.latest = [dataclasses.replace(r, value=found.log[at].value) if r.value == before else r for r in found.latest]


def test_the_log_is_read_as_the_scorer_writes_it() -> None:
    found = world()
    log, wrong = read(found)
    assert wrong == []
    assert [change.policy.hash for change in log.changes] == [change.policy.hash for change in found.changes]
    assert [marker.first_offset for _, marker in log.markers] == [3]
    assert [refusal.instance for refusal in log.refusals] == ["scorer-1"]
    assert log.policies.keys() == {change.policy.version for change in found.changes}


def test_an_empty_log_is_no_rollout() -> None:
    log, wrong = read(World(seed=1, events=1))
    assert (log.changes, log.markers, log.refusals, wrong) == ([], [], [], [])


@pytest.mark.parametrize(
    ("at", "changes", "said"),
    [
        (0, {"author": " "}, "nobody says who"),
        (0, {"reason": ""}, "nobody says who"),
        (1, {"evidence": {}}, "without evidence"),
        (0, {"previous": "0" * 64}, "the policy before is 000000000000, should be None"),
        (1, {"previous": None}, "the policy before is None"),
        (1, {"step": 0}, "should be 0"),
        (1, {"format": 2}, "is no entry of a rollout log: change.format"),
        (1, {"note": "x"}, "is no entry of a rollout log: change.note"),
        (2, {"policy": "0" * 64}, "a marker names policy 000000000000, which was not published before"),
        (3, {"policy": "0" * 64}, "a refusal names policy 000000000000, which was not published before"),
        (2, {"first_offset": "3"}, "is no entry of a rollout log: marker.first_offset"),
    ],
)
def test_every_wrong_entry_is_found(at: int, changes: dict[str, Any], said: str) -> None:
    found = world()
    rewrite(found, at, **changes)
    assert said in " ".join(read(found)[1])


def test_a_policy_of_another_pipeline_is_found() -> None:
    assert "the policy is of pipeline taps" in " ".join(read(world(), "others")[1])


def test_a_policy_that_moves_entities_needlessly_is_found() -> None:
    found = world()
    found.publish(canary(exploring("card7")), author="controller", step=1)
    policy = json.loads(found.log[1].value or b"")["policy"]
    other_end = [{"arm": "first", "start": 0, "end": 7_000}, {"arm": "second", "start": 7_000, "end": 10_000}]
    rewrite(found, 1, policy=policy | {"ranges": other_end})
    wrong = read(found)[1]
    assert any("arm second gives up parts and takes others" in one for one in wrong), wrong


def test_a_controller_may_publish_the_same_policy_again() -> None:
    found = world()
    found.publish(canary(exploring("card7")), author="controller", step=1, status="paused")
    assert read(found)[1] == []


@pytest.mark.parametrize("of", [b"others", None])
def test_a_policy_under_another_key_is_found(of: bytes | None) -> None:
    found = world()
    found.latest[-1] = dataclasses.replace(found.latest[-1], key=of)
    wrong = read(found)[1]
    assert "rollout[0]@1: its key is not the pipeline's name" in wrong
    assert any(one.startswith("rollout: its last record is") for one in wrong)


def test_scorers_that_were_told_something_else_than_the_log_says_are_found() -> None:
    found = world()
    del found.latest[-1]
    assert len(read(found)[1]) == 1
    found = world()
    found.latest.append(Record(0, 2, 0, b"taps", found.log[2].value, ()))
    assert len(read(found)[1]) == 1
    found = world()
    found.log.clear()
    assert len(read(found)[1]) == 1


def test_what_compaction_leaves_is_enough() -> None:
    found = world()
    del found.latest[0]
    assert read(found)[1] == []


def test_a_rollback_keeps_the_chain() -> None:
    found = world()
    found.publish(only_champion(), author="controller", status="ended")
    assert read(found)[1] == []


@settings(max_examples=200, deadline=None)
@given(
    markers=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 9), st.sampled_from("abc")), max_size=12),
    partition=st.integers(0, 2),
    offset=st.integers(0, 10),
)
def test_the_policy_of_an_offset_is_that_of_the_last_marker_before_it(
    markers: list[tuple[int, int, str]], partition: int, offset: int
) -> None:
    own = [
        Placed(str(n), Marker(format=1, kind="marker", partition=p, first_offset=first, policy=name * 64))
        for n, (p, first, name) in enumerate(markers)
    ]
    theirs = [ScorersMarker(partition=p, first_offset=first, policy=name * 64) for p, first, name in markers]
    expected = effective(theirs, partition, offset)
    assert RolloutLog(markers=own).effective(partition, offset) == (expected and expected[:12])
