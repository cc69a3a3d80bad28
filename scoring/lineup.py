"""Who scores the events of a batch: the arms of a rollout policy, and the versions that score in shadow.

Without a policy there is one arm, the version that ``penstock model load`` has made the current one. No Kafka here: a
line-up turns events into the records of their predictions.

A candidate cannot lose an event, nor stop a scorer: where it gives no number, the champion scores instead. Such a
prediction has the candidate's arm, the route ``fallback`` and the champion's version.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias

import numpy as np

from penstock.errors import PenstockError
from penstock.kafka.records import Produced
from schemas.columns import Integers, Mask
from scoring.batch import ArmOfEvents, Candidates, encode_results
from scoring.cascade_inference import CascadeInference
from scoring.hosted_inference import HostedInference
from scoring.inference import Inference, Scores, no_scores
from scoring.prediction_format import ModelIdentity, encode_arm, entity_of
from scoring.predictions import PredictionWriter
from scoring.rollout.assignment import Assignment, assign
from scoring.rollout.policy import SHADOW, PublishedPolicy
from scoring.scorer_metrics import AnswerCounts, CascadeCounts, ScorerMetrics
from scoring.unbacked_inference import UnbackedInference

_log = logging.getLogger(__name__)

AnyInference: TypeAlias = Inference | HostedInference | CascadeInference | UnbackedInference


class Seat(NamedTuple):
    """A version in a line-up: what scores with it, and what writes its predictions."""

    models: tuple[ModelIdentity, ...]
    inference: AnyInference
    writer: PredictionWriter

    def infer(self, events: Candidates, clock: Callable[[], float]) -> tuple[Scores, float]:
        """The scores of events, and how long that took by the clock (seconds), in ms."""
        begin = clock()
        scores = self.inference.infer(events.vectors, events.ids)
        return scores, _ms(clock() - begin)


@dataclass(frozen=True)
class Scored:
    """Events of a batch that one version has scored.

    Args:
        rows: Which of the batch they are.
        events: The same.
        scores: Their scores.
        writer: Writes the predictions.
        arm: The arm of the rollout.
    """

    rows: Integers
    events: Candidates
    scores: Scores
    writer: PredictionWriter
    arm: ArmOfEvents | None


@dataclass(frozen=True)
class ScoredBatch:
    """What users are served, what nobody is, and how many versions gave no scores in shadow."""

    served: list[Scored]
    shadows: list[Scored]
    without_shadow: int = 0


NOTHING = ScoredBatch([], [])


class Answers(NamedTuple):
    """The records of a batch.

    Args:
        predictions: Those of events in their order, then shadow predictions.
        letters: The dead letters of events that got no score.
        counts: How many there are of each kind.
    """

    predictions: list[Produced]
    letters: list[Produced]
    counts: list[AnswerCounts]


class LineUp:
    """The versions that score from a policy on until the next one.

    Args:
        published: The policy; None before the first one.
        arms: Those of the policy, in its order; the champion comes first. Without a policy, the current version.
        shadows: The versions that score in shadow.
        clock: Seconds, to measure how long an arm takes.
    """

    def __init__(
        self,
        published: PublishedPolicy | None,
        arms: Sequence[Seat],
        shadows: Sequence[Seat] = (),
        *,
        clock: Callable[[], float],
    ) -> None:
        self.published = published
        self.arms = tuple(arms)
        self.shadows = tuple(shadows)
        self.is_closed = False
        self._clock = clock
        self._failing: set[int] = set()
        self._pool = ThreadPoolExecutor(len(shadows), "shadow") if shadows else None

    @property
    def champion(self) -> Seat:
        """The version in production."""
        return self.arms[0]

    @property
    def models(self) -> list[ModelIdentity]:
        """Every model version that may score."""
        return list(dict.fromkeys(model for seat in (*self.arms, *self.shadows) for model in seat.models))

    def __str__(self) -> str:
        models = ", ".join(f"model {name} version {version}" for name, version in self.models)
        return models if self.published is None else f"{models} under policy {self.published.version}"

    def show(self, metrics: ScorerMetrics) -> None:
        """Tell metrics what scores from now on."""
        metrics.set_models(self.models)
        if self.published is None:
            metrics.set_policy(None, [])
        else:
            arms = [arm.name for arm in self.published.policy.arms]
            metrics.set_policy(self.published.version, [*arms, SHADOW] if self.shadows else arms)

    def waits(self) -> bool:
        """Whether the champion has no scores now."""
        return self.champion.inference.waits()

    def close(self) -> None:
        """End the threads; nothing is scored afterwards."""
        self.is_closed = True
        if self._pool is not None:
            self._pool.shutdown(wait=False)

    def score(self, events: Candidates) -> ScoredBatch:
        """Score events.

        Raises:
            NoScoresNow: if only a server has the champion, and gives no scores now.
            PenstockError: if the champion fails on any input.
        """
        if not len(events):
            return NOTHING
        pending: list[tuple[Seat, Future[tuple[Scores, float]]]] = []
        if self._pool is not None:
            pending = [(seat, self._pool.submit(seat.infer, events, self._clock)) for seat in self.shadows]
        try:
            served = self._score_arms(events)
        finally:
            # A version scores one batch at a time, even if the champion has no scores.
            wait([answer for _, answer in pending])
        shadows = [found for seat, answer in pending if (found := self._shadow(seat, events, answer))]
        return ScoredBatch(served, shadows, len(pending) - len(shadows))

    def _score_arms(self, events: Candidates) -> list[Scored]:
        if self.published is None:
            scores, _ = self.champion.infer(events, self._clock)
            return [Scored(np.arange(len(events)), events, scores, self.champion.writer, None)]
        entities = [entity_of(parts) for parts in events.parts]
        assignment = assign(self.published, entities, events.ids())
        found = []
        for number in np.unique(assignment.arms).tolist():
            rows = np.flatnonzero(assignment.arms == number)
            found += self._score_arm(number, rows, _those(events, rows), assignment)
        return found

    def _score_arm(self, number: int, rows: Integers, events: Candidates, assignment: Assignment) -> list[Scored]:
        """Score the events of an arm, which are those in the rows of the batch."""
        seat, champion = self.arms[number], self.champion
        scores, took_ms = seat.infer(events, self._clock) if seat is champion else self._try(number, events)
        arm, finite = self._arm(number, assignment, rows, took_ms), scores.finite
        if seat is champion or finite.all():
            return [Scored(rows, events, scores, seat.writer, arm)]
        kept, lost = np.flatnonzero(finite), np.flatnonzero(~finite)
        instead = _those(events, lost)
        by_champion, _ = champion.infer(instead, self._clock)
        by_champion = replace(by_champion, by_fallback=np.ones(len(lost), np.bool_))
        found = [Scored(rows[lost], instead, by_champion, champion.writer, arm.of(lost))]
        if len(kept):
            found.append(Scored(rows[kept], events.take(kept), scores.rows(finite), seat.writer, arm.of(kept)))
        return found

    def _try(self, number: int, events: Candidates) -> tuple[Scores, float]:
        """The scores of a candidate, and its time in ms; no number for any event if it fails."""
        begin = self._clock()
        try:
            answer = self.arms[number].infer(events, self._clock)
        except PenstockError as error:
            if number not in self._failing:
                name = self._name(number)
                _log.warning("arm %s gives no scores, the champion scores its events: %s", name, error.what)
            self._failing.add(number)
            return no_scores(len(events)), _ms(self._clock() - begin)
        if number in self._failing:
            _log.info("arm %s gives scores again", self._name(number))
        self._failing.discard(number)
        return answer

    def _name(self, number: int) -> str:
        assert self.published is not None
        return self.published.policy.arms[number].name

    def _arm(self, number: int, assignment: Assignment, rows: Integers, took_ms: float) -> ArmOfEvents:
        assert self.published is not None
        probability = float(assignment.probabilities[rows[0]])
        return arm_of_events(self.published, self._name(number), probability, assignment.explored[rows], took_ms)

    def _shadow(self, seat: Seat, events: Candidates, answer: Future[tuple[Scores, float]]) -> Scored | None:
        published = self.published
        assert published is not None
        try:
            scores, took_ms = answer.result()
        except PenstockError:  # which is logged
            return None
        says = encode_arm(published.version, SHADOW, 1.0, explored=False, propensity=1.0, infer_ms=took_ms)
        arm = ArmOfEvents(SHADOW, np.zeros(len(events), np.bool_), None, says, says)
        return Scored(np.arange(len(events)), events, scores, seat.writer, arm)


def arm_of_events(
    published: PublishedPolicy, name: str, probability: float, explored: Mask, infer_ms: float
) -> ArmOfEvents:
    """What the predictions of events say of the arm that scored them.

    Args:
        published: The policy.
        name: The arm's.
        probability: With which an entity gets it.
        explored: (n,) Which events are in the exploration slice.
        infer_ms: How long the arm took.
    """
    exploration = published.policy.exploration
    share = 0.0 if exploration is None else exploration.share

    def encoded(*, explored: bool, propensity: float) -> bytes:
        return encode_arm(
            published.version, name, probability, explored=explored, propensity=propensity, infer_ms=infer_ms
        )

    return ArmOfEvents(
        name,
        explored,
        None if exploration is None else exploration.decision,
        encoded(explored=True, propensity=share),
        encoded(explored=False, propensity=1 - share),
    )


def encode_batch(scored: ScoredBatch, now: int) -> Answers:
    """The records of a batch that was scored; ``now`` is their time, epoch ms.

    An event has a prediction or a dead letter. Shadow predictions are only of events that have a prediction.
    """
    answers, letters, counts = [], [], []
    has_prediction = np.zeros(sum(len(part.rows) for part in scored.served), np.bool_)
    for part in scored.served:
        predictions, unscorable, is_predicted = encode_results(part.events, part.scores, part.writer, now, part.arm)
        has_prediction[part.rows] = is_predicted
        answers.append((part.rows[is_predicted], predictions))
        letters.append((part.rows[~is_predicted], unscorable))
        counts.append(_counts(part, is_predicted))
    records = _in_order(answers)
    served = len(records)
    for part in scored.shadows:
        answered = has_prediction & part.scores.finite
        rows = np.flatnonzero(answered)
        arm = None if part.arm is None else part.arm.of(rows)
        records += encode_results(_those(part.events, rows), part.scores.rows(answered), part.writer, now, arm)[0]
    counts.append(AnswerCounts(shadow=len(records) - served, without_shadow=scored.without_shadow))
    return Answers(records, _in_order(letters), counts)


def _in_order(parts: list[tuple[Integers, list[Produced]]]) -> list[Produced]:
    """The records of all parts by their rows in the batch; the rows of each part ascend."""
    if len(parts) == 1:
        return parts[0][1]
    rows = [row for some, _ in parts for row in some.tolist()]
    records = [record for _, some in parts for record in some]
    return [records[place] for place in sorted(range(len(rows)), key=rows.__getitem__)]


def _those(events: Candidates, rows: Integers) -> Candidates:
    """The events in some rows, which ascend; not copied if these are all."""
    return events if len(rows) == len(events) else events.take(rows)


def _counts(part: Scored, is_predicted: Mask) -> AnswerCounts:
    scores = part.scores
    return AnswerCounts(
        arm=None if part.arm is None else part.arm.name,
        primary=int((is_predicted & ~scores.by_fallback).sum()),
        fallback=int((is_predicted & scores.by_fallback).sum()),
        unscorable=int((~is_predicted).sum()),
        cascade=CascadeCounts.of(scores, is_predicted, part.writer.policy.threshold),
        oldest_ms=min(part.events.sources[2].tolist(), default=None),
    )


def _ms(seconds: float) -> float:
    return round(seconds * 1_000, 3)
