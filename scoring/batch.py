"""The pure steps of a batch: read its feature records, drop events that are scored already, encode the results.

No Kafka client, no clock, no model: :mod:`scoring.scorer` runs these steps between consuming and committing.

Feature records become columns (:mod:`schemas.columns`); a record that the column reader does not vouch for, and each
record of a small batch, is decoded by itself, with the same result.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from math import isfinite
from typing import NamedTuple

import numpy as np

from penstock.kafka.records import Consumed, Produced
from schemas.codec import Decoder, Undecodable, UnknownSchema
from schemas.columns import FEWEST, ColumnReader, Integers, Mask
from schemas.records import TIMER
from scoring.entity_keys import EntityKeys, Keys
from scoring.inference import CascadeScores, Scores
from scoring.memory import EventPosition, Events
from scoring.prediction_format import NULL, CascadeScore, CopiedParts, text_of
from scoring.predictions import PredictionWriter, event_position
from scoring.vectors import FloatArray, Vectorizer, packed_vectors


@dataclass(frozen=True)
class Candidates:
    """Events that may be scored, in order of arrival; row i of each column is the same event.

    Args:
        consumed: Their feature records.
        parts: What their predictions copy from these.
        vectors: (n, inputs) The model's inputs.
        partitions: Of the feature records.
        topics: Of the raw events; ``topic_names`` has the names.
        sources: (3, n) Raw partition, raw offset, Kafka timestamp of the raw event.
        keys: What they ask of views of other pipelines; empty if the model takes no inputs from these.
    """

    consumed: list[Consumed]
    parts: list[CopiedParts]
    vectors: FloatArray
    partitions: Integers
    topics: Integers
    topic_names: list[str]
    sources: Integers
    keys: list[Keys] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.consumed)

    def take(self, rows: Integers) -> Candidates:
        """Those in the rows."""
        return Candidates(
            [self.consumed[row] for row in rows.tolist()],
            [self.parts[row] for row in rows.tolist()],
            self.vectors[rows],
            self.partitions[rows],
            self.topics[rows],
            self.topic_names,
            self.sources[:, rows],
            [self.keys[row] for row in rows.tolist()] if self.keys else [],
        )

    def ids(self) -> list[str]:
        """Their event ids."""
        return [text_of(parts[0]).decode() for parts in self.parts]

    def position(self, row: int) -> EventPosition:
        """The raw event in a row."""
        return EventPosition(self.topic_names[self.topics[row]], *self.sources[:, row].tolist())

    def by_partition(self) -> dict[int, list[tuple[Integers, Events]]]:
        """For each partition of the feature records the events of each raw partition, and their rows."""
        raw_partitions, offsets, timestamps = self.sources
        keys = self.partitions, self.topics, raw_partitions
        grouped: dict[int, list[tuple[Integers, Events]]] = {}
        for partition, topic, raw_partition in sorted(set(zip(*(key.tolist() for key in keys), strict=True))):
            rows = np.flatnonzero(
                (self.partitions == partition) & (self.topics == topic) & (raw_partitions == raw_partition)
            )
            events = Events(self.topic_names[topic], raw_partition, offsets[rows], timestamps[rows])
            grouped.setdefault(partition, []).append((rows, events))
        return grouped


@dataclass(frozen=True)
class DecodedBatch:
    """A decoded batch: its events, the dead letters of undecodable records, the number of timers."""

    candidates: Candidates
    dead_letters: list[Produced]
    timers: int


class FeatureReader:
    """Reads the feature records of one pipeline.

    Args:
        schema: The schema of the current definition.
        decoder: Also decodes the records of earlier definitions, to the current one.
        raw_topics: The topics whose events are scored.
        vectorizer: Takes the model's inputs from a record.
        writer: Writes the dead letters, and knows what predictions copy.
        keys: Finds what the events ask of views of other pipelines; None if the model takes no inputs from these.
    """

    def __init__(
        self,
        schema: dict[str, object],
        decoder: Decoder,
        raw_topics: Sequence[str],
        vectorizer: Vectorizer,
        writer: PredictionWriter,
        keys: EntityKeys | None = None,
    ) -> None:
        self._columns = ColumnReader(schema)
        self._keys = keys
        self._decoder = decoder
        self._raw_topics = tuple(raw_topics)
        self._vectorizer = vectorizer
        self._format = writer.format
        self._writer = writer

    def decode(self, batch: Sequence[Consumed], now: int) -> DecodedBatch:
        """Decode the records of a batch; ``now`` (epoch ms) is the timestamp of the dead letters."""
        size = len(batch)
        vectors = np.zeros((size, len(self._vectorizer.inputs)), np.float32)
        sources, topics = np.zeros((3, size), np.int64), np.zeros(size, np.int64)
        parts: list[CopiedParts | None] = [None] * size
        keys: list[Keys | None] = [] if self._keys is None else [None] * size
        plain = timer = np.zeros(size, np.bool_)
        if size >= FEWEST:
            columns = self._columns.locate([consumed.value or b"" for consumed in batch])
            is_known = np.zeros(size, np.bool_)
            for number, topic in enumerate(self._raw_topics):
                is_of_topic = columns.equals("source.topic", topic)
                topics[is_of_topic] = number
                is_known |= is_of_topic
            plain = columns.plain & is_known
            timer = plain & columns.equals("trigger", TIMER)
            if plain.any():
                vectors = self._vectorizer.of_columns(columns)
                for row, name in enumerate(("source.partition", "source.offset", "source.timestamp")):
                    sources[row] = columns.integers(name)
                parts[:] = self._format.parts_of_columns(columns)
                if self._keys is not None:
                    keys[:] = self._keys.of_columns(columns)
        is_event: Mask = plain & ~timer
        timers, dead_letters, names = int(timer.sum()), [], [*self._raw_topics]
        for row in np.flatnonzero(~plain).tolist():
            consumed = batch[row]
            if consumed.value is None:
                message = "a record without a value cannot be scored"
                dead_letters.append(self._writer.dead_letter(consumed, "decode", "penstock.Tombstone", message, now))
                continue
            try:
                record = self._decoder.decode(consumed.value)
            except (Undecodable, UnknownSchema) as error:
                reason = f"penstock.{type(error).__name__}"
                dead_letters.append(self._writer.dead_letter(consumed, "decode", reason, error.what, now))
                continue
            if record["trigger"] == TIMER:
                # Updates the stores, but is no event: there is nothing to score.
                timers += 1
                continue
            topic, *sources[:, row] = event_position(record)
            if topic not in names:
                names.append(topic)
            topics[row] = names.index(topic)
            vectors[row] = self._vectorizer.vectors([record])[0]
            parts[row] = self._format.parts_of_record(record)
            if self._keys is not None:
                keys[row] = self._keys.of_record(record)
            is_event[row] = True
        partitions = np.fromiter((consumed.partition for consumed in batch), np.int64, size)
        everything = Candidates(list(batch), parts, vectors, partitions, topics, names, sources, keys)  # type: ignore[arg-type]
        return DecodedBatch(everything.take(np.flatnonzero(is_event)), dead_letters, timers)


class ArmOfEvents(NamedTuple):
    """The arm of a rollout that scored n events.

    Args:
        name: The arm.
        explored: (n,) Which of them have the permissive decision, whatever their score.
        decision: That decision.
        of_explored: What the predictions of these say of the arm, encoded.
        of_others: The same of the others.
    """

    name: str
    explored: Mask
    decision: str | None
    of_explored: bytes
    of_others: bytes

    def of(self, rows: Integers) -> ArmOfEvents:
        """The same of the events in some rows."""
        return self._replace(explored=self.explored[rows])

    def decided(self, decisions: list[str]) -> list[str]:
        """The decisions on their scores, and of those that are explored the permissive one."""
        if self.decision is not None:
            for row in np.flatnonzero(self.explored).tolist():
                decisions[row] = self.decision
        return decisions

    def encoded(self) -> list[bytes]:
        """For each event what its prediction says of the arm."""
        either = self.of_others, self.of_explored
        return [either[explored] for explored in self.explored.tolist()]


def encode_results(
    candidates: Candidates, scores: Scores, writer: PredictionWriter, now: int, arm: ArmOfEvents | None = None
) -> tuple[list[Produced], list[Produced], Mask]:
    """Encode one record per candidate: a prediction, or a dead letter if the score is missing or not finite.

    A prediction that is too long to write becomes a dead letter, too. ``arm`` is the arm of a rollout, if there is one.

    Returns:
        The predictions, the dead letters, and (n,) which candidates have a prediction.
    """
    predictions, dead_letters = [], []
    is_predicted = scores.finite
    moment = writer.moment(now)
    decisions = writer.policy.decide(scores.values)
    timestamps = candidates.sources[2]
    spans = writer.spans(candidates.consumed, candidates.topic_names, candidates.topics, candidates.sources)
    rows = zip(
        candidates.consumed,
        candidates.parts,
        packed_vectors(candidates.vectors),
        scores.values.tolist(),
        decisions if arm is None else arm.decided(decisions),
        scores.routes(),
        timestamps.tolist(),
        spans,
        is_predicted.tolist(),
        scores.kept.tolist(),
        writer.reasons(candidates.vectors, scores),
        _cascade_scores(scores.cascade, len(candidates)),
        repeat(NULL, len(candidates)) if arm is None else arm.encoded(),
        strict=True,
    )
    for row, (
        consumed,
        parts,
        vector,
        score,
        decision,
        route,
        timestamp,
        span,
        finite,
        outputs,
        reasons,
        cascade,
        rollout,
    ) in enumerate(rows):
        if not finite:
            if scores.failed[row]:
                reason, message = "penstock.ModelFailed", "the model fails on this record, not on every input"
            else:
                reason, message = "penstock.NotANumber", "the model's score is not a finite number"
        else:
            prediction = writer.prediction(
                consumed,
                parts,
                vector,
                score,
                route,
                timestamp,
                span,
                moment,
                decision=decision,
                outputs=outputs,
                reasons=reasons,
                cascade=cascade,
                rollout=rollout,
            )
            if not writer.is_too_long(prediction):
                predictions.append(prediction)
                continue
            is_predicted[row] = False
            reason = "penstock.TooLarge"
            message = f"the prediction takes {prediction.bytes} bytes, more than the {writer.max_bytes} allowed"
        dead_letters.append(writer.unscorable(consumed, candidates.position(row), reason, message, now))
    return predictions, dead_letters, is_predicted


def _cascade_scores(cascade: CascadeScores | None, count: int) -> Iterable[CascadeScore | None]:
    """How a cascade came to each score; None without one."""
    if cascade is None:
        return repeat(None, count)
    strong = [score if isfinite(score) else None for score in cascade.strong.tolist()]
    return map(CascadeScore, cascade.fast.tolist(), strong, cascade.in_band.tolist(), cascade.audited.tolist())
