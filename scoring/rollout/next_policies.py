"""The policies that follow from what was seen: a canary's next step, and other weights of a bandit. Pure.

Those that a person can ask for, too, are in :mod:`scoring.rollout.transitions`.
"""

from __future__ import annotations

from collections.abc import Mapping

from scoring.rollout.bandit import Rewards, bandit_weights
from scoring.rollout.policy import PublishedPolicy, publish
from streams.definitions.rollout import PARTS, parts_of


def at_step(published: PublishedPolicy, step: int) -> PublishedPolicy:
    """A canary at another of its steps, counted from 0."""
    policy = published.policy
    weight = policy.steps[step].weight
    (candidate,) = policy.candidates
    weights = {policy.champion.name: (PARTS - parts_of(weight)) / PARTS, candidate.name: weight}
    return publish(policy, published, weights)


def reweighted(published: PublishedPolicy, rewards: Mapping[str, Rewards]) -> PublishedPolicy:
    """A bandit with the weights that follow from the rewards of each arm."""
    return publish(published.policy, published, bandit_weights(rewards))
