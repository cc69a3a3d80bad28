"""How far a consumer group is behind, in records per partition."""

from __future__ import annotations

from confluent_kafka import ConsumerGroupTopicPartitions, IsolationLevel, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

_TIMEOUT_S = 15.0


def end_offsets(admin: AdminClient, topic: str) -> dict[int, int]:
    """Last stable offset of each partition; it counts transaction markers, which are not records."""
    partitions = admin.list_topics(topic, timeout=_TIMEOUT_S).topics[topic].partitions
    futures = admin.list_offsets(
        {TopicPartition(topic, partition): OffsetSpec.latest() for partition in partitions},
        isolation_level=IsolationLevel.READ_COMMITTED,
        request_timeout=_TIMEOUT_S,
    )
    return {partition.partition: future.result().offset for partition, future in futures.items()}


def committed_offsets(admin: AdminClient, group: str, topic: str) -> dict[int, int]:
    """The group's committed offset of each partition; a partition without one is left out."""
    request = [ConsumerGroupTopicPartitions(group)]
    answer = admin.list_consumer_group_offsets(request, request_timeout=_TIMEOUT_S)[group].result()
    return {p.partition: p.offset for p in answer.topic_partitions if p.topic == topic and p.offset >= 0}


def group_lag(admin: AdminClient, group: str, topic: str) -> dict[int, int]:
    """Records (and transaction markers) between each partition's end and what the group has committed."""
    committed = committed_offsets(admin, group, topic)
    return {partition: end - committed.get(partition, 0) for partition, end in end_offsets(admin, topic).items()}
