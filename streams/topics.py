"""The topics of a pipeline, derived from its definition, and their creation.

Raw, feature and prediction topics have the same number of partitions: a record keeps its partition all the way, so
that the order of an entity's events, and the memory of what is scored, never cross partitions.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from penstock.errors import PenstockError
from penstock.kafka import QUIET, KafkaAccess
from streams.definitions import Pipeline

_TIMEOUT_S = 15.0
# A dead letter carries a refused event verbatim, and "too large" is one of the reasons to refuse it.
_DEAD_LETTER_MAX_BYTES = 32 * 1024 * 1024
# A state is read whole by who takes over a partition: what was overwritten must soon be gone. Kafka's default segment
# of 1 GiB is never compacted while it is written to.
_LATEST_STATE = {
    "cleanup.policy": "compact",
    "segment.bytes": str(16 * 1024 * 1024),
    "min.cleanable.dirty.ratio": "0.2",
}


@dataclass(frozen=True)
class Topic:
    """A topic as the pipeline needs it."""

    name: str
    partitions: int
    config: dict[str, str] = field(default_factory=dict)


def dead_letters_of(topic: str) -> str:
    """The topic that keeps what could not be processed from ``topic``."""
    return f"{topic}.dlq"


def group_of(pipeline: str, role: str) -> str:
    """The consumer group of a part of a pipeline: ``features`` (the job), ``scorer``, ``sink-redis``, ``drift``, ..."""
    return f"penstock-{pipeline}-{role}"


def pipeline_topics(pipeline: Pipeline) -> list[Topic]:
    """Every topic that the pipeline reads or writes."""
    partitions = pipeline.source.partitions
    dead_letters = {"max.message.bytes": str(_DEAD_LETTER_MAX_BYTES)}
    topics = []
    for source in pipeline.sources:
        topics += [Topic(source.topic, partitions), Topic(source.dead_letter_topic, partitions, dead_letters)]
    for published in (pipeline.features_topic, pipeline.predictions_topic):
        topics += [Topic(published, partitions), Topic(dead_letters_of(published), partitions, dead_letters)]
    if pipeline.labels is not None:
        topics.append(Topic(pipeline.labels.topic, partitions))
    if pipeline.monitors is not None:
        topics += [
            Topic(pipeline.drift_topic, partitions),
            Topic(pipeline.drift_state_topic, partitions, _LATEST_STATE),
        ]
    return topics


def create_topics(pipeline: Pipeline, kafka: KafkaAccess, *, replication: int = 1) -> list[str]:
    """Create the pipeline's topics that do not exist yet; returns the names of those it created.

    Raises:
        PenstockError: if Kafka cannot be reached, or an existing topic has another number of partitions.
    """
    admin = admin_client(kafka)
    wanted = pipeline_topics(pipeline)
    existing = partition_counts(admin, kafka)
    for topic in wanted:
        if topic.name in existing and existing[topic.name] != topic.partitions:
            raise PenstockError(
                what=f"topic {topic.name} has {existing[topic.name]} partitions, the pipeline wants {topic.partitions}",
                where=str(kafka),
                safe="nothing was changed",
                next="set Source(partitions=...) to what the topic has, or migrate to a new topic",
            )
    missing = [topic for topic in wanted if topic.name not in existing]
    requests = [NewTopic(t.name, t.partitions, replication, config=t.config) for t in missing]
    for name, future in (admin.create_topics(requests, operation_timeout=_TIMEOUT_S) if requests else {}).items():
        try:
            future.result(_TIMEOUT_S)
        except KafkaException as error:
            # Another process of the same pipeline may have been first; that is as good.
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise PenstockError(
                    what=f"topic {name} could not be created: {error.args[0].str()}",
                    where=str(kafka),
                    next="penstock status",
                ) from error
    created = [topic.name for topic in missing]
    _await_known(admin, kafka, created)
    return created


def _await_known(admin: AdminClient, kafka: KafkaAccess, names: list[str]) -> None:
    """Wait until brokers know what the controller has created: who comes next must find it."""
    deadline = time.monotonic() + _TIMEOUT_S
    while names and not set(names) <= partition_counts(admin, kafka).keys() and time.monotonic() < deadline:
        time.sleep(0.05)


def require_topics(pipeline: Pipeline, kafka: KafkaAccess, names: list[str]) -> None:
    """Check that topics exist with the pipeline's number of partitions.

    Raises:
        PenstockError: if Kafka cannot be reached, a topic is missing or has another number of partitions.
    """
    existing = partition_counts(admin_client(kafka), kafka)
    missing = [name for name in names if name not in existing]
    if missing:
        raise PenstockError(
            what=f"topic {', '.join(missing)} does not exist",
            where=str(kafka),
            next=f"penstock topics create {pipeline.name}",
        )
    for name in names:
        if existing[name] != pipeline.source.partitions:
            raise PenstockError(
                what=f"topic {name} has {existing[name]} partitions, not {pipeline.source.partitions}",
                where=str(kafka),
                next="raw, feature and prediction topics need the same number: recreate the topic, or set partitions",
            )


def admin_client(kafka: KafkaAccess) -> AdminClient:
    """A client that leaves it to errors to say what went wrong; keep it in a variable while its answers are awaited."""
    return AdminClient({**kafka.client(), **QUIET})


def partition_counts(admin: AdminClient, kafka: KafkaAccess) -> dict[str, int]:
    """Number of partitions of every topic of the cluster.

    Raises:
        PenstockError: if Kafka cannot be reached.
    """
    try:
        metadata = admin.list_topics(timeout=_TIMEOUT_S)
    except KafkaException as error:
        raise PenstockError(
            what="Kafka cannot be reached", where=str(kafka), next="penstock up, or set PENSTOCK_KAFKA_BOOTSTRAP"
        ) from error
    return {name: len(topic.partitions) for name, topic in metadata.topics.items()}
