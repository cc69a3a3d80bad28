"""Converts records for tracks: feature records and predictions to observations, alerts and dead letters to records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from penstock.kafka.names import dead_letters_of
from penstock.kafka.records import MAX_RECORD_BYTES, Produced
from schemas.codec import Encoder, Undecodable, UnknownSchema
from schemas.dead_letters import DeadLetter
from schemas.history import record_decoder
from schemas.records import DRIFT_SCHEMA
from scoring.vectors import Vectorizer
from streams.definitions.monitors import SCORE
from streams.definitions.pipeline import Pipeline
from streams.drift.drift_reference import DriftReference
from streams.drift.track import DriftAlert, Observation, describe_alert
from streams.plan.feature_records import is_absent
from streams.plan.project import Project

ObservationReader = Callable[[bytes], Observation | None]
"""Decodes a record's value; None if it holds nothing to monitor.

Raises:
    Undecodable, UnknownSchema: if it is not a record of this topic.
"""

COMPONENT = "penstock.drift"


def monitors_by_topic(pipeline: Pipeline) -> dict[str, tuple[str, ...]]:
    """The topics to follow, and the monitors that each topic's records feed."""
    monitors = pipeline.monitors
    if monitors is None:
        return {}
    topics = {pipeline.features_topic: monitors.inputs, pipeline.predictions_topic: (SCORE,) if monitors.score else ()}
    return {topic: names for topic, names in topics.items() if names}


def observation_reader(topic: str, project: Project, version: int) -> ObservationReader:
    """The reader of a topic in :func:`monitors_by_topic`; only predictions of the model's ``version`` are monitored."""
    pipeline = project.pipeline
    if topic == pipeline.features_topic:
        return _features_reader(project)
    decoder, observe = record_decoder("prediction"), observer_of(topic, pipeline, version)
    return lambda value: observe(decoder.decode(value))


def _features_reader(project: Project) -> ObservationReader:
    pipeline, decoder = project.pipeline, project.features_decoder()
    observe = observer_of(pipeline.features_topic, pipeline, 0)

    def read(value: bytes) -> Observation | None:
        record = decoder.decode(value)
        return observe(record) if is_comparable(pipeline, decoder.absent_names(value)) else None

    return read


def is_comparable(pipeline: Pipeline, lacks: frozenset[str]) -> bool:
    """Whether a record has every monitored field; one that its schema lacks is neither a missing value nor drift."""
    return pipeline.monitors is None or not any(is_absent(name, lacks) for name in pipeline.monitors.inputs)


def observer_of(topic: str, pipeline: Pipeline, version: int) -> Callable[[Mapping[str, Any]], Observation | None]:
    """A function from a decoded record of a topic in :func:`monitors_by_topic` to its observation.

    It returns None if there is nothing to monitor.
    """
    assert pipeline.monitors is not None
    vectorizer, model = Vectorizer(pipeline.monitors.inputs), (pipeline.model.name, str(version))

    def of_features(record: Mapping[str, Any]) -> Observation | None:
        if record["trigger"] != "event":
            return None
        return Observation(record["event_time"], _source(record), vectorizer.vectors([record])[0].tolist())

    def of_prediction(record: Mapping[str, Any]) -> Observation | None:
        if (record["model"], record["model_version"]) != model:
            return None
        # float32, like the model's output and the reference's scores.
        return Observation(record["event_time"], _source(record), [float(np.float32(record["score"]))])

    return of_features if topic == pipeline.features_topic else of_prediction


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
