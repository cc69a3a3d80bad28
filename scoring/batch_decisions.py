"""Decisions on many events at once, as a scorer would make them under a rollout policy. No Kafka, and no clock.

The arms, the exploration slice, the champion in the place of a candidate without a number, and the threshold are those
of :mod:`scoring.lineup`; the tests hold one against the other.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from penstock.errors import PenstockError
from schemas.columns import Integers, Mask, Numbers
from scoring.decision import Policy
from scoring.inference import Scores, no_scores
from scoring.local_versions import LocalArm
from scoring.prediction_format import ModelIdentity
from scoring.rollout.assignment import assign
from scoring.rollout.policy import Arm, PublishedPolicy, RolloutPolicy, publish
from scoring.vectors import FloatArray

_log = logging.getLogger(__name__)

FAILED, NOT_A_NUMBER = "penstock.ModelFailed", "penstock.NotANumber"
"""Why an event has no score: the model fails on it, not on every input; or the score is no finite number."""


@dataclass(frozen=True)
class Decisions:
    """The decisions on n events.

    Args:
        scores: (n,) The scores; NaN where there is none.
        kept: (n, k) The outputs that are kept beside the score.
        decisions: (n) None where there is no score.
        errors: (n) Why there is no score; None where there is one.
        models: (n) The version that decided, or that gave no score.
        arms: (n) The arm of the policy.
        explored: (n,) Which are in the exploration slice: there any decision is the permissive one, whatever the score.
    """

    scores: Numbers
    kept: Numbers
    decisions: list[str | None]
    errors: list[str | None]
    models: list[ModelIdentity]
    arms: list[str]
    explored: Mask


class Decider:
    """Decides on events under a policy.

    Args:
        published: The policy.
        arms: Those of the policy, in its order; the champion comes first.
        policy: Turns scores into decisions.
    """

    def __init__(self, published: PublishedPolicy, arms: Sequence[LocalArm], policy: Policy) -> None:
        self._published = published
        self.arms = tuple(arms)
        self._policy = policy
        self._failing: set[int] = set()

    @property
    def kept(self) -> tuple[str, ...]:
        """The names of the outputs beside the score; all versions keep the same."""
        return self.arms[0].kept

    def decide(self, vectors: FloatArray, entities: Sequence[str | None], ids: Sequence[str]) -> Decisions:
        """Score and decide.

        Args:
            vectors: (n, inputs) The model's inputs.
            entities: (n) The entity of the pipeline's first view, by which a policy shares events out; None for none.
            ids: (n) The event ids.

        Raises:
            PenstockError: if the champion fails on any input.
        """
        size, published = len(ids), self._published
        assignment = assign(published, entities, ids)
        found = _Columns(size, len(self.kept))
        for number in np.unique(assignment.arms).tolist():
            rows = np.flatnonzero(assignment.arms == number)
            found.put(rows, self._scores(number, vectors, rows, ids), self.arms[number])
            lost = rows[~np.isfinite(found.values[rows])]
            if number and len(lost):
                found.put(lost, self._scores(0, vectors, lost, ids), self.arms[0])
        finite = np.isfinite(found.values)
        decisions: list[str | None] = [*self._policy.decide(found.values)]
        exploration = published.policy.exploration
        if exploration is not None:
            for row in np.flatnonzero(assignment.explored).tolist():
                decisions[row] = exploration.decision
        errors: list[str | None] = [None] * size
        for row in np.flatnonzero(~finite).tolist():
            decisions[row], errors[row] = None, FAILED if found.failed[row] else NOT_A_NUMBER
        names = [arm.name for arm in published.policy.arms]
        return Decisions(
            np.where(finite, found.values, np.nan),
            found.kept,
            decisions,
            errors,
            found.models,
            [names[number] for number in assignment.arms.tolist()],
            assignment.explored,
        )

    def _scores(self, number: int, vectors: FloatArray, rows: Integers, ids: Sequence[str]) -> Scores:
        """The scores of an arm; no number for any event if a candidate fails."""
        inference = self.arms[number].inference
        try:
            return inference.infer(vectors[rows], lambda: [ids[row] for row in rows.tolist()])
        except PenstockError as error:
            if not number:
                error.safe = "what was scored before stays"
                raise
            if number not in self._failing:
                name = self._published.policy.arms[number].name
                _log.warning("arm %s gives no scores, the champion scores its events: %s", name, error.what)
            self._failing.add(number)
            return no_scores(len(rows))


def champion_alone(pipeline: str, version: int) -> PublishedPolicy:
    """A policy with one version for all events, and no exploration."""
    arms = (Arm(name="model", version=version, role="champion"),)
    return publish(RolloutPolicy(pipeline=pipeline, mode="shadow", salt="none", arms=arms))


class _Columns:
    """The scores of all arms together."""

    def __init__(self, size: int, kept: int) -> None:
        self.values, self.kept = np.full(size, np.nan), np.full((size, kept), np.nan)
        self.failed = np.zeros(size, np.bool_)
        self.models = [ModelIdentity("", "")] * size

    def put(self, rows: Integers, scores: Scores, arm: LocalArm) -> None:
        self.values[rows], self.failed[rows] = scores.values, scores.failed
        if scores.kept.shape[1] == self.kept.shape[1]:  # none, of an arm that has failed
            self.kept[rows] = scores.kept
        by_strong = np.zeros(len(rows), np.bool_) if scores.cascade is None else scores.cascade.in_band
        for row, strong in zip(rows.tolist(), by_strong.tolist(), strict=True):
            self.models[row] = arm.strong if strong and arm.strong is not None else arm.model
