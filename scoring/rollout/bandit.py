"""The weights of a bandit's arms, from the rewards that have matured: Thompson sampling without drawing. Pure.

Thompson sampling gives an event to each arm with the probability that this arm is the best one, as far as is known
(Thompson, Biometrika 1933). The rate of rewards of an arm has a Beta distribution, from a uniform prior. Usually one
draw per event realises that probability, and nobody knows its value. Here it is computed and published as the arm's
weight, and the hash of the entity draws. So the propensity of each event is known, and the same counts give the same
weights in every process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from scoring.rollout.policy import FLOOR
from streams.definitions.rollout import PARTS, parts_of

# Of the quadrature, for each arm. What is averaged rises with the rate from 0 to 1 at most, so the error is below half
# of 1 / _POINTS, which is less than the 0.0001 to which weights are rounded.
_POINTS = 8_192


@dataclass(frozen=True)
class Rewards:
    """The events of an arm whose reward is known.

    Args:
        events: How many there are.
        rewarded: How many of them had a reward.
    """

    events: int
    rewarded: int

    def __post_init__(self) -> None:
        if not 0 <= self.rewarded <= self.events:
            raise ValueError(f"{self.rewarded} of {self.events} events cannot have had a reward")


def bandit_weights(rewards: Mapping[str, Rewards]) -> dict[str, float]:
    """The weight of each arm: 5 % for each, and the rest by the probability that it is the best one.

    The counts are taken as one sample: where rates change within a day, count whole days. The weights are multiples of
    0.0001 and sum to 1.

    Args:
        rewards: The rewards of each arm, by its name.

    Raises:
        ValueError: if there is no arm, or more than have 5 % each.
    """
    floor = parts_of(FLOOR)
    rest = PARTS - floor * len(rewards)
    if not rewards or rest < 0:
        raise ValueError(f"a bandit has 1 to {PARTS // floor} arms, got {len(rewards)}")
    names = sorted(rewards)
    exact = rest * probabilities_of_best([rewards[name] for name in names])
    parts = np.floor(exact).astype(np.int64)
    # The parts that rounding down has left go to those that lost most by it.
    parts[np.argsort(parts - exact, kind="stable")[: rest - int(parts.sum())]] += 1
    return {name: (floor + int(more)) / PARTS for name, more in zip(names, parts, strict=True)}


def probabilities_of_best(rewards: list[Rewards]) -> NDArray[np.float64]:
    """With which probability each arm has the greatest rate of rewards, [N]; they sum to 1.

    An arm is the best one at a rate if all others are below it. This is averaged over the midpoints of 8,192 equally
    probable intervals of its rate.
    """
    hits = np.array([[each.rewarded + 1] for each in rewards], np.float64)
    misses = np.array([[each.events - each.rewarded + 1] for each in rewards], np.float64)
    levels = (np.arange(_POINTS) + 0.5) / _POINTS
    best = np.empty(len(rewards))
    for arm in range(len(rewards)):
        rates = special.betaincinv(hits[arm], misses[arm], levels)
        below = special.betainc(hits, misses, rates)
        below[arm] = 1.0
        best[arm] = below.prod(axis=0).mean()
    return np.asarray(best / best.sum(), np.float64)
