"""The state of the judge as named columns, and the versions that it is about. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scoring.rollout.bandit import Rewards
from scoring.rollout.collecting import policy_number
from scoring.rollout.facts import Facts
from scoring.rollout.judge_state import HIDDEN, TOO_LATE, Call, Column, JudgeState
from scoring.rollout.sample import Mask

Numbers = NDArray[np.float64]
CHAMPION = 0
"""The place of the champion in a policy's arms."""
_NEVER = np.iinfo(np.int64).max


class Subject(NamedTuple):
    """A version that is judged.

    Attributes:
        version: The version of the model.
        in_shadow: Whether it is judged by its predictions that nobody is served.
        place: Its place among the versions that score in shadow; or that of its arm in the policy's arms.
        is_candidate: Whether it is tried by the policy; otherwise it only scores in shadow beside it.
    """

    version: int
    in_shadow: bool
    place: int
    is_candidate: bool


def subjects(state: JudgeState) -> list[Subject]:
    """The versions that are judged: candidates where they score now, then all others that score in shadow."""
    published = state.published
    policy, weights, shadows = published.policy, published.weights, published.shadows
    found = []
    for place, arm in enumerate(policy.arms[1:], 1):
        if weights[arm.name]:
            found.append(Subject(arm.version, in_shadow=False, place=place, is_candidate=True))
        elif policy.mode == "canary":
            found.append(Subject(arm.version, True, shadows.index(arm.version), True))
    tried = {subject.version for subject in found if subject.in_shadow}
    beside = [version for version in shadows if version not in tried]
    return found + [Subject(version, True, shadows.index(version), False) for version in beside]


class Seen:
    """The columns of a state.

    Args:
        state: What was seen.
        facts: The pipeline.
    """

    def __init__(self, state: JudgeState, facts: Facts) -> None:
        self.state = state
        self.facts = facts
        calls, entities = state.calls.rows["values"], state.entities.rows["values"]
        self.call_arm = calls[:, Call.ARM]
        self.moment = calls[:, Call.MOMENT]
        self.is_failed = calls[:, Call.IS_FAILED] == 1
        self.is_letter = calls[:, Call.IS_LETTER] == 1
        self.infer_ms = calls[:, Call.INFER_MS]
        self.arm = entities[:, Column.ARM]
        self.score = entities[:, Column.SCORE]
        self.groups = entities[:, len(Column) : len(Column) + state.groups]

    @cached_property
    def is_call(self) -> Mask:
        """Which calls were surely made under the policy: of a dead letter only the partition's marker says so."""
        first = self._of_partitions(self.state.markers, _NEVER)
        return np.asarray(~np.isnan(self.call_arm) & (~self.is_letter | (self.state.calls.rows["offset"] >= first)))

    @cached_property
    def is_complete(self) -> Mask:
        """Which calls have a prediction, and one of each shadow version if there is ever to be any."""
        is_prediction = self.state.calls.rows["values"][:, Call.IS_LETTER] == 0
        end = self._of_partitions(self.state.complete, -1)
        return np.asarray(is_prediction & (self.state.calls.rows["offset"] < end))

    @cached_property
    def is_judged_by_label(self) -> Mask:
        """Which entities' events are judged by their label, or by having none.

        Without a horizon, those that have one. With it, an event is judged once all labels that came within it have
        been read.
        """
        has_label = ~np.isnan(self.label)
        if self.state.horizon_ms is None:
            return has_label
        if self.state.clock_ms is None:
            return np.zeros(len(has_label), np.bool_)
        return np.asarray(has_label & (self._unseen != TOO_LATE) & (self.state.finals <= self.state.clock_ms), np.bool_)

    @cached_property
    def is_present(self) -> Mask:
        """Which entities were served under the policy itself, not one before."""
        policy = self.state.entities.rows["values"][:, Column.POLICY]
        return np.asarray(policy == policy_number(self.state.published.version), np.bool_)

    @cached_property
    def label(self) -> Numbers:
        """The labels of entities' events, those that are known by now; NaN where not known.

        With a horizon, no label may mean 0: look at :attr:`is_judged_by_label`, too.
        """
        known = self.state.labels.of(self.state.entities.rows["event"], self.state.finals)
        if self.facts.maturity.absent != "negative":
            return known
        return np.where(np.isnan(known) & (self._unseen != HIDDEN), 0.0, known)

    @property
    def _unseen(self) -> Numbers:
        return np.asarray(self.state.entities.rows["values"][:, Column.UNSEEN], np.float64)

    def shadow_ms(self, slot: int) -> Numbers:
        """How long a shadow version took for each call; NaN where it gave no score."""
        return np.asarray(self.state.calls.rows["values"][:, len(Call) + slot], np.float64)

    def shadow_score(self, slot: int) -> Numbers:
        """The scores of a shadow version; NaN where it gave none."""
        place = len(Column) + self.state.groups + slot
        return np.asarray(self.state.entities.rows["values"][:, place], np.float64)

    def has_score(self, arm: int) -> Mask:
        """Which entities have a score of an arm, by its own version."""
        return np.asarray((self.arm == arm) & ~np.isnan(self.score))

    def is_pair(self, slot: int) -> Mask:
        """Which entities have a score of the champion and one of the shadow version, of the same event."""
        return self.has_score(CHAMPION) & ~np.isnan(self.shadow_score(slot))

    def in_order(self, chosen: Mask) -> NDArray[np.intp]:
        """The places of chosen entities, in the order of their events."""
        rows = self.state.entities.rows[chosen]
        return np.flatnonzero(chosen)[np.lexsort((rows["offset"], rows["partition"], rows["first"]))]

    def one_for_each_moment(self, chosen: Mask) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
        """One of the chosen calls for each moment in which there is any, drawn by hash; returns moments and places.

        Calls that are made together are alike: they share a batch, a busy server, an open breaker.
        """
        places = np.flatnonzero(chosen)
        moments = (self.moment[places] // self.facts.rollout.together).astype(np.int64)
        order = np.lexsort((self.state.calls.rows["unit"][places], moments))
        found, first = np.unique(moments[order], return_index=True)
        return found, places[order[first]]

    def _of_partitions(self, offsets: Mapping[int, int], default: int) -> NDArray[np.int64]:
        """The offset for the partition of each call."""
        partitions, places = np.unique(self.state.calls.rows["partition"], return_inverse=True)
        return np.array([offsets.get(one, default) for one in partitions.tolist()], np.int64)[places]


def events_of(state: JudgeState, subject: Subject) -> int:
    """How many events a version has scored, or had no score for: exact until there are more than are remembered."""
    rows = state.calls.rows
    if subject.in_shadow:
        counted = ~np.isnan(rows["values"][:, len(Call) + subject.place])
    else:
        counted = rows["values"][:, Call.ARM] == subject.place
    pools = np.bincount(rows["pool"][counted], minlength=len(state.calls.halvings))
    return sum(int(count) << halvings for count, halvings in zip(pools, state.calls.halvings, strict=True))


def rewards_of(state: JudgeState, facts: Facts) -> dict[str, Rewards]:
    """The rewards of each arm of a bandit that are known: labels of its entities."""
    seen, rewards = Seen(state, facts), {}
    for place, arm in enumerate(state.published.policy.arms):
        labels = seen.label[seen.is_judged_by_label & (seen.arm == place)]
        rewards[arm.name] = Rewards(len(labels), int((labels > 0).sum()))
    return rewards
