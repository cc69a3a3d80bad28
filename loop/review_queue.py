"""The review queue of a pipeline in Kafka: what is asked for, and what people have answered."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from backfill.labels import LabelReader
from backfill.topic_reading import Topics
from loop.review import Agreement, Asked, Candidate, Chosen, agreement, choose, decode, encode, headers
from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from penstock.kafka.names import group_of
from penstock.kafka.reading import Record, read_topic
from penstock.kafka.records import Produced
from penstock.kafka.single_writer import start_writer
from penstock.kafka.topics import require_topics
from penstock.kafka.transactions import OutcomeUnknownError, TransactionAbortedError
from schemas.codec import Registry
from schemas.history import decoded
from scoring.label_precedence import counting
from scoring.training_set import LabelRow, by_event
from streams.plan.project import Project

_WRITE_S = 20.0


def candidates(
    project: Project, topics: Topics, from_ms: int, to_ms: int, registry: Registry | None
) -> list[Candidate]:
    """The scored events of a range of event times, with what versions in shadow say, and whether they have a label.

    With a horizon, only those that are younger than it, by the newest event: a label of an older one would not count.

    Raises:
        PenstockError: if the pipeline has no labels, or a topic cannot be read.
    """
    pipeline = project.pipeline
    labelled = {one for one, rows in _labels(project, topics, registry).items() if counting(rows) is not None}
    start = topics.starts(pipeline.predictions_topic, from_ms)
    found: dict[str, Candidate] = {}
    newest_ms = 0
    for one in _of_model(topics.read(pipeline.predictions_topic, start=start), pipeline.model.name):
        newest_ms = max(newest_ms, one["event_time"])
        if from_ms <= one["event_time"] < to_ms:
            source, rollout = one["source"], one["rollout"]
            found[one["event_id"]] = Candidate(
                one["event_id"],
                one["event_time"],
                f"{source['topic']}[{source['partition']}]@{source['offset']}",
                one["score"],
                one["decision"],
                one["model_version"],
                rollout is not None and rollout["explored"],
                is_labelled=one["event_id"] in labelled,
            )
    horizon = None if pipeline.labels is None else pipeline.labels.horizon
    if horizon is not None:
        found = {name: one for name, one in found.items() if one.event_time + horizon > newest_ms}
    others = defaultdict[str, list[float]](list)
    start = topics.starts(pipeline.shadow_topic, from_ms)
    for one in _of_model(topics.read(pipeline.shadow_topic, start=start), pipeline.model.name):
        if one["event_id"] in found:
            others[one["event_id"]].append(one["score"])
    return [replace(one, others=tuple(others.get(name, ()))) for name, one in found.items()]


def ask(
    project: Project, kafka: KafkaAccess, events: Iterable[Candidate], number: int, seed: int, now_ms: int
) -> list[Chosen]:
    """Put events into the queue that are not there yet, in one transaction; returns them.

    Raises:
        PenstockError: if the topic is missing, Kafka does not answer, or another process asks at the same time.
    """
    pipeline, events = project.pipeline, list(events)
    require_topics([pipeline.review_topic], kafka, partitions=1, pipeline=project.reference)
    # Whoever starts the writer has fenced all others, so nothing is asked for twice.
    writer = start_writer(kafka, group_of(pipeline.name, "review"))
    taken = {one.event_id for one in asked(read_topic(kafka, pipeline.review_topic))}
    chosen = choose(events, taken, number, threshold=pipeline.model.threshold, seed=seed)
    records = [_record(pipeline.review_topic, one, now_ms) for one in chosen]
    if records:
        try:
            writer.write(records, [], None, _WRITE_S)
        except (TransactionAbortedError, OutcomeUnknownError) as error:
            raise PenstockError(
                f"the queue was not extended, or it is not known whether it was: {error}",
                where=f"{pipeline.review_topic} at {kafka}",
                safe="all of these events are in the queue, or none",
                next=f"penstock labels sample {project.reference}, which asks for none twice",
            ) from error
    return chosen


def _record(topic: str, chosen: Chosen, now_ms: int) -> Produced:
    key = chosen.candidate.event_id.encode("utf-8", "surrogatepass")
    return Produced(topic, 0, key, encode(chosen, now_ms), headers(chosen), now_ms, chosen.why)


def agreed(project: Project, topics: Topics, registry: Registry | None) -> Agreement:
    """How far people agree on what they were asked again.

    Raises:
        PenstockError: if the pipeline has no labels, or a topic cannot be read.
    """
    return agreement(asked(topics.read(project.pipeline.review_topic)), _labels(project, topics, registry))


def asked(records: Iterable[Record]) -> Iterator[Asked]:
    """What the records of a queue ask for; what is no such record is passed over."""
    return (found for record in records if (found := decode(record.value, record.headers)) is not None)


def _labels(project: Project, topics: Topics, registry: Registry | None) -> dict[str, list[LabelRow]]:
    labels = project.pipeline.labels
    if labels is None:
        raise PenstockError(
            f"pipeline {project.name} declares no labels",
            next="add labels=Labels(topic=..., contract=..., value=...) to the pipeline",
        )
    return by_event(LabelReader(labels, project.schemas, registry).rows(topics.read))


def _of_model(records: Iterable[Record], model: str) -> Iterator[dict[str, Any]]:
    return (found for found in decoded(records, "prediction") if found["model"] == model)
