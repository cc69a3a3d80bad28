"""Offsets of a topic in Kafka: the ends of partitions, and where a time is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from penstock.kafka.topics import admin_client

_TIMEOUT_S = 15.0


def first_offsets(kafka: KafkaAccess, topic: str, partitions: Iterable[int]) -> dict[int, int]:
    """Return the first retained offset of each of these partitions; the topic must exist."""
    return _offsets(admin_client(kafka), topic, dict.fromkeys(partitions, OffsetSpec.earliest()))


def end_offsets(kafka: KafkaAccess, topic: str, partitions: Iterable[int]) -> dict[int, int]:
    """Return the offset after the last committed record of each of these partitions; the topic must exist."""
    return _offsets(admin_client(kafka), topic, dict.fromkeys(partitions, OffsetSpec.latest()))


def offsets_at(kafka: KafkaAccess, topic: str, partitions: Iterable[int], time_ms: int) -> dict[int, int]:
    """Return each partition's first offset with a Kafka timestamp of at least ``time_ms``; the end if there is none.

    Raises:
        PenstockError: if the topic cannot be read.
    """
    admin = admin_client(kafka)
    try:
        ends = _offsets(admin, topic, dict.fromkeys(partitions, OffsetSpec.latest()))
        return _starts(admin, topic, time_ms, ends)
    except KafkaException as error:
        raise PenstockError(
            f"topic {topic} cannot be read: {error.args[0].str()}", where=str(kafka), next="penstock status"
        ) from error


def _starts(admin: AdminClient, topic: str, time_ms: int, ends: Mapping[int, int]) -> dict[int, int]:
    # Kafka gives negative timestamps special meanings.
    found = _offsets(admin, topic, dict.fromkeys(ends, OffsetSpec.for_timestamp(max(0, time_ms))))
    return {n: end if found[n] < 0 else min(end, found[n]) for n, end in ends.items()}


def _offsets(admin: AdminClient, topic: str, specs: Mapping[int, OffsetSpec]) -> dict[int, int]:
    futures = admin.list_offsets(
        {TopicPartition(topic, number): spec for number, spec in specs.items()},
        isolation_level=IsolationLevel.READ_COMMITTED,
        request_timeout=_TIMEOUT_S,
    )
    # Longer than the request's timeout: Kafka's error says more than the future's TimeoutError.
    return {partition.partition: future.result(2 * _TIMEOUT_S).offset for partition, future in futures.items()}
