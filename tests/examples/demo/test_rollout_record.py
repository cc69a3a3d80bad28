"""What happened in rollouts, from the log of the policy: changes, their words, and how each rollout ended."""

from __future__ import annotations

import pytest

from examples.demo.rollout_record import Change, Rollouts, changes_of, looks_of, trial_of, word_for
from scoring.rollout.policy_log import Marker
from tests.examples.demo.sample_rollouts import BAD, BEGAN_MS, BETTER, PARTITIONS, log, rollouts


@pytest.fixture
def changes() -> tuple[Change, ...]:
    return changes_of(log(), BEGAN_MS, PARTITIONS)


def test_each_change_has_its_time_author_reason_and_weights_by_version(changes: tuple[Change, ...]) -> None:
    second = changes[1]
    assert (second.at_s, second.author, second.candidate, second.champion) == (214.0, "controller", 2, 1)
    assert second.weights == {1: 0.8, 2: 0.2}
    assert [change.candidate for change in changes] == [2, 2, 2, None, 3, None]


def test_a_policy_is_followed_when_the_last_partition_has_taken_it_up(changes: tuple[Change, ...]) -> None:
    assert [change.followed_s for change in changes][:2] == [200.4, 214.4]


def test_a_policy_that_a_partition_has_not_taken_up_before_the_next_is_not_followed() -> None:
    entries = log()
    last_marker = next(n for n, each in enumerate(entries) if isinstance(each.entry, Marker) and n >= PARTITIONS)
    del entries[last_marker]
    assert changes_of(entries, BEGAN_MS, PARTITIONS)[0].followed_s is None


def test_what_takes_up_a_policy_that_has_returned_did_not_follow_it_the_first_time() -> None:
    first, *markers = log()[: PARTITIONS + 1]
    second = log()[PARTITIONS + 1]
    found = changes_of([first, *markers[:-1], second, first, *markers], BEGAN_MS, PARTITIONS)
    assert [change.followed_s for change in found] == [None, None, 200.4]


def test_words_say_the_share_or_how_it_ended(changes: tuple[Change, ...]) -> None:
    words = [word_for(before, change) for before, change in zip((None, *changes[:-1]), changes, strict=True)]
    assert words == ["shadow", "20 %", "50 %", "promoted", "5 %", "rolled back"]


def test_a_paused_rollout_is_called_paused(changes: tuple[Change, ...]) -> None:
    assert word_for(changes[0], changes[1].model_copy(update={"status": "paused"})) == "paused"


def test_a_trial_counts_the_events_of_its_own_policies_before_the_end(changes: tuple[Change, ...]) -> None:
    policies = [change.policy for change in changes]
    counts = {(policy, 1): 10**place for place, policy in enumerate(policies)} | {(policies[1], 2): 5}
    found = trial_of(changes, BETTER.salt, "better", counts, {(policies[1], 2): {"a", "b"}, (policies[3], 2): {"c"}})
    assert found is not None
    assert (found.version, found.outcome, found.from_s, found.to_s) == (2, "promoted", 200.0, 226.0)
    assert (found.events, found.served, found.entities) == (111 + 5, 5, 2)


def test_a_candidate_that_is_not_the_champion_at_the_end_was_rolled_back(changes: tuple[Change, ...]) -> None:
    found = trial_of(changes, BAD.salt, "bad", {}, {})
    assert found is not None
    assert (found.version, found.outcome, found.to_s, found.followed_s) == (3, "rolled back", 232.5, 232.9)


def test_a_rollout_that_has_not_ended_is_no_trial_yet(changes: tuple[Change, ...]) -> None:
    assert trial_of(changes[:2], BETTER.salt, "better", {}, {}) is None
    assert trial_of(changes, "another salt", "better", {}, {}) is None


def reported(guardrail: str, verdict: str, high: float | None, **others: object) -> dict[str, object]:
    quantity = {"what": "", "low": 0.5, "high": high, "allowed_low": 0.0, "allowed_high": 1.05, "verdict": verdict}
    told = {"guardrail": guardrail, "version": 2, "is_candidate": True, "group": None, "verdict": verdict}
    return told | {"measured": [quantity]} | others


def test_the_evidence_of_a_decision_is_the_last_look_under_the_policy_before(changes: tuple[Change, ...]) -> None:
    evidence = {"guardrails": [reported("quality", "equivalent", 0.9), reported("errors", "continue", None)]}
    quality, errors = looks_of([changes[1].model_copy(update={"evidence": evidence})])
    assert (quality.at_s, quality.version, quality.verdict) == (213.999, 2, "equivalent")
    assert (quality.low, quality.high, quality.least, quality.most) == (0.5, 0.9, 0.0, 1.05)
    assert (errors.guardrail, errors.high) == ("errors", None)


def test_of_several_groups_the_one_that_is_worst_off_is_looked_at(changes: tuple[Change, ...]) -> None:
    groups = [reported("fairness", said, 1.0, group=said) for said in ("equivalent", "worse", "continue")]
    (found,) = looks_of([changes[1].model_copy(update={"evidence": {"guardrails": groups}})])
    assert found.verdict == "worse"


def test_versions_that_only_score_beside_the_candidate_are_not_looked_at(changes: tuple[Change, ...]) -> None:
    beside = reported("errors", "worse", 1.0, is_candidate=False)
    evidence = {"guardrails": [beside, reported("errors", "equivalent", 0.01)]}
    (found,) = looks_of([changes[1].model_copy(update={"evidence": evidence})])
    assert found.verdict == "equivalent"


def test_what_happened_is_the_same_after_writing_and_reading() -> None:
    found = rollouts()
    assert Rollouts.model_validate_json(found.model_dump_json()) == found
