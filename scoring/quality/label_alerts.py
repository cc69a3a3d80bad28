"""Alarms on labels as alerts of the drift topic, where incidents find them. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from penstock.kafka.reading import Record
from penstock.kafka.records import Produced
from schemas.codec import Encoder
from schemas.history import decoded
from schemas.records import DRIFT_SCHEMA
from scoring.quality.label_watch import LabelAlarm
from streams.definitions.monitors import LABELS
from streams.definitions.pipeline import Pipeline

DETECTOR = "e_detector"


class LabelAlerts:
    """Builds the alerts of one pipeline.

    Args:
        pipeline: The pipeline.
        fingerprint: Of what is counted: alarms of another definition are other alerts.
    """

    def __init__(self, pipeline: Pipeline, fingerprint: str) -> None:
        self._pipeline, self._fingerprint = pipeline, fingerprint
        self._encoder = Encoder(DRIFT_SCHEMA)

    def id_of(self, alarm: LabelAlarm) -> str:
        """The id: the same for the same alarm, whenever it is found."""
        partition, offset = alarm.at.source
        return f"{self._topic(alarm)}-{partition}-{offset}:{LABELS}:{DETECTOR}:{self._fingerprint}"

    def record(self, alarm: LabelAlarm, now_ms: int) -> Produced:
        """The alert's record, in the drift topic's partition of the same number as that of the raw event."""
        alert_id, (partition, offset) = self.id_of(alarm), alarm.at.source
        content = {
            "alert_id": alert_id,
            "pipeline": self._pipeline.name,
            "monitor": LABELS,
            "detector": DETECTOR,
            "statistic": alarm.found.statistic,
            "threshold": alarm.found.threshold,
            "reference": alarm.expected,
            "current": alarm.observed,
            "event_time": alarm.at.event_time_ms,
            "topic": self._topic(alarm),
            "partition": partition,
            "offset": offset,
            "model": self._pipeline.model.name,
            "model_version": alarm.at.version,
            "message": f"labels do not agree with scores: {alarm}",
        }
        value = self._encoder.encode({**content, "incident": None})
        return Produced(self._pipeline.drift_topic, partition, LABELS.encode(), value, [], now_ms, alert_id)

    def _topic(self, alarm: LabelAlarm) -> str:
        return alarm.at.topic or self._pipeline.source.topic


def ids_of(records: Iterable[Record]) -> frozenset[str]:
    """The ids of the alarms on labels among alerts."""
    alerts = decoded(records, "drift_alert")
    return frozenset(alert["alert_id"] for alert in alerts if alert["detector"] == DETECTOR)
