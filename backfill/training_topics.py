"""The training set of a pipeline from its topics: the features as they were emitted, the labels as they arrived."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from backfill.topics import Record, read_topic
from backfill.training_set import FeatureRow, LabelRow, TrainingSet, join, view_versions
from penstock.errors import PenstockError
from penstock.kafka import KafkaAccess
from schemas.codec import Decoder, Rejection, Undecodable, UnknownSchema, decode_event
from schemas.committed import features_writer_schemas, writer_schemas
from schemas.contract import INT64_MAX, Role, contract_fields, field_with_role
from schemas.records import view_schema
from scoring.vectors import Vectorizer
from streams.definitions import Labels, Pipeline
from streams.plan import PipelinePlan, plan

_log = logging.getLogger(__name__)

_BATCH = 1_000
_LOGGED_REFUSALS = 5


def training_set_from_topics(pipeline: Pipeline, kafka: KafkaAccess, until_ms: int | None = None) -> TrainingSet:
    """The events that were featurised and labelled so far, as known at ``until_ms`` (event time; None: all of it).

    Both topics are read committed, from their beginning to their end at the time of the call. A feature record of other
    view versions, and a label that breaks its contract, are left out, logged and counted.

    Raises:
        PenstockError: if the pipeline has no labels or its label is no yes or no, a topic does not exist, or Kafka
            cannot be reached.
    """
    labels = pipeline.labels
    if labels is None:
        raise PenstockError(
            f"pipeline {pipeline.name} declares no labels, so there is nothing to learn from",
            next="give it labels=Labels(topic=..., contract=..., value=...)",
        )
    label_reader, feature_reader = LabelReader(labels), FeatureReader(pipeline)
    result = join(
        feature_reader.rows(read_topic(kafka, pipeline.features_topic)),
        label_reader.rows(read_topic(kafka, labels.topic)),
        inputs=pipeline.model.inputs,
        views=view_versions(plan(pipeline), pipeline.model.inputs),
        until_ms=until_ms,
    )
    counts = replace(
        result.counts,
        features_refused=feature_reader.refused.count,
        labels_refused=label_reader.refused.count,
    )
    return replace(result, counts=counts)


@dataclass
class Refusals:
    """Counts what could not be used, and logs the first few with their place and reason."""

    topic: str
    count: int = 0

    def add(self, record: Record, reason: str) -> None:
        """One more."""
        self.count += 1
        if self.count <= _LOGGED_REFUSALS:
            _log.warning("left out %s[%d]@%d: %s", self.topic, record.partition, record.offset, reason)


class LabelReader:
    """Records of a labels topic to rows.

    Raises:
        PenstockError: if the contract does not name the event, or the value is not a boolean or a number.
    """

    def __init__(self, labels: Labels) -> None:
        self.refused = Refusals(labels.topic)
        self._labels = labels
        contract = labels.contract
        self._id = field_with_role(contract, Role.EVENT_ID)
        self._known_at = field_with_role(contract, Role.EVENT_TIME)
        kind = next((field.type for field in contract_fields(contract) if field.name == labels.value), None)
        if self._id is None or kind not in ("boolean", "long", "double"):
            raise PenstockError(
                f"labels of contract {contract.contract_name} cannot be joined: they need an EVENT_ID, and a field "
                f"{labels.value!r} that is a boolean, or a number that is 0 or 1",
                where=f"Labels(topic={labels.topic!r})",
                next="correct the contract or Labels(value=...) in the pipeline",
            )
        self._writers = Decoder(*writer_schemas(contract))

    def rows(self, records: Iterable[Record]) -> Iterator[LabelRow]:
        """One row per usable record, in the order of the records."""
        for record in records:
            # No clock guard: where history is replayed, the time of a label has nothing to do with Kafka's clock.
            label = decode_event(
                record.value,
                self._labels.contract,
                self._writers,
                kafka_timestamp_ms=0,
                max_future_ms=INT64_MAX,
                max_bytes=INT64_MAX,
            )
            if isinstance(label, Rejection):
                self.refused.add(record, label.message)
                continue
            value = getattr(label, self._labels.value)
            if value not in (None, False, True):  # 0 and 1 are equal to them
                self.refused.add(record, f"{self._labels.value} is neither 0 nor 1")
                continue
            assert self._id is not None
            assert self._known_at is not None
            yield LabelRow(
                event_id=getattr(label, self._id),
                known_at_ms=getattr(label, self._known_at),
                position=(record.timestamp, record.partition, record.offset),
                value=None if value is None else bool(value),
            )


class FeatureReader:
    """Records of a features topic to rows, in the model's order of inputs."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.refused = Refusals(pipeline.features_topic)
        self._vectorizer = Vectorizer(pipeline.model.inputs)
        planned = plan(pipeline)
        self._views = tuple(view_versions(planned, pipeline.model.inputs))
        schemas = features_writer_schemas(pipeline)
        self._decoder = Decoder(*(schema for schema in schemas if _serves(schema, planned, pipeline.model.inputs)))

    def rows(self, records: Iterable[Record]) -> Iterator[FeatureRow]:
        """One row per usable record that an event triggered, in the order of the records."""
        batch: list[tuple[Record, dict[str, Any]]] = []
        for record in records:
            try:
                features = self._decoder.decode(record.value or b"")
            except UnknownSchema:
                self.refused.add(record, "written with other view versions than the pipeline has now")
                continue
            except Undecodable as error:
                self.refused.add(record, error.what)
                continue
            if features["trigger"] == "event":
                batch.append((record, features))
            if len(batch) == _BATCH:
                yield from self._rows(batch)
                batch = []
        yield from self._rows(batch)

    def _rows(self, batch: list[tuple[Record, dict[str, Any]]]) -> Iterator[FeatureRow]:
        vectors = self._vectorizer.vectors([features for _, features in batch])
        for (record, features), vector in zip(batch, vectors, strict=True):
            seen = [features[view]["as_of"] for view in self._views if features[view] is not None]
            yield FeatureRow(
                event_id=features["event_id"],
                event_time_ms=features["event_time"],
                known_at_ms=max(seen, default=features["event_time"]),
                # Of two events with the same id the one that arrived first; of two emissions the earlier.
                position=(features["source"]["timestamp"], record.partition, record.offset),
                vector=vector.copy(),  # a row must not keep its whole batch in memory
                partition=record.partition,
            )


def _serves(schema: dict[str, Any], planned: PipelinePlan, inputs: tuple[str, ...]) -> bool:
    """Whether records of this schema hold the inputs, computed by the view versions that the pipeline has now."""
    types = {field["name"]: field["type"] for field in schema["fields"]}
    columns = {field["name"] for field in types["event"]["fields"]}
    for name in inputs:
        scope, _, column = name.partition(".")
        if scope == "event":
            if column not in columns:
                return False
        elif types.get(scope) != ["null", view_schema(planned.view(scope))]:
            return False
    return True
