"""Reads what a run has left of its incidents: their log, the rollouts, and the predictions with their final labels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from examples.demo.loop_record import Loop, Scored, shown, stretches, told
from loop.incidents import Incident, incidents_of
from loop.store import read_entries
from loop.story import story
from loop.versions import versions_of
from penstock.kafka.access import KafkaAccess
from penstock.kafka.reading import read_topic
from schemas.codec import Registry
from schemas.history import decoded, record_decoder
from scoring.repository import ModelRepository
from scoring.rollout.policy_store import read_log
from streams.plan.project import Project
from verify.labels import label_history
from verify.loop_quality import with_final_labels
from verify.measured import Measured


def read_loop(
    project: Project,
    kafka: KafkaAccess,
    models: ModelRepository,
    measured: Measured,
    registry: Registry | None,
    incident: str,
    began_ms: int,
) -> Loop:
    """All incidents of a pipeline, the story of one, and the quality over time.

    Args:
        project: The pipeline.
        kafka: How to reach Kafka.
        models: The versions of its model.
        measured: What was measured in the run.
        registry: Finds schemas of Confluent's framing.
        incident: The incident whose story is told.
        began_ms: When the pipeline's run began, epoch ms.

    Raises:
        PenstockError: if a topic cannot be read.
    """
    pipeline = project.pipeline
    entries = read_entries(kafka, pipeline)
    incidents = incidents_of(entries)
    predictions = list(decoded(read_topic(kafka, pipeline.predictions_topic), "prediction"))
    drift_ms = measured.drift_from_ms
    drifted = [one["scored_at"] for one in predictions if drift_ms is not None and one["event_time"] >= drift_ms]
    alerted = _alerted(kafka, pipeline.drift_topic, incidents[incident])
    return Loop(
        incidents=tuple(shown(one, began_ms) for one in incidents.values()),
        told_of=incident,
        story=told(
            story(entries, incident, versions_of(pipeline, models), read_log(kafka, pipeline)),
            began_ms,
        ),
        stretches=stretches(list(_scored(project, kafka, registry, measured, predictions)), began_ms),
        drift_s=(min(drifted) - began_ms) / 1_000 if drifted else None,
        alert_s=(min(alerted) - began_ms) / 1_000 if alerted else None,
    )


def _alerted(kafka: KafkaAccess, topic: str, incident: Incident) -> list[int]:
    """When the alerts of an incident were published, epoch ms."""
    decoder, own = record_decoder("drift_alert"), {signal.id for signal in incident.signals}
    records = ((decoder.decode(record.value or b""), record.timestamp) for record in read_topic(kafka, topic))
    return [at_ms for alert, at_ms in records if alert["alert_id"] in own]


def _scored(
    project: Project,
    kafka: KafkaAccess,
    registry: Registry | None,
    measured: Measured,
    predictions: list[dict[str, Any]],
) -> Iterator[Scored]:
    """The predictions of events that no version was trained on before it scored them, and whose label is final."""
    labels = project.pipeline.labels
    if labels is None:
        return
    records = [read_topic(kafka, topic) for topic in labels.topics]
    history = label_history(labels, records, project.schemas, registry)
    later = [one for one in predictions if one["event_time"] > measured.trained_until_ms]
    for one, is_positive in with_final_labels(later, labels, history):
        version, score = int(one["model_version"]), one["score"]
        yield Scored(at_ms=one["scored_at"], version=version, score=score, truth=is_positive)
