"""What a bad version has touched: the arms that a rollback takes back, and where their predictions are."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring.rollout import touched as module
from scoring.rollout.policy import Arm, PublishedPolicy, RolloutPolicy, Step, publish
from scoring.rollout.policy_log import Entry, Logged, Marker, PolicyChange
from scoring.rollout.touched import (
    Choice,
    Summary,
    Window,
    choose,
    latest_rollback,
    of_arm,
    of_policies,
    of_version,
    windows,
)
from scoring.rollout.transitions import By, begun, promoted, rolled_back
from tests.scoring.rollout.naive_log import effective

STEPS = tuple(Step(weight=weight, least_events=1, least_time="1s", most_time="1h") for weight in (0.0, 0.01, 0.05))


def canary(version: int, *, champion: int = 3, salt: str = "fraud/1", **changes: Any) -> RolloutPolicy:
    arms = (
        Arm(name=f"v{champion}", version=champion, role="champion"),
        Arm(name=f"v{version}", version=version),
    )
    fields = {"pipeline": "fraud", "mode": "canary", "salt": salt, "arms": arms, "steps": STEPS}
    return RolloutPolicy(**fields | changes)


def alone(version: int, salt: str = "fraud/1") -> RolloutPolicy:
    arms = (Arm(name=f"v{version}", version=version, role="champion"),)
    return RolloutPolicy(pipeline="fraud", mode="shadow", salt=salt, arms=arms)


class Log:
    """A log that is written as the commands and the controller do."""

    def __init__(self) -> None:
        self.entries: list[Logged] = []

    def __iter__(self) -> Iterator[Logged]:
        return iter(self.entries)

    @property
    def changes(self) -> list[PolicyChange]:
        return [logged.entry for logged in self if isinstance(logged.entry, PolicyChange)]

    @property
    def present(self) -> PolicyChange:
        return self.changes[-1]

    def put(self, entry: Entry) -> None:
        at = len(self.entries)
        self.entries.append(Logged(at, 1_000 + at, entry))

    def begin(self, policy: RolloutPolicy) -> PublishedPolicy:
        change = begun(policy, self.changes[-1] if self.changes else None, self.by)
        assert change is not None
        self.put(change)
        return change.policy

    def step(self, weight: float) -> PublishedPolicy:
        """As the controller moves a canary on."""
        present = self.present
        declared = present.policy.policy
        weights = {declared.champion.name: round(1 - weight, 4), declared.candidates[0].name: weight}
        self.put(present.model_copy(update={"policy": publish(declared, present.policy, weights)}))
        return self.present.policy

    def promote(self) -> PublishedPolicy:
        self.put(promoted(self.present, self.by))
        return self.present.policy

    def roll_back(self) -> PublishedPolicy:
        change = rolled_back(self.present, self.by, self.changes)
        assert change is not None
        self.put(change)
        return change.policy

    def mark(self, policy: PublishedPolicy, partition: int, first_offset: int) -> None:
        self.put(Marker(partition=partition, first_offset=first_offset, policy=policy.hash))

    @property
    def by(self) -> By:
        return By("ada", "a reason", 1_772_323_200_000 + len(self.entries))


@pytest.fixture
def log() -> Log:
    return Log()


def arms_of(choice: Choice | None) -> dict[str, set[str]]:
    assert choice is not None
    return {policy: set(names) for policy, names in choice.arms.items()}


def test_without_a_rollback_nothing_was_taken_back(log: Log) -> None:
    assert latest_rollback(log) is None
    log.begin(alone(3))
    log.begin(canary(4))
    log.step(0.05)
    log.promote()
    assert latest_rollback(log) is None


def test_a_rollback_takes_back_the_candidate_from_its_first_weight_on(log: Log) -> None:
    log.begin(canary(4))
    policies = [log.step(weight) for weight in (0.01, 0.05)]
    log.roll_back()
    found = latest_rollback(log)
    assert arms_of(found) == {policy.hash: {"v4"} for policy in policies}
    assert found is not None
    assert (found.versions, found.since, found.until) == ({4}, 1, None)
    assert found.title == "version 4, rolled back 2026-03-01 00:00:00 UTC by ada: a reason"


def test_a_candidate_that_only_scored_in_shadow_touched_nothing(log: Log) -> None:
    log.begin(canary(4))
    log.roll_back()
    assert arms_of(latest_rollback(log)) == {}


def test_of_two_rollbacks_the_latest_counts(log: Log) -> None:
    log.begin(canary(4))
    log.step(0.05)
    log.roll_back()
    log.begin(canary(5))
    fifth = log.step(0.05)
    log.roll_back()
    assert arms_of(latest_rollback(log)) == {fifth.hash: {"v5"}}


def test_a_policy_that_paused_and_went_on_is_one(log: Log) -> None:
    log.begin(canary(4))
    policy = log.step(0.05)
    log.put(log.present.model_copy(update={"status": "paused"}))
    log.roll_back()
    assert arms_of(latest_rollback(log)) == {policy.hash: {"v4"}}


def test_a_promotion_that_is_taken_back_was_bad_since_the_candidates_first_weight(log: Log) -> None:
    log.begin(canary(4))
    policies = [log.step(0.05), log.promote()]
    assert log.roll_back().policy.champion.version == 3
    assert arms_of(latest_rollback(log)) == {policy.hash: {"v4"} for policy in policies}


def test_a_champion_that_is_taken_back_was_bad_under_every_salt(log: Log) -> None:
    log.begin(alone(3))
    log.begin(canary(4))
    before = [log.step(0.05), log.promote()]
    log.begin(canary(5, champion=4, salt="fraud/2"))
    later = [log.present.policy, log.step(0.05), log.roll_back()]
    assert arms_of(latest_rollback(log)) == {later[1].hash: {"v5"}}
    log.begin(alone(3, salt="fraud/2"))
    found = latest_rollback(log)
    assert arms_of(found) == {policy.hash: {"v4"} for policy in (*before, *later)}
    assert found is not None
    assert found.versions == {4}


def test_a_file_with_an_earlier_champion_is_a_rollback_and_one_with_a_new_champion_is_none(log: Log) -> None:
    log.begin(alone(3))
    bad = log.begin(alone(4))
    assert latest_rollback(log) is None
    log.begin(alone(3, salt="fraud/2"))
    assert arms_of(latest_rollback(log)) == {bad.hash: {"v4"}}


def test_an_equal_version_as_candidate_takes_nothing_of_the_champion_back(log: Log) -> None:
    arms = (Arm(name="a", version=3, role="champion"), Arm(name="b", version=3))
    log.begin(canary(4, arms=arms))
    log.step(0.05)
    log.roll_back()
    assert arms_of(latest_rollback(log)) == {}


def test_a_version_is_found_in_every_role_that_it_had(log: Log) -> None:
    log.begin(canary(4))
    policies = [log.step(0.05), log.promote()]
    found = choose(log, of_version(4), "version 4")
    assert arms_of(found) == {policy.hash: {"v4"} for policy in policies}
    assert found.versions == {4}
    assert choose(log, of_arm("v4"), "arm v4").arms == found.arms
    assert choose(log, of_version(9), "version 9").arms == {}


def test_of_a_policy_the_candidates_are_chosen_or_else_the_champion(log: Log) -> None:
    log.begin(canary(4))
    tried, after = log.step(0.05), log.roll_back()
    found = choose(log, of_policies([tried.hash, after.version]), "two")
    assert arms_of(found) == {tried.hash: {"v4"}, after.hash: {"v3"}}
    assert choose(log, of_policies([]), "none").arms == {}


def test_a_window_begins_with_the_first_marker_and_ends_with_that_of_another_policy(log: Log) -> None:
    first = log.begin(canary(4))
    log.mark(first, 0, 0)
    log.mark(first, 1, 0)
    tried = log.step(0.01)
    log.mark(tried, 0, 10)
    wider = log.step(0.05)
    log.mark(wider, 0, 20)
    log.mark(wider, 1, 25)
    log.mark(log.roll_back(), 0, 30)
    choice = latest_rollback(log)
    assert choice is not None
    assert windows(log, choice) == [Window(0, 10, 1_004, 30), Window(1, 25, 1_007, None)]


def test_a_policy_of_an_earlier_rollout_with_the_same_hash_has_no_window(log: Log) -> None:
    log.begin(alone(3))
    offsets = itertools.count(0, 10)
    policies = []
    for _ in range(3):
        log.begin(canary(4))
        policies.append(log.step(0.05))
        log.mark(policies[-1], 0, next(offsets))
        log.mark(log.roll_back(), 0, next(offsets))
    assert len({policy.hash for policy in policies}) == 1
    latest = latest_rollback(log)
    assert latest is not None
    assert [window[1::2] for window in windows(log, latest)] == [(40, 50)]
    every = choose(log, of_version(4), "version 4")
    assert [window[1::2] for window in windows(log, every)] == [(0, 10), (20, 30), (40, 50)]


def test_a_policy_that_is_tried_again_after_the_rollback_has_no_window(log: Log) -> None:
    log.begin(canary(4))
    log.mark(log.step(0.05), 0, 10)
    log.mark(log.roll_back(), 0, 20)
    log.begin(canary(4))
    again = log.step(0.05)
    log.mark(again, 0, 30)
    choice = latest_rollback(log)
    assert choice is not None
    assert choice.until is not None
    assert [window[1::2] for window in windows(log, choice)] == [(10, 20)]


def test_a_marker_that_comes_after_the_rollback_in_the_log_counts(log: Log) -> None:
    log.begin(canary(4))
    tried = log.step(0.05)
    back = log.roll_back()
    log.mark(tried, 0, 10)
    log.mark(back, 0, 20)
    choice = latest_rollback(log)
    assert choice is not None
    assert [window[1::2] for window in windows(log, choice)] == [(10, 20)]


def test_a_scorer_that_was_set_back_widens_the_window(log: Log) -> None:
    log.begin(canary(4))
    tried = log.step(0.05)
    for offset in (20, 10, 30):
        log.mark(tried, 0, offset)
    log.mark(log.roll_back(), 0, 40)
    choice = latest_rollback(log)
    assert choice is not None
    assert [window[1::2] for window in windows(log, choice)] == [(10, 40)]


def prediction(policy: str, arm: str, offset: int, **changes: Any) -> dict[str, Any]:
    rollout = {"policy": policy[:12], "arm": arm, "explored": False}
    fields = {"features_partition": 0, "features_offset": offset, "scored_at": 5_000, "rollout": rollout}
    return fields | {"entity": "card-1", "decision": "block", "model_version": "4"} | changes


HASHES = [letter * 64 for letter in "abc"]
CHOICE = Choice("version 4", frozenset({4}), {HASHES[0]: frozenset({"v4"})})
WINDOW = Window(0, 10, 4_000, 30)


@pytest.mark.parametrize(
    ("says", "is_touched"),
    [
        (prediction(HASHES[0], "v4", 10), True),
        (prediction(HASHES[0], "v4", 9), False),
        (prediction(HASHES[0], "v3", 10), False),
        (prediction(HASHES[1], "v4", 10), False),
        (prediction(HASHES[0], "v4", 10, rollout=None), False),
    ],
)
def test_a_prediction_is_touched_if_an_arm_scored_it_in_the_window(says: dict[str, Any], is_touched: bool) -> None:
    assert WINDOW.has(CHOICE, says, replayed=False) == is_touched


@pytest.mark.parametrize(("scored_at", "is_touched"), [(4_000, True), (3_999, False)])
def test_a_replay_is_touched_by_when_it_was_scored(scored_at: int, is_touched: bool) -> None:
    says = prediction(HASHES[0], "v4", 2, scored_at=scored_at)
    assert WINDOW.has(CHOICE, says, replayed=True) == is_touched


@pytest.mark.parametrize(
    ("says", "replayed", "is_over"),
    [
        (prediction(HASHES[1], "v4", 30), False, True),
        (prediction(HASHES[1], "v4", 30, rollout=None), False, True),
        (prediction(HASHES[1], "v4", 29), False, False),
        (prediction(HASHES[0], "v3", 30), False, False),
        (prediction(HASHES[1], "v4", 30), True, False),
    ],
)
def test_a_window_is_over_at_the_first_prediction_under_another_policy(
    says: dict[str, Any], replayed: bool, is_over: bool
) -> None:
    assert WINDOW.is_over(CHOICE, says, replayed=replayed) == is_over
    assert not WINDOW._replace(end_offset=None).is_over(CHOICE, says, replayed=replayed)


@given(
    scored=st.lists(st.tuples(st.integers(0, 1), st.sampled_from(HASHES), st.integers(1, 5)), max_size=12),
    arms=st.lists(st.sampled_from(["v3", "v4"]), min_size=60, max_size=60),
)
def test_the_predictions_of_the_windows_are_those_that_the_log_says(
    scored: list[tuple[int, str, int]], arms: list[str]
) -> None:
    """Scorers that take policies up, one after the other: a marker where a policy differs from the one before."""
    entries: list[Logged] = []
    topic: dict[int, list[dict[str, Any]]] = {0: [], 1: []}
    present: dict[int, str] = {}
    for partition, policy, events in scored:
        offset = len(topic[partition])
        if present.get(partition) != policy:
            present[partition] = policy
            marker = Marker(partition=partition, first_offset=offset, policy=policy)
            entries.append(Logged(len(entries), 1_000, marker))
        topic[partition] += [prediction(policy, arms[each], each) for each in range(offset, offset + events)]
    markers = [logged.entry for logged in entries]
    expected = [
        (partition, says["features_offset"])
        for partition, predictions in topic.items()
        for says in predictions
        if effective(markers, partition, says["features_offset"]) == HASHES[0] and says["rollout"]["arm"] == "v4"
    ]
    found = []
    for window in windows(entries, CHOICE):
        for says in topic[window.partition]:
            if window.is_over(CHOICE, says, replayed=False):
                break
            if window.has(CHOICE, says, replayed=False):
                found.append((window.partition, says["features_offset"]))
    assert found == expected


def test_a_summary_counts_partitions_decisions_versions_and_entities() -> None:
    summary = Summary()
    summary.add(prediction(HASHES[0], "v4", 1))
    summary.add(prediction(HASHES[0], "v4", 2, features_partition=3, decision="pass", model_version="3"))
    explored = {"policy": HASHES[0][:12], "arm": "v4", "explored": True}
    summary.add(prediction(HASHES[0], "v4", 3, entity=None, rollout=explored))
    assert (summary.total, summary.entities, summary.without_entity, summary.explored) == (3, 1, 1, 1)
    assert summary.predictions == {0: 2, 3: 1}
    assert summary.decisions == {"block": 2, "pass": 1}
    assert summary.versions == {"4": 2, "3": 1}
    assert summary.entities_are_all


def test_beyond_the_limit_a_summary_says_that_there_are_more_entities(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_ENTITIES", 2)
    summary = Summary()
    for entity in ("a", "b", "a"):
        summary.add(prediction(HASHES[0], "v4", 1, entity=entity))
    assert (summary.entities, summary.entities_are_all) == (2, True)
    summary.add(prediction(HASHES[0], "v4", 1, entity="c"))
    assert (summary.entities, summary.entities_are_all) == (2, False)
