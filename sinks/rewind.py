"""Sets a sink back to the start of its topics, to fill a store that has lost its data."""

from __future__ import annotations

from collections.abc import Sequence

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from penstock.kafka.topics import admin_client

_TIMEOUT_S = 15.0


def rewind(kafka: KafkaAccess, group: str, topics: Sequence[str]) -> dict[str, int]:
    """Set the group's offsets to the earliest records; returns how many records of each topic it will read again.

    Raises:
        PenstockError: if a member of the group is still running, or Kafka does not answer.
    """
    admin = admin_client(kafka)
    failure: KafkaError | None
    try:
        metadata = admin.list_topics(timeout=_TIMEOUT_S).topics
        partitions = [TopicPartition(topic, number) for topic in topics for number in metadata[topic].partitions]
        earliest = _offsets(admin, partitions, OffsetSpec.earliest())
        latest = _offsets(admin, partitions, OffsetSpec.latest())
        request = [TopicPartition(topic, number, offset) for (topic, number), offset in earliest.items()]
        altered = admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, request)])
        # The answer succeeds as a whole even if every partition was refused.
        failure = next((p.error for p in altered[group].result(_TIMEOUT_S).topic_partitions if p.error), None)
    except KafkaException as error:
        failure = error.args[0]
    if failure is not None:
        raise PenstockError(
            f"the offsets could not be set: {failure.str()}",
            where=f"group {group} at {kafka}",
            safe="nothing was changed",
            next="stop every member of the group first, then try again",
        )
    return {topic: sum(latest[topic, n] - earliest[topic, n] for t, n in earliest if t == topic) for topic in topics}


def _offsets(admin: AdminClient, partitions: Sequence[TopicPartition], spec: OffsetSpec) -> dict[tuple[str, int], int]:
    futures = admin.list_offsets(dict.fromkeys(partitions, spec))
    return {(p.topic, p.partition): future.result(_TIMEOUT_S).offset for p, future in futures.items()}
