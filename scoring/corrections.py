"""Corrections: predictions of a bad version, scored again by the present champion. No Kafka here.

A correction is a prediction of the same event, in the same partition of a topic of its own. It is scored from the
vector that the prediction has: what the bad version was given. The features topic may have lost the record meanwhile,
and views of other pipelines have other values by now.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache

import numpy as np

from penstock.errors import PenstockError
from penstock.kafka.names import dead_letters_of
from penstock.kafka.records import MAX_RECORD_BYTES, Consumed, Headers, Produced
from penstock.settings import Settings
from scoring.batch import ArmOfEvents, Candidates, encode_results
from scoring.lineup import Seat, arm_of_events
from scoring.repository import ModelRepository
from scoring.rollout.assignment import assign
from scoring.rollout.policy import Arm, PublishedPolicy, RolloutPolicy, publish
from scoring.rollout.transitions import By
from scoring.seating import Seating
from scoring.served import Deadlines, open_versions
from scoring.startup import check_model
from scoring.touched_predictions import TouchedPrediction
from streams.definitions.pipeline import Pipeline
from streams.plan.project import Project

CORRECTS = "penstock.corrects."
"""The headers that say what is corrected begin with this: topic, partition, offset and decision of the prediction.

Two more say who has asked for it, and why.
"""

_DEADLINES = Deadlines(5.0, 5.0)
# Four of the headers, with a topic's name of 249 characters at most, and two longer ones in place of the prediction's.
_HEADERS_BYTES = 1_024
_REPLACED = {"ce_source": "/penstock/{}/rescore", "ce_type": "penstock.correction.v1"}


class Corrector:
    """Scores predictions again with the champion of a policy.

    An explored event keeps the permissive decision, if the policy explores it.

    Args:
        pipeline: The pipeline.
        published: The policy that is effective now.
        champion: Scores with its champion, and writes.
        by: Who asks for the corrections, and why; None if they are not to be written.
        check: Raises PenstockError if the vectors of a model's version (by name and number) are none for the champion.
        now: Wall-clock epoch milliseconds.
        clock: Seconds, to measure how long the champion takes.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        published: PublishedPolicy,
        champion: Seat,
        by: By | None,
        check: Callable[[str, str], None],
        *,
        now: Callable[[], int],
        clock: Callable[[], float],
    ) -> None:
        self._pipeline = pipeline
        self._published = published
        self._champion = champion
        self._signed = _signed(by)
        self._check = cache(check)
        self._now = now
        self._clock = clock

    def correct(self, predictions: Sequence[TouchedPrediction]) -> list[Produced]:
        """The corrections, in the order of the predictions; their ``origin`` is the prediction.

        There is none of a prediction for which the champion has no number, or whose correction would be too long.

        Raises:
            PenstockError: if a vector is none for the champion, the champion fails on any input, or the only server
                that has it gives no scores.
        """
        for each in predictions:
            self._check(each.says["model"], each.says["model_version"])
        events = _events(predictions, self._champion)
        scores, took_ms = self._champion.infer(events, self._clock)
        arm = self._arm(predictions, events, took_ms)
        records, _, has_record = encode_results(events, scores, self._champion.writer, self._now(), arm)
        corrected = [predictions[row] for row in np.flatnonzero(has_record).tolist()]
        return [self._correction(*pair) for pair in zip(records, corrected, strict=True)]

    def _arm(self, predictions: Sequence[TouchedPrediction], events: Candidates, took_ms: float) -> ArmOfEvents:
        published, policy = self._published, self._published.policy
        explored = assign(published, [each.says["entity"] for each in predictions], events.ids()).explored
        # The champion scores every correction, whatever the weights.
        return arm_of_events(published, policy.champion.name, 1.0, explored, took_ms)

    def _correction(self, record: Produced, of: TouchedPrediction) -> Produced:
        headers: Headers = [
            (name, _REPLACED[name].format(self._pipeline.name).encode() if name in _REPLACED else value)
            for name, value in record.headers
        ]
        corrects = {
            "topic": self._pipeline.predictions_topic,
            "partition": str(of.partition),
            "offset": str(of.offset),
            "decision": of.says["decision"],
        }
        headers += [(CORRECTS + name, value.encode()) for name, value in (corrects | self._signed).items()]
        return record._replace(topic=self._pipeline.corrections_topic, headers=headers, origin=of)


@contextmanager
def open_corrector(
    project: Project,
    settings: Settings,
    published: PublishedPolicy,
    by: By | None,
    max_batch: int,
    max_bytes: int,
) -> Iterator[Corrector]:
    """A corrector by the champion of a policy, connected for the duration of the block.

    Args:
        project: The pipeline.
        settings: How to reach the servers.
        published: The policy that is effective now.
        by: Who asks for the corrections, and why; None if they are not to be written.
        max_batch: How many predictions it is given at once, at most.
        max_bytes: The bytes of the longest record that the corrections topic takes.

    Raises:
        PenstockError: if the champion cannot be used, as at a scorer's start.
    """
    pipeline, policy = project.pipeline, published.policy
    repository = ModelRepository(settings.model_repository)
    signed_bytes = sum(len(each.encode()) for each in _signed(by).values())
    largest = {
        pipeline.predictions_topic: max_bytes - _HEADERS_BYTES - signed_bytes,
        dead_letters_of(pipeline.predictions_topic): MAX_RECORD_BYTES,  # none is written
    }

    def check(model: str, version: str) -> None:
        try:
            check_model(pipeline, project.plan, repository.description(model, int(version)), 1, project.other_views)
        except PenstockError as error:
            raise PenstockError(
                f"what version {version} has scored cannot be scored again: {error.what}",
                where=error.where,
                safe="what was corrected before stays, and is not corrected again",
                next="correct these predictions with the definition with which they were made",
            ) from error

    with open_versions(project, settings, max_batch) as versions:
        seating = Seating(project, versions, _DEADLINES, largest, lambda _reason: None)
        champion = seating.line_up(_champion_alone(policy)).champion
        yield Corrector(
            pipeline,
            published,
            champion,
            by,
            check,
            now=lambda: time.time_ns() // 1_000_000,
            clock=time.perf_counter,
        )


def _signed(by: By | None) -> dict[str, str]:
    return {} if by is None else {"author": by.author, "reason": by.reason}


def _champion_alone(policy: RolloutPolicy) -> PublishedPolicy:
    """A policy with only the champion: no candidate needs to be loaded."""
    champion = Arm(name=policy.champion.name, version=policy.champion.version, role="champion")
    return publish(RolloutPolicy(pipeline=policy.pipeline, mode="shadow", salt=policy.salt, arms=(champion,)))


def _events(predictions: Sequence[TouchedPrediction], champion: Seat) -> Candidates:
    """The events as a scorer has them, with the vectors that were served."""
    says = [each.says for each in predictions]
    topics = list(dict.fromkeys(one["source"]["topic"] for one in says))
    sources = [[one["source"][name] for one in says] for name in ("partition", "offset", "timestamp")]
    vectors = np.frombuffer(b"".join(one["vector"] for one in says), "<f4").reshape(len(says), -1)
    consumed = [
        Consumed(one["features_topic"], one["features_partition"], one["features_offset"], each.key, None, each.headers)
        for each, one in zip(predictions, says, strict=True)
    ]
    return Candidates(
        consumed,
        [champion.writer.format.parts_of_prediction(one) for one in says],
        vectors.astype(np.float32),
        np.array([each.partition for each in predictions], np.int64),
        np.array([topics.index(one["source"]["topic"]) for one in says], np.int64),
        topics,
        np.array(sources, np.int64),
    )
