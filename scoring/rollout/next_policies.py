"""The policies that may follow a policy: its next step, promotion, rollback, other weights of a bandit. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from scoring.rollout.bandit import Rewards, bandit_weights
from scoring.rollout.policy import Arm, PublishedPolicy, RolloutPolicy, publish
from streams.definitions.rollout import PARTS, parts_of


def rolled_back(published: PublishedPolicy) -> PublishedPolicy:
    """The champion scores all, as before the rollout."""
    return _only(published, published.policy.champion)


def promoted(published: PublishedPolicy, candidate: str) -> PublishedPolicy:
    """A candidate becomes the champion and scores all; the arm keeps its name.

    Raises:
        ValueError: if there is no such candidate.
    """
    found = {arm.name: arm for arm in published.policy.candidates}
    if candidate not in found:
        raise ValueError(f"there is no candidate {candidate!r}; the candidates are {', '.join(found) or 'none'}")
    return _only(published, found[candidate])


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


def _only(published: PublishedPolicy, arm: Arm) -> PublishedPolicy:
    """One arm scores all. The exploration slice is no part of what was tried, and stays."""
    policy = published.policy
    champion = Arm(name=arm.name, version=arm.version, role="champion")
    alone = RolloutPolicy(
        pipeline=policy.pipeline, mode="shadow", salt=policy.salt, arms=(champion,), exploration=policy.exploration
    )
    return publish(alone, published)
