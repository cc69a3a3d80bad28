"""What a rollout log says as a whole, read once."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import PenstockError
from scoring.rollout.log_reading import changes_in, effective_at, overview
from scoring.rollout.policy import RolloutPolicy, publish
from scoring.rollout.policy_log import Entry, Logged, Marker, PolicyChange, Refusal
from tests.scoring.rollout.naive_log import effective


def change(salt: str, reason: str = "why not") -> PolicyChange:
    declared = RolloutPolicy.model_validate(
        {
            "pipeline": "fraud",
            "mode": "shadow",
            "salt": salt,
            "arms": [{"name": "present", "version": 1, "role": "champion"}],
        }
    )
    return PolicyChange(policy=publish(declared), author="ada", reason=reason, previous=None, time_ms=1)


CHANGES = [change(salt) for salt in "abc"]
HASHES = [each.policy.hash for each in CHANGES]


def log(*entries: Entry) -> list[Logged]:
    return [Logged(2 * place, 1_000 + place, entry) for place, entry in enumerate(entries)]


def marker(partition: int, first_offset: int, policy: int = 0) -> Marker:
    return Marker(partition=partition, first_offset=first_offset, policy=HASHES[policy])


def refusal(instance: str, policy: int, reason: str = "no") -> Refusal:
    return Refusal(instance=instance, policy=HASHES[policy], reason=reason, time_ms=1)


markers = st.lists(st.builds(marker, st.integers(0, 2), st.integers(0, 20), st.integers(0, 2)), max_size=12)


@settings(deadline=None)
@given(markers, st.integers(0, 2), st.integers(-1, 25))
def test_what_was_effective_is_what_the_markers_say(found: list[Marker], partition: int, offset: int) -> None:
    answer = effective_at(log(*CHANGES, *found), partition, offset)
    assert (answer and answer.policy.policy.hash) == effective(found, partition, offset)


def test_the_change_is_the_one_that_the_scorer_had_read() -> None:
    again = CHANGES[0].model_copy(update={"reason": "resumed"})
    late = CHANGES[0].model_copy(update={"reason": "later"})
    found = effective_at(log(CHANGES[0], CHANGES[1], again, marker(0, 7), late), 0, 9)
    assert found is not None
    assert (found.policy.reason, found.change.offset, found.marker.offset) == ("resumed", 4, 6)


def test_a_marker_of_a_policy_that_nobody_published_is_an_error() -> None:
    with pytest.raises(PenstockError, match="no change that published it"):
        effective_at(log(CHANGES[0], marker(0, 7, 1)), 0, 9)


def test_a_log_in_short_has_all_changes_and_the_last_marker_of_each_partition() -> None:
    found = overview(log(CHANGES[0], marker(0, 3), marker(1, 5), CHANGES[1], marker(0, 9, 1)))
    assert [logged.entry for logged in found.changes] == CHANGES[:2]
    assert found.markers == {0: marker(0, 9, 1), 1: marker(1, 5)}


def test_only_refusals_of_the_present_policy_count_and_the_last_of_each_scorer() -> None:
    entries = log(
        CHANGES[0],
        refusal("a", 0),
        refusal("c", 0),
        CHANGES[1],
        refusal("a", 1, "first"),
        refusal("b", 1),
        refusal("a", 1, "last"),
    )
    assert overview(entries).refusals == {"a": refusal("a", 1, "last"), "b": refusal("b", 1)}


def test_an_empty_log_says_nothing() -> None:
    assert overview([]) == ([], {}, {})
    assert effective_at([], 0, 0) is None


def test_the_changes_alone_are_in_their_order() -> None:
    assert list(changes_in(log(CHANGES[0], marker(0, 1), CHANGES[1]))) == CHANGES[:2]
