"""Which arm of a rollout scores which entity. Pure: the answer depends on the published policy and the ids alone.

So it is the same in every process, batch and replay. Three hashes decide, each with a salt of its own: the policy's
chooses the arm, the exploration's the exploration slice, and the pipeline's the audit slice (:mod:`scoring.audit`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scoring.audit import in_slice, positions
from scoring.rollout.policy import PublishedPolicy
from streams.definitions.rollout import PARTS


@dataclass(frozen=True)
class Assignment:
    """The arms of events, as columns of length N.

    Attributes:
        arms: The index of each event's arm in ``policy.arms``.
        probabilities: With which probability an entity gets this arm: its weight.
        explored: Whether the event is in the exploration slice, so that its decision is the permissive one.
        propensities: With which probability an entity has this value of ``explored``: the share of the slice in it, the
            rest outside.
    """

    arms: NDArray[np.intp]
    probabilities: NDArray[np.float64]
    explored: NDArray[np.bool_]
    propensities: NDArray[np.float64]


def assign(published: PublishedPolicy, entities: Sequence[str | None], event_ids: Sequence[str]) -> Assignment:
    """The arm of each event.

    All events of an entity have the same arm. An event without an entity is an entity of its own, named by the event's
    id: its arm is the same in a replay, and such events are shared out by weight like all others.

    Args:
        published: The policy.
        entities: The entity of each event, [N]; None for an event that has none.
        event_ids: The id of each event, [N].
    """
    everything = published.ranges[0]
    if len(published.ranges) == 1 and published.policy.exploration is None:
        only = [arm.name for arm in published.policy.arms].index(everything.arm)
        count = len(event_ids)
        return Assignment(np.full(count, only), np.ones(count), np.zeros(count, np.bool_), np.ones(count))
    ids = [event if entity is None else entity for entity, event in zip(entities, event_ids, strict=True)]
    policy = published.policy
    index = {arm.name: place for place, arm in enumerate(policy.arms)}
    weights = np.array(list(published.weights.values()))
    ends = np.array([each.end for each in published.ranges])
    owners = np.array([index[each.arm] for each in published.ranges], np.intp)
    parts = np.floor(positions(policy.salt, ids) * PARTS)
    arms = owners[np.searchsorted(ends, parts, side="right")]
    if policy.exploration is None:
        return Assignment(arms, weights[arms], np.zeros(len(ids), np.bool_), np.ones(len(ids)))
    share = policy.exploration.share
    explored = in_slice(policy.exploration.salt, ids, share)
    return Assignment(arms, weights[arms], explored, np.where(explored, share, 1 - share))
