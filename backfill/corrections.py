"""Publishes corrections of what a bad version has touched, each once.

A prediction gets one correction, ever. The corrections say themselves which predictions have one, so there is no other
progress that could be lost. Each partition has a transactional id of its own, whose producer is started before the
corrections are read: whoever wrote before has finished then, or is fenced. So a command that is killed at any moment,
or runs twice at once, leaves nothing that another one would write again.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Protocol

import numpy as np
from confluent_kafka import OFFSET_BEGINNING, TopicPartition
from numpy.typing import NDArray

from penstock.counts import counted
from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from penstock.kafka.names import group_of
from penstock.kafka.reading import Record, read_topic, starts_at
from penstock.kafka.records import Produced
from penstock.kafka.topics import require_topics, topic_settings
from penstock.kafka.transactions import (
    OutcomeUnknownError,
    TransactionAbortedError,
    TransactionalProducer,
    producer_factory,
)
from penstock.settings import Settings
from schemas.codec import Decoder
from schemas.history import record_decoder
from scoring.corrections import CORRECTS, Corrector, open_corrector
from scoring.rollout.policy import PublishedPolicy
from scoring.rollout.touched import Choice
from scoring.rollout.transitions import By
from scoring.touched_predictions import Period, Place, TouchedPrediction, read_touched
from streams.definitions.pipeline import Pipeline
from streams.plan.project import Project

_BATCH, _BATCH_BYTES = 500, 16 * 1024 * 1024
_WRITE_S = 20.0
_ATTEMPTS = 3
# Of an offset in a header, which may be anything in a record of somebody else.
_MOST_DIGITS = 18

_log = logging.getLogger(__name__)


@dataclass
class Outcome:
    """What became of touched predictions.

    Args:
        decisions: How many were corrected, by the decision before and after.
        corrected_before: How many had a correction.
        too_old: Of how many this cannot be told, because Kafka has deleted corrections of their time. They get none.
        without_score: How many get none because the champion has no number for them, or because it would be longer
            than its topic takes.
    """

    decisions: Counter[tuple[str, str]] = field(default_factory=Counter)
    corrected_before: int = 0
    too_old: int = 0
    without_score: int = 0

    @property
    def corrected(self) -> int:
        """How many were corrected."""
        return self.decisions.total()

    @property
    def changed(self) -> int:
        """How many of them have another decision now."""
        return sum(number for (before, after), number in self.decisions.items() if before != after)

    def add(self, other: Outcome) -> None:
        """Count what became of others, too."""
        self.decisions += other.decisions
        self.corrected_before += other.corrected_before
        self.too_old += other.too_old
        self.without_score += other.without_score


def rescore(
    project: Project,
    settings: Settings,
    published: PublishedPolicy,
    choice: Choice,
    places: Sequence[Place],
    period: Period,
    by: By | None,
) -> Iterator[tuple[int, Outcome]]:
    """Correct the predictions of the chosen arms; yields each partition with what became of its predictions.

    Args:
        project: The pipeline.
        settings: How to reach the servers.
        published: The policy that is effective now, whose champion scores.
        choice: The arms.
        places: Where their predictions are, by partition.
        period: Only what was scored then.
        by: Who asks for it, and why; None to score, but write nothing.

    Raises:
        PenstockError: if the champion is one of the chosen versions or cannot be used, or Kafka does not answer. What
            was written stays, and is not written again.
    """
    kafka, pipeline, champion = settings.kafka.access, project.pipeline, published.policy.champion
    if champion.version in choice.versions:
        raise PenstockError(
            f"version {champion.version} is the champion now: it would correct itself",
            where=f"policy {published.version}",
            safe="nothing was written",
            next="penstock rollout rollback PIPELINE --reason TEXT, then try again",
        )
    topic = pipeline.corrections_topic
    require_topics([topic], kafka, partitions=pipeline.source.partitions, pipeline="PIPELINE")
    limits, decoder = topic_settings([topic], kafka)[topic], record_decoder("prediction")
    with open_corrector(project, settings, published, by, _BATCH, int(limits["max.message.bytes"])) as corrector:
        for partition, some in groupby(places, lambda place: place.window.partition):
            reading = _Reading(kafka, pipeline, choice, list(some), period)
            writer = _Nowhere() if by is None else _producer(kafka, pipeline, partition)
            yield partition, _correct(reading, corrector, writer, limits, decoder)


class _Writer(Protocol):
    def start(self) -> bool: ...
    def write(
        self, records: Sequence[Produced], offsets: list[TopicPartition], group_metadata: None, timeout_s: float, /
    ) -> None: ...


class _Nowhere:
    """Where a dry run writes."""

    def start(self) -> bool:
        return True

    def write(self, *_: object) -> None:
        pass


@dataclass(frozen=True)
class _Reading:
    """What is read of one partition."""

    kafka: KafkaAccess
    pipeline: Pipeline
    choice: Choice
    places: list[Place]
    period: Period

    @property
    def partition(self) -> int:
        return self.places[0].window.partition

    def predictions(self) -> Iterator[TouchedPrediction]:
        return read_touched(self.kafka, self.pipeline, self.choice, self.places, self.period)

    def corrected(self) -> NDArray[np.int64]:
        topic = self.pipeline.corrections_topic
        records = read_topic(self.kafka, topic, start={self.partition: OFFSET_BEGINNING})
        return corrected_offsets(records, self.pipeline.predictions_topic, self.partition)

    def has_lost_corrections(self) -> bool:
        (start,) = starts_at(self.kafka, self.pipeline.corrections_topic, [(self.partition, 0)])
        return start.is_cut


def corrected_offsets(corrections: Iterable[Record], topic: str, partition: int) -> NDArray[np.int64]:
    """The offsets of the predictions that have a correction, in order.

    Args:
        corrections: The corrections.
        topic: The topic of the predictions.
        partition: Their partition.
    """
    wanted = (topic.encode(), str(partition).encode())

    def offsets() -> Iterator[int]:
        for record in corrections:
            said = {name.removeprefix(CORRECTS): value or b"" for name, value in record.headers}
            offset = said.get("offset", b"")
            is_offset = offset.isdigit() and len(offset) <= _MOST_DIGITS
            if (said.get("topic"), said.get("partition")) == wanted and is_offset:
                yield int(offset)

    return np.sort(np.fromiter(offsets(), np.int64))


def told_since(limits: Mapping[str, str], now: int) -> int:
    """The time (epoch ms) from which on a topic that has lost records still has all.

    A correction is never dated before its prediction. So of a prediction that is dated later, it can be told whether it
    has one.

    Args:
        limits: The settings of the topic.
        now: Epoch ms.
    """
    kept_ms = int(limits["retention.ms"])
    # What is deleted by size, or by hand, may be of any age.
    return now if int(limits["retention.bytes"]) >= 0 or kept_ms < 0 else now - kept_ms


def _correct(
    reading: _Reading, corrector: Corrector, writer: _Writer, limits: Mapping[str, str], decoder: Decoder
) -> Outcome:
    """Correct the predictions of one partition."""
    outcome, done, why = Outcome(), -1, ""
    for _ in range(_ATTEMPTS):
        writer.start()
        corrected = reading.corrected()
        since = told_since(limits, time.time_ns() // 1_000_000) if reading.has_lost_corrections() else None
        try:
            for batch in _batches(each for each in reading.predictions() if each.offset > done):
                uncorrected, found = _uncorrected(batch, corrected, since)
                records = corrector.correct(uncorrected) if uncorrected else []
                if records:
                    writer.write(records, [], None, _WRITE_S)
                done = batch[-1].offset
                found.decisions = _decisions(records, decoder)
                found.without_score = len(uncorrected) - len(records)
                outcome.add(found)
        except (TransactionAbortedError, OutcomeUnknownError) as error:
            why = str(error)
            _log.warning("partition %d: a transaction failed (%s); going on after the last one", reading.partition, why)
        else:
            return outcome
    raise PenstockError(
        f"{counted(_ATTEMPTS, 'transaction')} failed; another `penstock rollout rescore` may be running: {why}",
        where=f"{reading.pipeline.corrections_topic}[{reading.partition}] at {reading.kafka}",
        safe="each correction is written once or not at all",
        next="penstock status; then the same command again, which goes on where this one has ended",
    )


def _uncorrected(
    batch: Sequence[TouchedPrediction], corrected: NDArray[np.int64], since: int | None
) -> tuple[list[TouchedPrediction], Outcome]:
    """Those that are to be corrected, and what becomes of the others."""
    offsets = [each.offset for each in batch]
    has_one = np.searchsorted(corrected, offsets, "left") < np.searchsorted(corrected, offsets, "right")
    without = [each for each, has in zip(batch, has_one.tolist(), strict=True) if not has]
    told = [each for each in without if since is None or each.timestamp >= since]
    return told, Outcome(corrected_before=len(batch) - len(without), too_old=len(without) - len(told))


def _batches(predictions: Iterable[TouchedPrediction]) -> Iterator[list[TouchedPrediction]]:
    batch: list[TouchedPrediction] = []
    size = 0
    for each in predictions:
        batch.append(each)
        size += each.bytes
        if len(batch) == _BATCH or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _decisions(records: Sequence[Produced], decoder: Decoder) -> Counter[tuple[str, str]]:
    """How many corrections there are, by the decision before and after."""
    found = Counter[tuple[str, str]]()
    for record in records:
        assert isinstance(record.origin, TouchedPrediction)
        found[record.origin.says["decision"], decoder.decode(record.value or b"")["decision"]] += 1
    return found


def _producer(kafka: KafkaAccess, pipeline: Pipeline, partition: int) -> TransactionalProducer:
    transactional_id = group_of(pipeline.name, f"rollout-rescore-{partition}")
    return TransactionalProducer(
        producer_factory(kafka, transactional_id),
        transactional_id,
        clock=time.monotonic,
        wait=time.sleep,
        stopping=lambda: False,
    )
