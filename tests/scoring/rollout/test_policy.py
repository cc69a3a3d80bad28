"""Policies that contradict themselves are refused, and the hash is one of the content."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from scoring.rollout.allocation import Range, everything_to
from scoring.rollout.policy import Exploration, PublishedPolicy, RolloutPolicy, publish
from streams.definitions.rollout import DEFAULT_STEPS, PARTS

CANARY: dict[str, Any] = {
    "pipeline": "fraud",
    "mode": "canary",
    "salt": "fraud/deeper",
    "arms": [{"name": "present", "version": 3, "role": "champion"}, {"name": "deeper", "version": 4}],
    "shadow": [5, 6],
    "steps": [
        {"weight": 0, "least_events": 2000, "least_time": "30m", "most_time": "1d"},
        {"weight": 0.05, "least_events": 5000, "least_time": "1h", "most_time": "2d"},
    ],
    "exploration": {"share": 0.005, "decision": "approve", "salt": "fraud/exploration"},
}
AB: dict[str, Any] = {
    "pipeline": "ads",
    "mode": "ab",
    "salt": "ads/colours",
    "arms": [
        {"name": "present", "version": 3, "role": "champion", "weight": 0.5},
        {"name": "red", "version": 4, "weight": 0.3},
        {"name": "blue", "version": 5, "weight": 0.2},
    ],
}


def policy(base: dict[str, Any], **changed: Any) -> RolloutPolicy:
    return RolloutPolicy.model_validate(base | changed)


def arms(*weights: float | None) -> list[dict[str, Any]]:
    """A champion and candidates with these weights."""
    listed = [{"name": f"arm{number}", "version": number, "weight": each} for number, each in enumerate(weights, 1)]
    return [listed[0] | {"role": "champion"}, *listed[1:]]


@st.composite
def rewritten(draw: st.DrawFn, value: Any) -> Any:
    """The same content, with keys in another order and numbers and durations in another notation."""
    if isinstance(value, dict):
        return {key: draw(rewritten(value[key])) for key in draw(st.permutations(list(value)))}
    if isinstance(value, list):
        return [draw(rewritten(each)) for each in value]
    if isinstance(value, int | float):
        return draw(st.sampled_from([value, float(value), str(value)]))
    return draw(st.sampled_from({"1h": ["1h", "60m", "3600s", 3_600_000], "1d": ["1d", "24h"]}.get(value, [value])))


@settings(max_examples=30, deadline=None)
@given(data=st.data(), base=st.sampled_from([CANARY, AB]))
def test_the_hash_does_not_depend_on_how_the_content_is_written(data: st.DataObject, base: dict[str, Any]) -> None:
    other = data.draw(rewritten(base)) | {"arms": data.draw(st.permutations(base["arms"]))}
    assert policy(other).hash == policy(base).hash
    assert publish(policy(other)).hash == publish(policy(base)).hash


def test_the_hash_is_the_same_in_every_release() -> None:
    assert policy(CANARY).hash == "f6f2c80ba9fc4b7532cbd3e93076b7459658e1763346c56b6ed1505a2c0a91c3"
    assert publish(policy(CANARY)).hash == "96f83ea1cd2305b398280db8dffdcc3aa84c25232314a54476a6a46b8779677d"


@pytest.mark.parametrize(
    "changed",
    [
        {"pipeline": "frauds"},
        {"salt": "fraud/other"},
        {"shadow": [5]},
        {"arms": [CANARY["arms"][0], {"name": "deeper", "version": 7}]},
        {"steps": CANARY["steps"][:1]},
        {"steps": [CANARY["steps"][0], CANARY["steps"][1] | {"least_events": 5001}]},
        {"exploration": None},
        {"exploration": CANARY["exploration"] | {"share": 0.004}},
    ],
)
def test_the_hash_depends_on_every_field(changed: dict[str, Any]) -> None:
    assert policy(CANARY, **changed).hash != policy(CANARY).hash
    assert publish(policy(CANARY, **changed)).hash != publish(policy(CANARY)).hash


def test_a_published_policy_with_other_weights_or_ranges_has_another_hash() -> None:
    declared = policy(CANARY)
    first = publish(declared)
    some = publish(declared, first, {"present": 0.95, "deeper": 0.05})
    ranges = (Range(arm="present", start=0, end=9500), Range(arm="deeper", start=9500, end=PARTS))
    moved = PublishedPolicy(policy=declared, ranges=ranges)
    assert moved.weights == some.weights
    assert len({first.hash, some.hash, moved.hash}) == 3
    assert first.version == first.hash[:12]


def test_a_published_policy_read_back_from_json_is_the_same() -> None:
    published = publish(policy(AB))
    again = PublishedPolicy.model_validate_json(published.model_dump_json())
    assert (again, again.hash) == (published, published.hash)
    assert json.loads(published.model_dump_json())["ranges"][0] == {"arm": "blue", "start": 0, "end": 2000}


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        (CANARY, {"present": 1.0, "deeper": 0.0}),
        (AB, {"present": 0.5, "blue": 0.2, "red": 0.3}),
        (AB | {"mode": "bandit", "arms": arms(None, None, None)}, {"arm1": 0.3334, "arm2": 0.3333, "arm3": 0.3333}),
        (AB | {"mode": "blue_green", "arms": arms(0, 1)}, {"arm1": 0.0, "arm2": 1.0}),
        (AB | {"mode": "shadow", "arms": arms(None)}, {"arm1": 1.0}),
    ],
)
def test_a_rollout_begins_with_the_weights_of_its_mode(base: dict[str, Any], expected: dict[str, float]) -> None:
    assert policy(base).first_weights == publish(policy(base)).weights == expected


def test_a_policy_with_the_same_salt_keeps_the_ranges_of_the_one_before() -> None:
    some = publish(policy(CANARY), None, {"present": 0.95, "deeper": 0.05})
    more = publish(policy(CANARY), some, {"present": 0.8, "deeper": 0.2})
    mixed = PublishedPolicy(policy=policy(CANARY), ranges=_at_the_end(0.05))
    assert some.ranges[0] == Range(arm="deeper", start=0, end=500)
    assert more.ranges[0] == Range(arm="deeper", start=0, end=2000)
    assert publish(policy(CANARY), mixed, mixed.weights).ranges == mixed.ranges


def test_with_another_salt_nothing_of_the_ranges_before_is_kept() -> None:
    other = policy(CANARY, salt="fraud/second")
    mixed = PublishedPolicy(policy=policy(CANARY), ranges=_at_the_end(0.05))
    assert publish(other, mixed, mixed.weights) == publish(other, None, mixed.weights)


def test_ranges_that_contradict_the_declared_weights_are_refused() -> None:
    with pytest.raises(ValidationError, match="the policy declares"):
        PublishedPolicy(policy=policy(AB), ranges=everything_to("present"))
    with pytest.raises(ValidationError, match="there is no arm 'green'"):
        PublishedPolicy(policy=policy(CANARY), ranges=everything_to("green"))


@pytest.mark.parametrize(
    ("base", "changed", "message"),
    [
        (AB, {"arms": arms(0.5, 0.4)}, "must sum to 1, and sum to 0.9: arm1 0.5, arm2 0.4"),
        (AB, {"arms": arms(0.5, None)}, "mode ab needs a weight for each arm, and arm2 has none"),
        (AB, {"arms": arms(0.99995, 0.00005)}, "multiple of 0.0001"),
        (AB, {"arms": arms(True, 0)}, "must be a number"),
        (AB, {"arms": arms(1.0)}, "mode ab takes 1 to 19 candidates, got 0"),
        (AB, {"arms": AB["arms"][1:]}, "one arm must have role: champion, and none has it"),
        (AB, {"arms": [AB["arms"][0], AB["arms"][0] | {"name": "b"}]}, "and present, b has it"),
        (AB, {"arms": [AB["arms"][0], *AB["arms"]]}, "names must differ, got present, present, red, blue"),
        (AB, {"arms": [AB["arms"][0], AB["arms"][1] | {"name": "shadow"}]}, "no arm may be called shadow"),
        (AB, {"arms": []}, "at least 1 item"),
        (AB, {"shadow": [7, 7]}, "versions must differ, got 7, 7"),
        (AB, {"shadow": [0]}, "greater than or equal to 1"),
        (AB, {"steps": CANARY["steps"]}, "steps are for mode canary"),
        (AB, {"weights": {}}, "Extra inputs are not permitted"),
        (AB, {"mode": "blue_green"}, "mode blue_green takes 1 candidate, got 2"),
        (AB, {"mode": "blue_green", "arms": arms(0.5, 0.5)}, "needs weight 1 for one arm and 0 for the other"),
        (AB, {"mode": "bandit"}, "mode bandit sets the weights itself: leave out that of present, blue, red"),
        (AB, {"mode": "bandit", "arms": arms(*[None] * 21)}, "mode bandit takes 1 to 19 candidates, got 20"),
        (AB, {"mode": "shadow", "arms": arms(None, None)}, "mode shadow takes 0 candidates, got 1"),
        (AB, {"salt": "ads/audit"}, "must differ, both are 'ads/audit'"),
        (CANARY, {"salt": "fraud/exploration"}, "must differ, both are 'fraud/exploration'"),
        (CANARY, {"steps": CANARY["steps"][::-1]}, "weights must rise from step to step, got 0.05, 0.0"),
        (CANARY, {"steps": [CANARY["steps"][0] | {"least_time": "2d"}]}, "least_time 2d is longer than most_time 1d"),
        (CANARY, {"steps": [CANARY["steps"][0] | {"least_time": 1.5}]}, "1.5 is not a duration"),
        (CANARY, {"exploration": CANARY["exploration"] | {"share": 0.02}}, "less than or equal to 0.01"),
    ],
)
def test_a_policy_that_contradicts_itself_is_refused(
    base: dict[str, Any], changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        policy(base, **changed)
    assert message in str(refused.value)


def test_a_canary_without_steps_gets_those_of_its_pipeline_and_is_not_published_before() -> None:
    without, (first, *_) = policy(CANARY, steps=[]), policy(CANARY).steps
    with pytest.raises(ValidationError, match="a canary needs at least one step"):
        publish(without)
    assert without.with_steps(DEFAULT_STEPS).hash not in (without.hash, policy(CANARY).hash)
    assert without.with_steps((first,)) == policy(CANARY, steps=[first])


def test_steps_that_are_declared_stay_and_other_modes_get_none() -> None:
    for declared in (policy(CANARY), policy(AB)):
        assert declared.with_steps(DEFAULT_STEPS) == declared


def test_the_versions_of_a_policy_are_those_of_its_arms_and_of_its_shadow() -> None:
    assert policy(CANARY, shadow=[6, 3]).versions == (3, 4, 6)


@pytest.mark.parametrize(("weight", "shadows"), [(0.0, (4, 5, 6)), (0.05, (5, 6)), (1.0, (5, 6))])
def test_the_candidate_of_a_canary_scores_in_shadow_as_long_as_it_has_no_weight(
    weight: float, shadows: tuple[int, ...]
) -> None:
    weights = {"present": round(1 - weight, 4), "deeper": weight}
    assert publish(policy(CANARY), None, weights).shadows == shadows


def test_a_candidate_that_is_in_shadow_in_any_case_scores_there_once() -> None:
    assert publish(policy(CANARY, shadow=[4, 5])).shadows == (4, 5)


@pytest.mark.parametrize("base", [AB | {"mode": "blue_green", "arms": arms(1, 0)}, AB | {"arms": arms(1, 0)}])
def test_in_other_modes_a_candidate_without_a_weight_scores_nothing(base: dict[str, Any]) -> None:
    assert publish(policy(base, shadow=[9])).shadows == (9,)


def test_a_policy_cannot_be_changed() -> None:
    declared = policy(CANARY)
    with pytest.raises(ValidationError, match="frozen"):
        declared.salt = "other"
    assert isinstance(declared.exploration, Exploration)


def _at_the_end(weight: float) -> tuple[Range, ...]:
    cut = round((1 - weight) * PARTS)
    return (Range(arm="present", start=0, end=cut), Range(arm="deeper", start=cut, end=PARTS))
