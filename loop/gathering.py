"""Gathers what a diagnosis compares: the predictions and labels of the time before an incident, and since."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backfill.labels import LabelReader
from backfill.topic_reading import Topics
from loop.sample import Sample
from penstock.kafka.reading import Record
from schemas.codec import Registry, Undecodable, UnknownSchema
from schemas.history import record_decoder
from scoring.label_maturity import Maturity, reached
from scoring.training_set import LabelRow, by_event, label_of
from streams.definitions.labels import Labels
from streams.plan.project import Project

# Of each period, at most: the latest of the present, and those before it.
_MOST_NOW, _MOST_BEFORE = 20_000, 40_000
# The share of the reference, next to the first alarm, that is left out: a detector needs some events to be sure.
_GUARD = 0.2
# Kafka's timestamps may be behind event times by so much, and predictions come later than their events.
_SLACK_MS = 10 * 60_000


@dataclass(frozen=True)
class Gathered:
    """The two periods of an incident.

    Attributes:
        before: The time before its first alarm.
        now: The time since.
        places: ``topic[partition]@offset`` of the raw event of each present event.
        begin_ms: The first event time of the reference, epoch ms.
        end_ms: The event time up to which the topic has come, epoch ms.
        others: The share of the latest events that other versions have scored.
    """

    before: Sample
    now: Sample
    places: list[str]
    begin_ms: int
    end_ms: int
    others: float


@dataclass(frozen=True)
class _Scored:
    """A prediction, as far as it is needed."""

    event_id: str
    event_time: int
    score: float
    version: str
    vector: NDArray[np.float32]
    place: tuple[str, int, int]
    is_hidden: bool


def gather(
    project: Project, topics: Topics, version: str, since_ms: int, span_ms: int, registry: Registry | None = None
) -> Gathered | None:
    """Read both periods; None if one of them is empty.

    Args:
        project: The pipeline.
        topics: Where topics are read.
        version: The version whose predictions count.
        since_ms: The event time of the first alarm, epoch ms.
        span_ms: How long before it the reference may begin, in ms of event time.
        registry: Finds the schemas of Confluent-framed labels.

    Raises:
        PenstockError: if a topic cannot be read.
    """
    pipeline = project.pipeline
    start = topics.starts(pipeline.predictions_topic, since_ms - span_ms - _SLACK_MS)
    records = topics.read(pipeline.predictions_topic, start=start)
    scored = sorted(_predictions(project, records), key=lambda one: (one.event_time, one.place))
    of_version = [one for one in scored if one.version == version and one.event_time >= since_ms - span_ms]
    now = [one for one in of_version if one.event_time >= since_ms][-_MOST_NOW:]
    earlier = [one for one in of_version if one.event_time < since_ms][-_MOST_BEFORE:]
    before = earlier[: len(earlier) - int(_GUARD * len(earlier))]
    if not now or not before:
        return None
    truths = _Truths(pipeline.labels, project, topics, registry) if pipeline.labels is not None else None
    latest = scored[-500:]
    return Gathered(
        before=_sample(project, before, truths),
        now=_sample(project, now, truths),
        places=[f"{topic}[{partition}]@{offset}" for topic, partition, offset in (one.place for one in now)],
        begin_ms=before[0].event_time,
        end_ms=scored[-1].event_time,
        others=sum(one.version != version for one in latest) / len(latest),
    )


def _predictions(project: Project, records: Iterable[Record]) -> Iterable[_Scored]:
    """The predictions in records; one that cannot be read says nothing of a shift."""
    decoder, labels = record_decoder("prediction"), project.pipeline.labels
    hidden_by = None if labels is None else labels.hidden_by
    for record in records:
        try:
            found = decoder.decode(record.value or b"")
        except (Undecodable, UnknownSchema):
            continue
        if found["model"] != project.pipeline.model.name:
            continue
        source = found["source"]
        yield _Scored(
            found["event_id"],
            found["event_time"],
            found["score"],
            found["model_version"],
            np.frombuffer(found["vector"], "<f4"),
            (source["topic"], source["partition"], source["offset"]),
            hidden_by is not None and found["decision"] == hidden_by,
        )


class _Truths:
    """The labels, as known now."""

    def __init__(self, labels: Labels, project: Project, topics: Topics, registry: Registry | None) -> None:
        rows = list(LabelReader(labels, project.schemas, registry).rows(topics.read(labels.topic)))
        self.reached_ms = reached((row.known_at_ms, row.received_ms) for row in rows)
        self.by_event: Mapping[str, list[LabelRow]] = by_event(rows)
        self.positive = True if labels.positive is None else str(labels.positive)
        self.maturity = Maturity.of(labels)
        self.is_class = labels.task != "regression"

    def of(self, one: _Scored) -> tuple[float, float, bool]:
        """The label of an event, 0 or 1; its delay in seconds; and whether the label is final."""
        horizon = self.maturity.horizon_ms
        rows = self.by_event.get(one.event_id, ())
        value = label_of(rows, one.event_time, horizon)
        is_final = value is not None
        if horizon is not None:
            is_final = self.reached_ms is not None and one.event_time + horizon <= self.reached_ms
        if one.is_hidden or not self.is_class:
            return np.nan, np.nan, False
        if value is None:
            is_negative = is_final and self.maturity.absent == "negative"
            return 0.0 if is_negative else np.nan, np.nan, is_final and self.maturity.absent != "excluded"
        delay = (min(row.known_at_ms for row in rows) - one.event_time) / 1_000
        return float(value == self.positive), delay, is_final


def _sample(project: Project, scored: list[_Scored], truths: _Truths | None) -> Sample:
    inputs, categories = project.pipeline.model.inputs, project.pipeline.categories
    matrix = np.stack([one.vector for one in scored]).astype(float)
    columns = {name: matrix[:, number] for number, name in enumerate(inputs)}
    known = [(np.nan, np.nan, False) if truths is None else truths.of(one) for one in scored]
    labels, delays, mature = zip(*known, strict=True)
    return Sample(
        # A category is there as its code, of which only equality means something.
        columns={name: _texts(values) if name in categories else values for name, values in columns.items()},
        scores=np.array([one.score for one in scored]),
        labels=np.array(labels, float),
        delays=np.array(delays, float),
        mature=np.array(mature, bool),
    )


def _texts(codes: NDArray[np.float64]) -> NDArray[np.object_]:
    return np.array([None if np.isnan(code) else f"{code:.0f}" for code in codes.tolist()], object)
