"""Helpers to run sinks against real servers: produce records, read offsets and metrics, wait for a condition."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from prometheus_client import REGISTRY

from penstock.kafka.access import KafkaAccess
from penstock.kafka.lag_watch import LagWatch
from penstock.telemetry import ProgressTracker
from sinks.runner import Sink, group_id
from sinks.store_interface import Store

T = TypeVar("T")


@contextmanager
def running(store: Store[Any], pipeline: str, kafka: KafkaAccess, *, skip_deleted: bool = False) -> Iterator[Sink[Any]]:
    """Runs the sink in a thread and stops it at the end; raises the error that it ended with."""
    watch = LagWatch(kafka, pipeline, f"sink-{store.name}", ProgressTracker(time.monotonic))
    sink = Sink(store, pipeline, kafka, watch, random.Random(0), reference=pipeline, skip_deleted=skip_deleted)
    errors: list[BaseException] = []

    def run() -> None:
        try:
            sink.run()
        except BaseException as error:  # noqa: BLE001 - raised again below
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield sink
    finally:
        sink.stop()
        thread.join(60)
    assert not thread.is_alive()
    if errors:
        raise errors[0]


def produce(kafka: KafkaAccess, topic: str, values: Sequence[bytes | None], partition: int = 0) -> None:
    """Publishes the values and waits until Kafka has acknowledged them."""
    producer = Producer({**kafka.client(), "enable.idempotence": True, "linger.ms": 5})
    for value in values:
        producer.produce(topic, key=b"k", value=value, partition=partition, headers=[("h", b"1")])
        producer.poll(0)
    assert producer.flush(30) == 0


def committed(kafka: KafkaAccess, pipeline: str, sink: str, topic: str, partitions: int = 2) -> list[int | None]:
    """The group's committed offset of each partition; None where there is none."""
    # Not with an admin client: librdkafka crashes on its request while a group has no coordinator (librdkafka#5040).
    consumer = Consumer({**kafka.client(), "group.id": group_id(pipeline, sink)})
    wanted = [TopicPartition(topic, number) for number in range(partitions)]
    deadline = time.monotonic() + 20
    while True:
        try:
            offsets = consumer.committed(wanted, timeout=20)
            break
        except KafkaException as error:
            if error.args[0].code() != KafkaError.NOT_COORDINATOR or time.monotonic() > deadline:
                raise
            time.sleep(0.1)
    consumer.close()
    return [None if partition.offset < 0 else partition.offset for partition in offsets]


def consume_all(kafka: KafkaAccess, topic: str, expected: int, partition: int = 0) -> list[Message]:
    """The first `expected` records of a partition."""
    consumer = Consumer({**kafka.client(), "group.id": f"look-{topic}", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, partition, 0)])
    found: list[Message] = []
    try:
        eventually(lambda: found.extend(consumer.consume(expected - len(found), 1)) or len(found) == expected)
        return found
    finally:
        consumer.close()


def eventually(check: Callable[[], T], timeout_s: float = 40) -> T:
    """Repeats `check` until it returns something truthy, and returns that; retries after an AssertionError, too."""
    until = time.monotonic() + timeout_s
    while True:
        try:
            if answer := check():
                return answer
            assert time.monotonic() < until, f"still {answer!r}"
        except AssertionError:
            if time.monotonic() >= until:
                raise
        time.sleep(0.1)


def metric(name: str, pipeline: str, sink: str, **labels: str) -> float:
    """The value of a sink metric in this process."""
    return REGISTRY.get_sample_value(name, {"pipeline": pipeline, "sink": sink, **labels}) or 0.0
