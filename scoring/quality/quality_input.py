"""Reads predictions, shadow predictions and labels as what the book takes: many at once, only the fields needed.

A record that cannot be read is passed over. Each says where it is and why.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from sys import intern
from typing import Any, NamedTuple

import numpy as np

from penstock.kafka.lag import Partition
from schemas.codec import Registry, Undecodable, UnknownSchema
from schemas.columns import FEWEST, ColumnReader, Columns
from schemas.history import record_decoder
from schemas.records import PREDICTION_SCHEMA
from scoring.label_values import Unusable, decoders_of
from scoring.quality.events import KnownLabel, Scored
from scoring.quality.facts import QualityFacts
from scoring.rollout.controller_records import Message, Unreadable, place
from scoring.training_set import Truth
from streams.plan.project import Project

_FLOAT_BYTES = 4
_NO_GROUP = "null"
_FEW = ("model", "model_version", "policy", "arm", "route", "decision", "threshold_policy", "topic")


class ReadBatch(NamedTuple):
    """What a batch of records says.

    Attributes:
        predictions: Predictions, served or in shadow.
        labels: What became known of events.
        come: The latest time in each partition: of events, or at which labels became known or were received.
        passed: The records that could not be read.
    """

    predictions: list[Scored]
    labels: list[KnownLabel]
    come: dict[Partition, int]
    passed: list[Unreadable]


class QualityInput:
    """Reads the topics of a pipeline's quality.

    Args:
        project: The pipeline, which has labels.
        facts: What is counted.
        registry: Finds the schemas of Confluent-framed labels; without one such labels cannot be read.
    """

    def __init__(self, project: Project, facts: QualityFacts, registry: Registry | None = None) -> None:
        pipeline = project.pipeline
        assert pipeline.labels is not None
        self._facts = facts
        self._live, self._shadow = pipeline.predictions_topic, pipeline.shadow_topic
        self._labels = decoders_of(pipeline.labels, project.schemas, registry)
        self._columns, self._decoder = ColumnReader(PREDICTION_SCHEMA), record_decoder("prediction")

    @property
    def label_topics(self) -> tuple[str, ...]:
        """The topics of labels, in the order of their sources."""
        return tuple(self._labels)

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics that it reads: predictions, shadow predictions, labels."""
        return self._live, self._shadow, *self._labels

    def read(self, messages: Mapping[str, Sequence[Message]]) -> ReadBatch:
        """What the records of each topic say.

        Raises:
            PenstockError: if the schema registry cannot be reached.
        """
        batch = ReadBatch([], [], {}, [])
        for topic in (self._live, self._shadow):
            self._read_predictions(topic, messages.get(topic, ()), batch)
        for source, topic in enumerate(self._labels):
            for message in messages.get(topic, ()):
                self._read_label(source, topic, message, batch)
        return batch

    def _read_label(self, source: int, topic: str, message: Message, batch: ReadBatch) -> None:
        known = self._labels[topic].read(message.value())
        if isinstance(known, Unusable):
            batch.passed.append(Unreadable(topic, place(topic, message), known.reason))
            return
        timestamp = message.timestamp()[1]
        rank = known.known_at_ms, timestamp, message.partition(), message.offset()
        value = None if known.value is None else self._is_positive(known.value)
        batch.labels.append(KnownLabel(known.event_id, rank, value, source))
        come = known.known_at_ms if timestamp < 0 else min(known.known_at_ms, timestamp)
        _come(batch, (topic, message.partition()), come)

    def _is_positive(self, truth: Truth) -> bool:
        positive = self._facts.positive_class
        return bool(truth) if positive is None else str(truth) == positive

    def _read_predictions(self, topic: str, messages: Sequence[Message], batch: ReadBatch) -> None:
        is_shadow = topic == self._shadow
        for message, fields in zip(messages, self._fields(topic, messages, batch), strict=True):
            if fields is None:
                continue
            score = fields["score"]
            if not 0 <= score <= 1:  # nor is NaN
                where = place(topic, message)
                batch.passed.append(Unreadable(topic, where, f"the score {score} is no probability"))
                continue
            # Of the texts that few values have, one of each is kept: the events of two horizons are in memory.
            for name in _FEW:
                fields[name] = intern(fields[name])
            model, version = fields.pop("model"), fields.pop("model_version")
            vector = fields.pop("vector")
            batch.predictions.append(
                Scored(
                    **fields,
                    version=version if model == self._facts.model else f"{model}:{version}",
                    groups=self._groups(vector),
                    is_shadow=is_shadow,
                    place=((topic, message.partition()), message.offset()),
                )
            )
            _come(batch, (topic, message.partition()), fields["event_time_ms"])

    def _fields(self, topic: str, messages: Sequence[Message], batch: ReadBatch) -> Iterator[dict[str, Any] | None]:
        """What each record has; None where it cannot be read."""
        values = [message.value() or b"" for message in messages]
        columns = self._columns.locate(values) if len(values) >= FEWEST else None
        rows = None if columns is None else _rows(columns, has_topic=bool(self._facts.scored))
        for number, message in enumerate(messages):
            if columns is not None and rows is not None and columns.plain[number]:
                yield rows(number)
                continue
            where = place(topic, message)
            try:
                yield _of_record(self._decoder.decode(values[number], where), has_topic=bool(self._facts.scored))
            except (Undecodable, UnknownSchema) as error:
                batch.passed.append(Unreadable(topic, where, error.what))
                yield None

    def _groups(self, vector: bytes) -> tuple[str, ...]:
        """The values of the groups, as text; none where a vector, of another version's inputs, is too short."""
        inputs = len(vector) // _FLOAT_BYTES
        found = np.frombuffer(vector, "<f4", inputs)
        values = [float(found[place]) if place < inputs else math.nan for place in self._facts.places]
        return tuple(_NO_GROUP if math.isnan(value) else f"{value:.9g}" for value in values)


def _come(batch: ReadBatch, partition: Partition, time_ms: int) -> None:
    batch.come[partition] = max(batch.come.get(partition, time_ms), time_ms)


def _rows(columns: Columns, *, has_topic: bool) -> Callable[[int], dict[str, Any]]:
    """Gives the fields of a record by its number."""
    of = {
        "event_id": columns.texts("event_id"),
        "event_time_ms": columns.integers("event_time").tolist(),
        "model": columns.texts("model"),
        "model_version": columns.texts("model_version"),
        "policy": [one or "" for one in columns.texts("rollout.policy")],
        "arm": [one or "" for one in columns.texts("rollout.arm")],
        "route": columns.texts("route"),
        "score": columns.numbers("score").tolist(),
        "decision": columns.texts("decision"),
        "threshold_policy": columns.texts("policy_version"),
        "explored": (columns.numbers("rollout.explored") == 1).tolist(),
        "propensity": columns.numbers("rollout.propensity").tolist(),
        "vector": columns.text_bytes("vector"),
        "topic": columns.texts("source.topic") if has_topic else [""] * len(columns.plain),
    }
    rank = list(
        zip(
            columns.integers("source.timestamp").tolist(),
            columns.integers("source.partition").tolist(),
            columns.integers("source.offset").tolist(),
            columns.integers("features_offset").tolist(),
            strict=True,
        )
    )
    present = columns.present("rollout.arm").tolist()

    def row(number: int) -> dict[str, Any]:
        fields = {name: column[number] for name, column in of.items()}
        fields["propensity"] = fields["propensity"] if present[number] else 1.0
        return {**fields, "rank": rank[number]}

    return row


def _of_record(record: Mapping[str, Any], *, has_topic: bool) -> dict[str, Any]:
    """The same of a record that is decoded."""
    source, rollout = record["source"], record["rollout"] or {}
    return {
        "event_id": record["event_id"],
        "event_time_ms": record["event_time"],
        "rank": (source["timestamp"], source["partition"], source["offset"], record["features_offset"]),
        "model": record["model"],
        "model_version": record["model_version"],
        "policy": rollout.get("policy", ""),
        "arm": rollout.get("arm", ""),
        "route": record["route"],
        "score": record["score"],
        "decision": record["decision"],
        "threshold_policy": record["policy_version"],
        "explored": rollout.get("explored", False),
        "propensity": rollout.get("propensity", 1.0),
        "vector": record["vector"],
        "topic": source["topic"] if has_topic else "",
    }
