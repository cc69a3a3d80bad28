"""The verifier's own reading of policies: the same hashes and arms as the scorer's, and every contradiction is seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoring.rollout.allocation import PARTS
from scoring.rollout.assignment import assign
from scoring.rollout.policy import Arm, Exploration, Mode, PublishedPolicy, RolloutPolicy, Step, publish
from tests.verify.rollout_pipeline import canary, exploring, only_champion
from verify.rollout_policies import Policy

NAMES = ("champion", "b", "c", "d")
CANDIDATES: Mapping[Mode, tuple[int, int]] = {
    "shadow": (0, 0),
    "canary": (1, 1),
    "blue_green": (1, 1),
    "ab": (1, 3),
    "bandit": (1, 3),
}
TIMES = {"least_events": 3, "least_time": "1h", "most_time": "1d"}


def read(published: PublishedPolicy) -> Policy:
    """The policy as the verifier reads it from the log."""
    return Policy.model_validate_json(published.model_dump_json())


def edited(published: PublishedPolicy, of_policy: Mapping[str, Any] | None = None, **changes: Any) -> Policy:
    """The policy with fields that were changed."""
    own = read(published)
    declared = own.policy.model_copy(update=dict(of_policy or {}))
    return own.model_copy(update={"policy": declared, **changes})


@st.composite
def policies(draw: st.DrawFn) -> PublishedPolicy:
    """A policy of any mode, with weights that steps or rewards may have moved."""
    mode = draw(st.sampled_from([*CANDIDATES]))
    candidates = draw(st.integers(*CANDIDATES[mode]))
    names = NAMES[: candidates + 1]
    cuts = sorted(draw(st.lists(st.integers(0, PARTS), min_size=candidates, max_size=candidates)))
    weights = {name: (end - begin) / PARTS for name, begin, end in zip(names, [0, *cuts], [*cuts, PARTS], strict=True)}
    if mode == "blue_green":
        weights = draw(st.sampled_from([{"champion": 1.0, "b": 0.0}, {"champion": 0.0, "b": 1.0}]))
    versions = draw(st.permutations(range(1, len(names) + 1)))
    salt = draw(st.text(min_size=1))
    share = st.floats(0, 0.01, exclude_min=True)
    arms = [
        Arm(
            name=name,
            version=version,
            role="champion" if name == "champion" else "candidate",
            weight=weights[name] if mode in ("ab", "blue_green") else None,
        )
        for name, version in zip(names, versions, strict=True)
    ]
    policy = RolloutPolicy(
        pipeline="taps",
        mode=mode,
        salt=salt,
        arms=tuple(draw(st.permutations(arms))),
        shadow=tuple(draw(st.lists(st.integers(1, 9), unique=True, max_size=3))),
        steps=tuple(Step(weight=weight, **TIMES) for weight in (0, 0.25, 1)) if mode == "canary" else (),
        exploration=draw(
            st.none() | st.builds(Exploration, share=share, decision=st.just("pass"), salt=st.just(f"{salt}/explored"))
        ),
    )
    first = publish(policy)
    return publish(policy, first, weights) if mode in ("canary", "bandit") else first


@settings(max_examples=60, deadline=None)
@given(published=policies())
def test_the_hash_is_the_same_as_the_scorers(published: PublishedPolicy) -> None:
    own = read(published)
    assert (own.hash, own.version) == (published.hash, published.version)


@settings(max_examples=60, deadline=None)
@given(published=policies(), entity=st.none() | st.text(), event_id=st.text())
def test_the_arm_is_the_same_as_the_scorers(published: PublishedPolicy, entity: str | None, event_id: str) -> None:
    found, due = assign(published, [entity], [event_id]), read(published).due(entity, event_id)
    arm = published.policy.arms[found.arms[0]]
    assert due is not None
    assert (due.arm, due.version, due.probability) == (arm.name, str(arm.version), found.probabilities[0])
    assert (due.explored, due.propensity) == (found.explored[0], found.propensities[0])
    assert due.decision == ("pass" if due.explored else None)


def test_an_empty_entity_is_one_and_no_entity_is_none() -> None:
    policy = read(publish(canary(), None, {"first": 0.7, "second": 0.3}))
    arms = {(due and due.arm) for due in (policy.due(None, f"t{n}") for n in range(50))}
    assert arms == {"first", "second"}
    assert len({policy.due("", f"t{n}") for n in range(50)}) == 1


def test_an_explored_entity_has_the_decision_of_the_exploration() -> None:
    due = read(publish(canary(exploring("card7")))).due("card7", "t1")
    assert due is not None
    assert (due.explored, due.propensity, due.decision) == (True, 0.01, "pass")


def test_an_entity_whose_part_has_no_arm_has_none() -> None:
    policy = edited(publish(only_champion()), ranges=())
    assert policy.due("card7", "t1") is None


@pytest.mark.parametrize(("weight", "shadowed"), [(0.0, {"2", "3"}), (0.3, {"3"}), (1.0, {"3"})])
def test_a_candidate_of_a_canary_is_in_shadow_as_long_as_it_has_no_weight(weight: float, shadowed: set[str]) -> None:
    weights = {"first": 1 - weight, "second": weight}
    assert read(publish(canary(), None, weights)).shadowed == shadowed


def test_the_other_arm_of_blue_and_green_is_not_in_shadow() -> None:
    arms = (Arm(name="blue", version=1, role="champion", weight=1), Arm(name="green", version=2, weight=0))
    policy = RolloutPolicy(pipeline="taps", mode="blue_green", salt="s", arms=arms)
    assert read(publish(policy)).shadowed == frozenset()


def ranges(*cuts: tuple[str, int, int]) -> dict[str, Any]:
    one = read(publish(only_champion())).ranges[0]
    made = [one.model_copy(update={"arm": arm, "start": start, "end": end}) for arm, start, end in cuts]
    return {"ranges": tuple(made)}


def salt(exploration: str) -> dict[str, Any]:
    declared = read(publish(canary(exploring("card7")))).policy.exploration
    assert declared is not None
    return {"of_policy": {"exploration": declared.model_copy(update={"salt": exploration})}}


SECOND = canary(exploring("card7"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (ranges(("first", 0, 7_000), ("second", 7_000, 9_999)), "each of the 10000 parts once"),
        (ranges(("first", 1, 7_000), ("second", 7_000, 10_000)), "each of the 10000 parts once"),
        (ranges(("first", 0, 7_001), ("second", 7_000, 10_000)), "each of the 10000 parts once"),
        (ranges(), "each of the 10000 parts once"),
        (ranges(("first", 0, 7_000), ("first", 7_000, 7_000), ("second", 7_000, 10_000)), "more than they need be"),
        (ranges(("first", 0, 6_000), ("first", 6_000, 7_000), ("second", 7_000, 10_000)), "more than they need be"),
        (ranges(("first", 0, 7_000), ("ghost", 7_000, 10_000)), "none of the arms first, second"),
        (ranges(("first", 0, 6_999), ("second", 6_999, 10_000)), "second a weight of 0.3001, should be 0.3"),
        (salt("taps/second"), "two are the same"),
        (salt("taps/audit"), "two are the same"),
    ],
)
def test_a_policy_that_contradicts_itself_is_found(changes: dict[str, Any], said: str) -> None:
    good = publish(SECOND, None, {"first": 0.7, "second": 0.3})
    assert [*read(good).wrong(step=1)] == []
    found = [*edited(good, **changes).wrong(step=1)]
    assert said in " ".join(found), found


def test_a_canary_whose_weight_is_that_of_no_step_is_found() -> None:
    good = read(publish(canary(), None, {"first": 0.7, "second": 0.3}))
    assert [*good.wrong(step=1)] == []
    for another in (0, 3):
        assert [*good.wrong(step=another)]


def test_two_champions_and_two_arms_of_one_name_are_found() -> None:
    good = publish(canary())
    one, other = read(good).policy.arms
    for arms in ((one, other.model_copy(update={"role": "champion"})), (one, one), ()):
        assert [*edited(good, {"arms": arms}).wrong(step=0)], arms


def test_an_arm_of_a_bandit_that_has_less_than_the_floor_is_found() -> None:
    arms = (Arm(name="first", version=1, role="champion"), Arm(name="second", version=2))
    policy = RolloutPolicy(pipeline="taps", mode="bandit", salt="s", arms=arms)
    for weight, count in ((0.05, 0), (0.0499, 1)):
        published = publish(policy, None, {"first": 1 - weight, "second": weight})
        assert len([*read(published).wrong(step=0)]) == count


def test_an_exploration_of_more_than_a_hundredth_is_found() -> None:
    good = publish(canary(exploring("card7")))
    exploration = read(good).policy.exploration
    assert exploration is not None
    wide = exploration.model_copy(update={"share": 0.011})
    assert [*edited(good, {"exploration": wide}).wrong(step=0)]


@settings(max_examples=40, deadline=None)
@given(published=policies(), data=st.data())
def test_no_entity_moves_needlessly_as_weights_change(published: PublishedPolicy, data: st.DataObject) -> None:
    after = data.draw(policies())
    declared = after.policy.model_copy(update={"salt": published.policy.salt, "exploration": None})
    following = publish(declared, published, after.weights)
    assert [*read(published).moved(read(following))] == []


def test_an_arm_that_takes_other_entities_is_found() -> None:
    before = publish(canary(), None, {"first": 0.7, "second": 0.3})
    turned = edited(before, **ranges(("first", 0, 7_000), ("second", 7_000, 10_000)))
    assert [*read(before).moved(turned)] == ["arm second gives up parts and takes others"]
    another = edited(before, {"salt": "taps/third"}, ranges=turned.ranges)
    assert [*read(before).moved(another)] == []
