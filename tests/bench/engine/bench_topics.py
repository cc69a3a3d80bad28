"""The benchmark's topics: filled once per workload, watched from outside while an engine writes.

Topics of results bear the broker's clock (LogAppendTime), so that when an engine was how far is read off the topic
afterwards, and nothing has to keep up with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import NewTopic

from penstock.kafka.access import KafkaAccess
from penstock.kafka.topics import admin_client

_TIMEOUT_S = 30.0


def create(kafka: KafkaAccess, name: str) -> None:
    """A topic of one partition, stamped by the broker."""
    topic = NewTopic(name, 1, 1, config={"message.timestamp.type": "LogAppendTime"})
    admin = admin_client(kafka)
    admin.create_topics([topic])[name].result(_TIMEOUT_S)


def delete(kafka: KafkaAccess, names: Iterable[str]) -> None:
    """Delete topics to free disk space; names that do not exist are ignored."""
    admin = admin_client(kafka)
    existing = admin.list_topics(timeout=_TIMEOUT_S).topics
    wanted = [name for name in names if name in existing]
    for future in (admin.delete_topics(wanted) if wanted else {}).values():
        future.result(_TIMEOUT_S)


def fill(kafka: KafkaAccess, topic: str, messages: Iterable[tuple[bytes, bytes]]) -> None:
    """Produce all messages, in their order."""
    settings = {"linger.ms": 20, "batch.size": 1_000_000, "queue.buffering.max.messages": 1_000_000}
    producer = Producer({**kafka.client(), **settings})
    for key, value in messages:
        while True:
            try:
                producer.produce(topic, value, key, 0)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    assert producer.flush(120) == 0, "the events could not be produced"


class Results:
    """The records on a topic of results. A context manager."""

    def __init__(self, kafka: KafkaAccess, topic: str) -> None:
        settings = {"group.id": "bench", "enable.auto.commit": False, "fetch.wait.max.ms": 5}
        self._consumer = Consumer({**kafka.client(), **settings})
        self._topic = topic

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def count(self) -> int:
        """The number of records so far."""
        return int(self._consumer.get_watermark_offsets(TopicPartition(self._topic, 0), _TIMEOUT_S)[1])

    def time_ms(self, offset: int) -> int:
        """The time at which the broker appended the record, epoch ms."""
        return self._at(offset).timestamp()[1]

    def first_since(self, time_ms: int) -> int | None:
        """The offset of the first record that was appended at that time or later; None if there is none yet."""
        found = self._consumer.offsets_for_times([TopicPartition(self._topic, 0, time_ms)], _TIMEOUT_S)[0].offset
        return None if found < 0 else int(found)

    def value(self, offset: int) -> bytes:
        """The record itself."""
        return self._at(offset).value()  # type: ignore[no-any-return]

    def _at(self, offset: int):  # type: ignore[no-untyped-def]  # confluent-kafka has no types
        self._consumer.assign([TopicPartition(self._topic, 0, offset)])
        message = self._consumer.poll(_TIMEOUT_S)
        assert message is not None, f"no record at {self._topic}@{offset}"
        assert message.error() is None, message.error()
        return message
