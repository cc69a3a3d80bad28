"""The arms of entities are uniform, sticky, nested and independent between salts, in any batch and replay."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from scoring.audit import audit_salt, in_slice, positions
from scoring.rollout.assignment import Assignment, assign
from scoring.rollout.policy import Arm, Exploration, PublishedPolicy, RolloutPolicy, publish
from streams.definitions.rollout import PARTS

IDS = [f"card-{number}" for number in range(50_000)]
EVENTS = [f"payment-{number}" for number in range(50_000)]
EXPLORATION = Exploration(share=0.01, decision="approve", salt="fraud/exploration")


def published(*weights: float, salt: str = "fraud/deeper", exploration: Exploration | None = None) -> PublishedPolicy:
    """An A/B policy of arms ``a`` (the champion), ``b``, ... with these weights."""
    arms = [
        Arm(name=name, version=version, role="candidate" if version > 1 else "champion", weight=weight)
        for name, version, weight in zip("abcdef", itertools.count(1), weights, strict=False)
    ]
    return publish(RolloutPolicy(pipeline="fraud", mode="ab", salt=salt, arms=tuple(arms), exploration=exploration))


def arms(policy: PublishedPolicy, ids: list[str] = IDS) -> np.ndarray:
    return assign(policy, ids, EVENTS[: len(ids)]).arms


def test_the_arm_is_that_of_the_part_in_which_the_position_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    middles = (np.arange(PARTS) + 0.5) / PARTS
    monkeypatch.setattr("scoring.rollout.assignment.positions", lambda *_: middles)
    policy = published(0.5, 0.3, 0.2)
    found = [policy.policy.arms[arm].name for arm in arms(policy, IDS[:PARTS])]
    assert found == [each.arm for each in policy.ranges for _ in range(each.start, each.end)]


@pytest.mark.parametrize("salt", ["fraud/deeper", "fraud/wider", "1"])
def test_arms_get_as_many_entities_as_their_weights_say(salt: str) -> None:
    policy = published(0.6, 0.25, 0.1, 0.05, salt=salt)
    counts = np.bincount(arms(policy), minlength=4)
    assert stats.chisquare(counts, len(IDS) * np.array([0.6, 0.25, 0.1, 0.05])).pvalue > 1e-4


def test_arms_of_two_salts_are_independent() -> None:
    one, other = (arms(published(0.5, 0.3, 0.2, salt=salt)) for salt in ("fraud/deeper", "fraud/wider"))
    assert stats.chi2_contingency(np.histogram2d(one, other, bins=3)[0]).pvalue > 1e-4


def test_exploration_audit_and_arms_are_independent() -> None:
    found = assign(published(0.5, 0.5, exploration=EXPLORATION), IDS, EVENTS)
    audited = in_slice(audit_salt("fraud"), IDS, 0.2)
    for one, other in itertools.combinations([found.arms, found.explored, audited], 2):
        assert stats.chi2_contingency(np.histogram2d(one, other, bins=2)[0]).pvalue > 1e-4


@pytest.mark.parametrize("salt", ["fraud/deeper", "fraud/wider"])
def test_an_entity_stays_with_a_candidate_that_grows(salt: str) -> None:
    steps = [published(1 - weight, weight, salt=salt) for weight in (0.0, 0.01, 0.05, 0.2, 0.5, 1.0)]
    course = [arms(step) == 1 for step in steps]
    for smaller, larger in itertools.pairwise(course):
        assert not (smaller & ~larger).any()
    assert (course[0].any(), course[-1].all()) == (False, True)


def test_entities_of_other_candidates_stay_when_one_grows_and_shrinks() -> None:
    before = published(0.8, 0.1, 0.1)
    after = publish(published(0.5, 0.1, 0.4).policy, before)
    back = publish(before.policy, after)
    moved = arms(before) != arms(after)
    assert {*arms(before)[moved]} == {0}
    assert {*arms(after)[moved]} == {2}
    assert np.array_equal(arms(back), arms(before))


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_the_arm_does_not_depend_on_batches_order_or_replay(data: st.DataObject) -> None:
    policy = published(0.5, 0.3, 0.2, exploration=EXPLORATION)
    whole = assign(policy, IDS[:500], EVENTS[:500])
    replayed = PublishedPolicy.model_validate_json(policy.model_dump_json())
    order = data.draw(st.permutations(range(500)))
    cuts = sorted(data.draw(st.lists(st.integers(0, 500), max_size=4)))
    for start, end in itertools.pairwise([0, *cuts, 500]):
        batch = order[start:end]
        part = assign(replayed, [IDS[each] for each in batch], [EVENTS[each] for each in batch])
        for name in Assignment.__dataclass_fields__:
            assert np.array_equal(getattr(part, name), getattr(whole, name)[batch])


def test_all_events_of_an_entity_have_one_arm_whatever_their_ids() -> None:
    policy = published(0.5, 0.5, exploration=EXPLORATION)
    found = assign(policy, ["card-1"] * 1_000, EVENTS[:1_000])
    assert len({*found.arms}) == len({*found.explored}) == 1


def test_events_without_an_entity_are_shared_out_by_their_ids() -> None:
    policy = published(0.7, 0.3, exploration=EXPLORATION)
    found = assign(policy, [None] * len(EVENTS), EVENTS)
    same = assign(policy, EVENTS, ["other"] * len(EVENTS))
    assert np.array_equal(found.arms, same.arms)
    assert np.array_equal(found.explored, same.explored)
    assert stats.chisquare(np.bincount(found.arms), len(EVENTS) * np.array([0.7, 0.3])).pvalue > 1e-4


def test_the_probability_is_the_weight_of_the_arm() -> None:
    found = assign(published(0.7, 0.2, 0.1), IDS, EVENTS)
    assert np.array_equal(found.probabilities, np.array([0.7, 0.2, 0.1])[found.arms])


def test_the_propensity_is_the_share_in_the_slice_and_the_rest_outside() -> None:
    found = assign(published(0.5, 0.5, exploration=EXPLORATION), IDS, EVENTS)
    assert np.array_equal(found.explored, in_slice("fraud/exploration", IDS, 0.01))
    assert {*found.propensities[found.explored]} == {0.01}
    assert {*found.propensities[~found.explored]} == {0.99}


def test_without_exploration_no_event_is_explored() -> None:
    found = assign(published(1.0, 0.0), IDS[:10], EVENTS[:10])
    assert (found.explored.any(), found.propensities.tolist()) == (False, [1.0] * 10)


def test_the_policys_salt_gives_the_positions() -> None:
    position = positions("fraud/deeper", IDS)
    assert np.array_equal(arms(published(0.9, 0.1)) == 1, position < 0.1)


@pytest.mark.parametrize("weights", [(1.0, 0.0), (0.0, 1.0), (0.0, 0.0, 1.0)])
def test_one_arm_that_has_everything_is_found_without_a_hash_and_is_the_same_as_with_one(
    weights: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = assign(published(*weights, exploration=EXPLORATION), IDS[:2_000], EVENTS[:2_000])
    assert np.array_equal(hashed.explored, in_slice("fraud/exploration", IDS[:2_000], 0.01))
    assert hashed.explored.any()

    def refuse(*_: object) -> np.ndarray:
        raise AssertionError("nothing depends on a position")

    monkeypatch.setattr("scoring.rollout.assignment.positions", refuse)
    found = assign(published(*weights), IDS[:2_000], EVENTS[:2_000])
    assert np.array_equal(found.arms, hashed.arms)
    assert np.array_equal(found.probabilities, hashed.probabilities)
    assert (found.explored.any(), {*found.propensities}) == (False, {1.0})
    assert found.arms.dtype == hashed.arms.dtype


def test_the_last_position_below_1_has_an_arm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scoring.rollout.assignment.positions", lambda *_: np.array([0.0, 1 - 2.0**-53]))
    assert arms(published(0.9, 0.1), IDS[:2]).tolist() == [1, 0]


def test_an_empty_batch_has_no_arms() -> None:
    found = assign(published(0.5, 0.5, exploration=EXPLORATION), [], [])
    assert [len(getattr(found, name)) for name in Assignment.__dataclass_fields__] == [0] * 4
