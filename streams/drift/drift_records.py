"""Converts records for tracks: feature records and predictions to observations, alerts and dead letters to records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from penstock.kafka.names import dead_letters_of
from penstock.kafka.records import MAX_RECORD_BYTES, Produced
from schemas.codec import Encoder, Undecodable, UnknownSchema
from schemas.columns import FEWEST, ColumnReader, Columns, Integers
from schemas.dead_letters import DeadLetter
from schemas.history import record_decoder
from schemas.records import DRIFT_SCHEMA, PREDICTION_SCHEMA
from scoring.vectors import Vectorizer
from streams.definitions.monitors import SCORE
from streams.definitions.pipeline import Pipeline
from streams.drift.drift_reference import DriftReference
from streams.drift.track import DriftAlert, Observation, Observations, describe_alert
from streams.plan.feature_records import features_schema, is_absent
from streams.plan.project import Project

COMPONENT = "penstock.drift"


def monitors_by_topic(pipeline: Pipeline) -> dict[str, tuple[str, ...]]:
    """The topics to follow, and the monitors that each topic's records feed."""
    monitors = pipeline.monitors
    if monitors is None:
        return {}
    topics = {pipeline.features_topic: monitors.inputs, pipeline.predictions_topic: (SCORE,) if monitors.score else ()}
    return {topic: names for topic, names in topics.items() if names}


class Reading(NamedTuple):
    """What a block of records holds to monitor, and why the others, by offset, cannot be read."""

    observations: Observations
    undecodable: dict[int, Undecodable | UnknownSchema]


class ObservationReader:
    """Reads what the records of one topic hold to monitor.

    Args:
        schema: The current schema of the topic's records.
        equal: The texts that a record must have, by field; any other record holds nothing to monitor.
        vectorizer: Takes each monitor's value from a record, in the track's order.
        read_one: Decodes any record's value by itself; None if it holds nothing to monitor. It reads those that the
            column reader does not vouch for, such as records of earlier schemas, and raises Undecodable or
            UnknownSchema if it cannot.
    """

    def __init__(
        self,
        schema: dict[str, Any],
        equal: Mapping[str, str],
        vectorizer: Vectorizer,
        read_one: Callable[[bytes], Observation | None],
    ) -> None:
        self._columns = ColumnReader(schema)
        self._equal = dict(equal)
        self._vectorizer = vectorizer
        self._read_one = read_one

    def read(self, offsets: Sequence[int], values: Sequence[bytes | None]) -> Reading:
        """Read a block of records; each is read as it would be alone."""
        contents = [value or b"" for value in values]
        if len(contents) < FEWEST:
            return self._singly(list(zip(offsets, contents, strict=True)))
        columns = self._columns.locate(contents)
        observations = self._located(np.array(offsets, np.int64), columns)
        others = [(offsets[row], contents[row]) for row in np.flatnonzero(~columns.plain).tolist()]
        if not others:
            return Reading(observations, {})
        reading = self._singly(others)
        return Reading(observations.merged(reading.observations), reading.undecodable)

    def _located(self, offsets: Integers, columns: Columns) -> Observations:
        has = columns.plain
        for field, text in self._equal.items():
            has = has & columns.equals(field, text)
        rows = np.flatnonzero(has)
        topics = [topic or "" for topic in columns.texts("source.topic")]  # never null
        partitions = columns.integers("source.partition").tolist()
        sources = list(zip(topics, partitions, columns.integers("source.offset").tolist(), strict=True))
        values = self._vectorizer.of_columns(columns)[rows].astype(np.float64)
        return Observations(
            offsets[rows], columns.integers("event_time")[rows], [sources[row] for row in rows.tolist()], values
        )

    def _singly(self, records: Sequence[tuple[int, bytes]]) -> Reading:
        found, undecodable = [], {}
        for offset, value in records:
            try:
                observation = self._read_one(value)
            except (Undecodable, UnknownSchema) as error:
                undecodable[offset] = error
            else:
                if observation is not None:
                    found.append((offset, observation))
        return Reading(Observations.of(found, len(self._vectorizer.inputs)), undecodable)


def observation_reader(topic: str, project: Project, version: int) -> ObservationReader:
    """The reader of a topic in :func:`monitors_by_topic`; only predictions of the model's ``version`` are monitored."""
    pipeline, observe = project.pipeline, observer_of(topic, project.pipeline, version)
    assert pipeline.monitors is not None
    if topic == pipeline.features_topic:
        features = project.features_decoder()

        def read(value: bytes) -> Observation | None:
            record = features.decode(value)
            return observe(record) if is_comparable(pipeline, features.absent_names(value)) else None

        return ObservationReader(features_schema(project.plan), {"trigger": "event"}, _monitored(pipeline), read)
    predictions, cascade = record_decoder("prediction"), pipeline.model.cascade
    model = (
        {"model": pipeline.model.name, "model_version": str(version)}
        if cascade is None
        else {"cascade.fast_version": str(version)}
    )
    score = Vectorizer(("score" if cascade is None else "cascade.fast_score",))
    return ObservationReader(PREDICTION_SCHEMA, model, score, lambda value: observe(predictions.decode(value)))


def is_comparable(pipeline: Pipeline, lacks: frozenset[str]) -> bool:
    """Whether a record has every monitored field; one that its schema lacks is neither a missing value nor drift."""
    return pipeline.monitors is None or not any(is_absent(name, lacks) for name in pipeline.monitors.inputs)


def observer_of(topic: str, pipeline: Pipeline, version: int) -> Callable[[Mapping[str, Any]], Observation | None]:
    """A function from a decoded record of a topic in :func:`monitors_by_topic` to its observation.

    It returns None if there is nothing to monitor.
    """
    assert pipeline.monitors is not None
    vectorizer, model = _monitored(pipeline), (pipeline.model.name, str(version))

    def of_features(record: Mapping[str, Any]) -> Observation | None:
        if record["trigger"] != "event":
            return None
        return Observation(record["event_time"], _source(record), vectorizer.vectors([record])[0].tolist())

    def of_prediction(record: Mapping[str, Any]) -> Observation | None:
        if pipeline.model.cascade is None:
            name, by, value = record["model"], record["model_version"], record["score"]
        else:
            # The strong model's scores, of the unclear cases alone, say nothing of the distribution.
            cascade = record["cascade"] or {"fast_version": None, "fast_score": 0.0}
            name, by, value = pipeline.model.name, cascade["fast_version"], cascade["fast_score"]
        if (name, by) != model:
            return None
        # float32, like the model's output and the reference's scores.
        score = np.array([value], np.float64)
        with np.errstate(over="ignore"):
            return Observation(record["event_time"], _source(record), score.astype(np.float32).tolist())

    return of_features if topic == pipeline.features_topic else of_prediction


def _monitored(pipeline: Pipeline) -> Vectorizer:
    assert pipeline.monitors is not None
    return Vectorizer(pipeline.monitors.inputs, pipeline.categories)


def _source(record: Mapping[str, Any]) -> tuple[str, int, int]:
    source = record["source"]
    return source["topic"], source["partition"], source["offset"]


class DriftRecordBuilder:
    """Builds the records that are published with a state. Not thread-safe.

    ``letter_bytes`` has the length of the longest record of topics of dead letters; those of others may be as long as
    the producer takes.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        reference: DriftReference,
        version: int,
        letter_bytes: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self._pipeline = pipeline
        self._reference = reference
        self._version = str(version)
        self._letter_bytes = letter_bytes
        self._encoder = Encoder(DRIFT_SCHEMA)

    def alert(self, alert: DriftAlert, topic: str, partition: int, now_ms: int) -> Produced:
        """The alert's record: in the drift topic's partition of the same number, keyed by its monitor."""
        crossing = alert.crossing
        value = self._encoder.encode(
            {
                "alert_id": alert.alert_id,
                "pipeline": self._pipeline.name,
                "monitor": alert.monitor,
                "detector": crossing.detector,
                "statistic": crossing.statistic,
                "threshold": crossing.threshold,
                "reference": crossing.reference,
                "current": crossing.current,
                "event_time": alert.event_time,
                "topic": topic,
                "partition": partition,
                "offset": alert.offset,
                "model": self._reference.model,
                "model_version": self._version,
                "message": describe_alert(alert, self._reference.monitor(alert.monitor)),
                "incident": alert.incident,
            }
        )
        key = alert.monitor.encode()
        return Produced(self._pipeline.drift_topic, partition, key, value, [], now_ms, alert.alert_id)

    def dead_letter(
        self,
        where: tuple[str, int, int],
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes | None]],
        error: Undecodable | UnknownSchema,
        now_ms: int,
    ) -> Produced:
        """The dead letter of an undecodable record: verbatim if Kafka takes it, with the reason in its headers."""
        topic, partition, offset = where
        letter = DeadLetter(
            topic=topic,
            partition=partition,
            offset=offset,
            pipeline=self._pipeline.name,
            stage="decode",
            component=COMPONENT,
            reason=f"penstock.{type(error).__name__}",
            message=error.what,
            key=key,
            value=value,
            original_headers=tuple(headers),
        )
        letters = dead_letters_of(topic)
        return letter.record(letters, now_ms, self._letter_bytes.get(letters, MAX_RECORD_BYTES))
