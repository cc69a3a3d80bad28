"""Builds the records of alerts: those of the drift topic, so that whoever reads these reads both."""

from __future__ import annotations

from penstock.kafka.records import Produced
from schemas.codec import Encoder
from schemas.records import DRIFT_SCHEMA
from streams.definitions.pipeline import Pipeline
from streams.drift.data_quality.quality_watch import QualityAlert

NO_VERSION = "0"
"""The model version of alerts of a pipeline that has no model yet."""


class QualityAlertBuilder:
    """Builds alerts; not thread-safe."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline, self._encoder = pipeline, Encoder(DRIFT_SCHEMA)

    def alert(self, alert: QualityAlert, model_version: str, now_ms: int) -> Produced:
        """The alert's record, keyed by what it is about.

        Args:
            alert: The alert.
            model_version: The version that is served, so that it joins that version's incident.
            now_ms: Epoch ms.
        """
        finding = alert.finding
        value = self._encoder.encode(
            {
                "alert_id": finding.finding_id,
                "pipeline": self._pipeline.name,
                "monitor": finding.monitor,
                "detector": finding.kind,
                "statistic": finding.statistic,
                "threshold": finding.threshold,
                "reference": finding.reference,
                "current": finding.current,
                "event_time": finding.event_time,
                "topic": finding.topic,
                "partition": finding.partition,
                "offset": finding.offset,
                "model": self._pipeline.model.name,
                "model_version": model_version,
                "message": finding.message,
                "incident": alert.incident,
            }
        )
        key, topic = finding.monitor.encode(), self._pipeline.drift_topic
        return Produced(topic, finding.partition, key, value, [], now_ms, finding.finding_id)
