"""Changes of policy: each follows from the present one, and what holds already is no change."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import PenstockError
from scoring.rollout.policy import RolloutPolicy, publish
from scoring.rollout.policy_log import PolicyChange
from scoring.rollout.transitions import By, begun, end_of, paused, promoted, resumed, rolled_back
from streams.definitions.rollout import DEFAULT_STEPS

BY = By("ada", "why not", 5)
CANARY: dict[str, Any] = {
    "pipeline": "fraud",
    "mode": "canary",
    "salt": "fraud/deeper",
    "arms": [{"name": "present", "version": 3, "role": "champion"}, {"name": "deeper", "version": 4}],
    "shadow": [5],
    "exploration": {"share": 0.005, "decision": "approve", "salt": "fraud/exploration"},
}


def policy(**changed: Any) -> RolloutPolicy:
    return RolloutPolicy.model_validate(CANARY | changed).with_steps(DEFAULT_STEPS)


def champion_alone(version: int, **changed: Any) -> RolloutPolicy:
    arms = [{"name": f"v{version}", "version": version, "role": "champion"}]
    return policy(mode="shadow", arms=arms, shadow=[], **changed)


def begin(declared: RolloutPolicy, present: PolicyChange | None = None) -> PolicyChange:
    change = begun(declared, present, BY)
    assert change is not None
    return change


def at_step(change: PolicyChange, step: int) -> PolicyChange:
    """As the controller moves a canary on."""
    declared = change.policy.policy
    weight = declared.steps[step].weight
    published = publish(declared, change.policy, {"present": 1 - weight, "deeper": weight})
    return change.model_copy(update={"policy": published, "step": step, "previous": change.policy.hash})


def roll_back(changes: list[PolicyChange]) -> PolicyChange | None:
    return rolled_back(changes[-1], BY, changes)


FIRST = begin(policy())


def test_a_first_policy_begins_at_its_first_step_and_follows_none() -> None:
    assert (FIRST.step, FIRST.status, FIRST.previous, FIRST.author, FIRST.reason, FIRST.time_ms) == (
        0,
        "running",
        None,
        *BY,
    )


def test_the_same_policy_again_is_no_change_however_far_it_has_come() -> None:
    assert begun(policy(), FIRST, BY) is None
    assert begun(policy(), at_step(FIRST, 3), BY) is None


def test_the_next_policy_follows_the_present_one_and_keeps_its_ranges() -> None:
    later = at_step(FIRST, 3)
    change = begin(policy(shadow=[]), later)
    assert change.previous == later.policy.hash
    assert change.policy == publish(policy(shadow=[]), later.policy)


@pytest.mark.parametrize(
    ("declared", "status"), [(champion_alone(3), "ended"), (policy(mode="shadow", arms=CANARY["arms"][:1]), "running")]
)
def test_a_policy_that_tries_nothing_has_ended_at_once(declared: RolloutPolicy, status: str) -> None:
    assert begin(declared).status == status


def test_a_pause_and_its_end_change_the_status_alone() -> None:
    running = at_step(FIRST, 2)
    stopped = paused(running, BY)
    assert stopped is not None
    assert (stopped.policy, stopped.step, stopped.status, stopped.previous) == (
        running.policy,
        2,
        "paused",
        running.policy.hash,
    )
    again = resumed(stopped, BY)
    assert again is not None
    assert (again.policy, again.step, again.status) == (running.policy, 2, "running")


def test_what_is_paused_or_runs_already_is_not_changed() -> None:
    assert resumed(FIRST, BY) is None
    assert paused(paused(FIRST, BY), BY) is None


@pytest.mark.parametrize("act", [paused, resumed, promoted])
def test_nothing_is_done_with_a_rollout_that_has_ended_or_never_was(act: Any) -> None:
    with pytest.raises(PenstockError, match="nothing is being tried: version 3 scores all"):
        act(begin(champion_alone(3)), BY)
    with pytest.raises(PenstockError, match="no policy was published"):
        act(None, BY)


def test_a_promoted_candidate_scores_all_under_its_name_and_the_same_salts() -> None:
    change = promoted(at_step(FIRST, 1), BY)
    declared = change.policy.policy
    assert (declared.mode, declared.salt, declared.exploration) == ("shadow", "fraud/deeper", policy().exploration)
    assert [(arm.name, arm.version, arm.role) for arm in declared.arms] == [("deeper", 4, "champion")]
    assert (declared.shadow, change.policy.weights, change.status) == ((), {"deeper": 1.0}, "ended")
    assert change.previous == at_step(FIRST, 1).policy.hash


AB = policy(
    mode="ab",
    arms=[
        {"name": "present", "version": 3, "role": "champion", "weight": 0.5},
        {"name": "red", "version": 4, "weight": 0.25},
        {"name": "blue", "version": 6, "weight": 0.25},
    ],
)


def test_of_several_candidates_one_must_be_named() -> None:
    assert promoted(begin(AB), BY, "red").policy.policy.champion.version == 4
    with pytest.raises(PenstockError, match="which candidate") as refused:
        promoted(begin(AB), BY)
    assert refused.value.where == "the candidates are blue, red"


@pytest.mark.parametrize("arm", ["present", "green"])
def test_the_champion_or_an_unknown_arm_is_not_promoted(arm: str) -> None:
    with pytest.raises(PenstockError, match=f"{arm} is no candidate"):
        promoted(begin(AB), BY, arm)


def test_a_version_in_shadow_cannot_be_promoted() -> None:
    with pytest.raises(PenstockError, match="which candidate") as refused:
        promoted(begin(policy(mode="shadow", arms=CANARY["arms"][:1])), BY)
    assert "as a candidate" in str(refused.value.next)


@pytest.mark.parametrize("present", [at_step(FIRST, 4), begin(AB), paused(FIRST, BY)])
def test_what_is_tried_is_rolled_back_to_its_champion(present: PolicyChange) -> None:
    change = rolled_back(present, BY, ())
    assert change is not None
    assert (change.policy.weights, change.status) == ({"present": 1.0}, "ended")
    assert change.policy.policy.versions == (3,)
    assert change.policy.policy.salt == "fraud/deeper"


def test_a_promotion_is_rolled_back_to_the_champion_before_it() -> None:
    changes = [FIRST, at_step(FIRST, 5), promoted(at_step(FIRST, 5), BY)]
    change = roll_back(changes)
    assert change is not None
    (arm,) = change.policy.policy.arms
    assert (arm.name, arm.version, change.previous) == ("present", 3, changes[-1].policy.hash)


def test_a_promotion_is_rolled_back_although_its_champion_was_applied_again() -> None:
    changes = [FIRST, promoted(FIRST, BY)]
    changes.append(begin(champion_alone(4, salt="fraud/next"), changes[-1]))
    change = roll_back(changes)
    assert change is not None
    assert change.policy.policy.champion.version == 3


def test_after_a_rollback_an_earlier_promotion_stays() -> None:
    """As if the controller had rolled a canary back, and a person did it again."""
    changes = [FIRST, promoted(FIRST, BY)]
    arms = [{"name": "deeper", "version": 4, "role": "champion"}, {"name": "next", "version": 5}]
    changes.append(begin(policy(arms=arms), changes[-1]))
    ended = roll_back(changes)
    assert ended is not None
    assert ended.policy.policy.champion.version == 4
    assert roll_back([*changes, ended]) is None


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(["try", "promote", "roll back", "replace"]), max_size=8))
def test_what_is_rolled_back_twice_is_rolled_back_once(acts: list[str]) -> None:
    changes = [FIRST]
    for number, act in enumerate(acts, 6):
        present = changes[-1]
        champion = present.policy.policy.champion
        if act == "try":
            arms = [champion.model_dump(), {"name": f"v{number}", "version": number}]
            changes.append(begin(policy(arms=arms), present))
        elif act == "replace":
            changes.append(begin(champion_alone(number), present))
        elif act == "promote" and present.status != "ended":
            changes.append(promoted(present, BY))
        elif act == "roll back":
            changes += filter(None, [roll_back(changes)])
    changes += filter(None, [roll_back(changes)])
    assert changes[-1].status == "ended"
    assert roll_back(changes) is None


def test_where_nothing_was_ever_tried_there_is_nothing_to_go_back_to() -> None:
    with pytest.raises(PenstockError, match="nothing was ever tried"):
        roll_back([begin(champion_alone(3))])
    with pytest.raises(PenstockError, match="no policy was published"):
        rolled_back(None, BY, ())


def test_the_end_of_a_rollout_is_known_as_long_as_nothing_else_is_tried() -> None:
    end = promoted(FIRST, BY)
    assert end_of(policy(), [FIRST, at_step(FIRST, 1), end]) == end
    back = roll_back([FIRST, end])
    assert back is not None
    assert end_of(policy(), [FIRST, end, back]) == end
    assert end_of(AB, [FIRST, end]) is None
    assert end_of(policy(), [FIRST, at_step(FIRST, 1)]) is None
    assert end_of(policy(), [FIRST, end, begin(AB, end)]) is None


def test_of_a_rollout_that_began_again_the_last_end_counts() -> None:
    first_end = promoted(FIRST, BY)
    again = begin(policy(), first_end)
    second_end = rolled_back(again, By("bob", "no", 9), ())
    assert second_end is not None
    assert end_of(policy(), [FIRST, first_end, again, second_end]) == second_end
