"""A canary's candidate gets its step's weight, and a bandit's arms those of their rewards; salt and entities stay."""

from __future__ import annotations

import pytest

from scoring.rollout.bandit import Rewards
from scoring.rollout.next_policies import at_step, reweighted
from tests.scoring.rollout.observed import change, experiment

CANARY = change(0, 0.01, 0.2, 1).policy


@pytest.mark.parametrize(("step", "weight"), [(0, 0.0), (1, 0.01), (2, 0.2), (3, 1.0)])
def test_a_step_has_its_weight(step: int, weight: float) -> None:
    published = at_step(CANARY, step)
    assert published.weights == {"present": pytest.approx(1 - weight), "tried": weight}
    assert published.policy == CANARY.policy


def test_the_candidate_keeps_its_entities_from_step_to_step() -> None:
    before = at_step(CANARY, 1)
    parts = [
        {part for each in published.ranges if each.arm == "tried" for part in range(each.start, each.end)}
        for published in (before, at_step(before, 2))
    ]
    assert parts[0] < parts[1]


def test_the_arm_with_more_rewards_gets_a_greater_weight() -> None:
    of = experiment("bandit").policy
    weights = reweighted(of, {"present": Rewards(100, 10), "tried": Rewards(100, 40)}).weights
    assert weights["tried"] > 0.9
    assert weights["present"] >= 0.05
