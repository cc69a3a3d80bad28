"""What labels say of past events, for the comparison of decisions."""

from __future__ import annotations

from collections.abc import Iterable

from backfill.labels import LabelReader
from penstock.kafka.reading import Record
from schemas.codec import Registry
from scoring.training_set import LabelRow, Truth
from streams.definitions.labels import Labels
from streams.plan.project import Project


def truths(project: Project, records: Iterable[Record], registry: Registry | None) -> dict[str, bool]:
    """Whether each event is positive in truth, by its id, where a label says so.

    Of several labels of an event, the one that became known last counts; one that was taken back says nothing. The
    value of a regression is positive from the model's threshold on.

    Args:
        project: The pipeline, which has labels.
        records: Those of the labels topic.
        registry: Finds the schemas of Confluent-framed labels.
    """
    labels = project.pipeline.labels
    assert labels is not None, "the caller has checked it"
    latest: dict[str, LabelRow] = {}
    for row in LabelReader(labels, project.schemas, registry).rows(records):
        held = latest.get(row.event_id)
        if held is None or (row.known_at_ms, row.position) > (held.known_at_ms, held.position):
            latest[row.event_id] = row
    threshold = project.pipeline.model.threshold
    return {event: _is_positive(row.value, labels, threshold) for event, row in latest.items() if row.value is not None}


def _is_positive(value: Truth, labels: Labels, threshold: float) -> bool:
    if labels.task == "multiclass":
        return str(value) == str(labels.positive)
    return float(value) >= (threshold if labels.task == "regression" else 1)
