"""Creates and deletes the scratch topic of a backfill, and deletes the consumer group of its job."""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from backfill.retention import first_offsets
from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from penstock.kafka.topics import admin_client, partition_counts

_TIMEOUT_S = 30.0
_NOT_FOUND = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.GROUP_ID_NOT_FOUND)
# The topic of an abandoned backfill becomes empty by itself.
_RETENTION_MS = 7 * 86_400_000
_MAX_BYTES = 32 * 2**20


def create(kafka: KafkaAccess, topic: str, partitions: int) -> None:
    """Create the topic; an existing topic of that name is deleted first.

    Raises:
        PenstockError: if Kafka cannot be reached or refuses the request.
    """
    admin = admin_client(kafka)
    if topic in partition_counts(admin, kafka):
        _delete_topic(admin, topic)
    config = {"retention.ms": str(_RETENTION_MS), "max.message.bytes": str(_MAX_BYTES)}
    try:
        # -1: the broker's default replication factor.
        request = NewTopic(topic, partitions, -1, config=config)
        admin.create_topics([request], operation_timeout=_TIMEOUT_S)[topic].result(_TIMEOUT_S)
    except KafkaException as error:
        raise PenstockError(
            f"topic {topic} could not be created: {error.args[0].str()}", where=str(kafka), next="penstock status"
        ) from error


def has_all_records(kafka: KafkaAccess, topic: str) -> bool:
    """Return whether the topic exists and retention has deleted nothing from it.

    Raises:
        PenstockError: if Kafka cannot be reached.
    """
    partitions = partition_counts(admin_client(kafka), kafka).get(topic, 0)
    return partitions > 0 and not any(first_offsets(kafka, topic, range(partitions)).values())


def delete(kafka: KafkaAccess, topic: str, group: str) -> None:
    """Delete the topic and the consumer group, if they exist.

    Raises:
        PenstockError: if Kafka cannot be reached.
    """
    admin = admin_client(kafka)
    if topic in partition_counts(admin, kafka):
        _delete_topic(admin, topic)
    try:
        admin.delete_consumer_groups([group], request_timeout=_TIMEOUT_S)[group].result(_TIMEOUT_S)
    except KafkaException as error:
        if error.args[0].code() not in _NOT_FOUND:
            raise


def _delete_topic(admin: AdminClient, topic: str) -> None:
    try:
        admin.delete_topics([topic], operation_timeout=_TIMEOUT_S)[topic].result(_TIMEOUT_S)
    except KafkaException as error:
        if error.args[0].code() not in _NOT_FOUND:
            raise
