"""The topic that a backfill's job writes to, and the job's consumer group: made for a run, deleted with it."""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from backfill.retained import first_offsets
from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from penstock.kafka.topics import admin_client, partition_counts

_TIMEOUT_S = 30.0
_GONE = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.GROUP_ID_NOT_FOUND)
# One that is abandoned empties itself.
_RETENTION_MS = 7 * 86_400_000
_MAX_BYTES = 32 * 2**20


def create(kafka: KafkaAccess, topic: str, partitions: int) -> None:
    """Create the topic, empty; one of that name that is there already is deleted first.

    Raises:
        PenstockError: if Kafka cannot be reached or refuses.
    """
    admin = admin_client(kafka)
    if topic in partition_counts(admin, kafka):
        _delete_topic(admin, topic)
    config = {"retention.ms": str(_RETENTION_MS), "max.message.bytes": str(_MAX_BYTES)}
    try:
        # As many replicas as the broker gives by default.
        request = NewTopic(topic, partitions, -1, config=config)
        admin.create_topics([request], operation_timeout=_TIMEOUT_S)[topic].result(_TIMEOUT_S)
    except KafkaException as error:
        raise PenstockError(
            f"topic {topic} could not be created: {error.args[0].str()}", where=str(kafka), next="penstock status"
        ) from error


def is_whole(kafka: KafkaAccess, topic: str) -> bool:
    """Whether the topic is there, with all that was ever written to it.

    Raises:
        PenstockError: if Kafka cannot be reached.
    """
    partitions = partition_counts(admin_client(kafka), kafka).get(topic, 0)
    return partitions > 0 and not any(first_offsets(kafka, topic, range(partitions)).values())


def delete(kafka: KafkaAccess, topic: str, group: str) -> None:
    """Delete the topic and the consumer group, as far as they are there.

    Raises:
        PenstockError: if Kafka cannot be reached.
    """
    admin = admin_client(kafka)
    if topic in partition_counts(admin, kafka):
        _delete_topic(admin, topic)
    try:
        admin.delete_consumer_groups([group], request_timeout=_TIMEOUT_S)[group].result(_TIMEOUT_S)
    except KafkaException as error:
        if error.args[0].code() not in _GONE:
            raise


def _delete_topic(admin: AdminClient, topic: str) -> None:
    try:
        admin.delete_topics([topic], operation_timeout=_TIMEOUT_S)[topic].result(_TIMEOUT_S)
    except KafkaException as error:
        if error.args[0].code() not in _GONE:
            raise
