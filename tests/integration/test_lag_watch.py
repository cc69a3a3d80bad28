"""A service's lag in /metrics, on a real broker: markers do not count, and a stuck service reports it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from prometheus_client import CollectorRegistry

from deploy.local.stack import Stack
from penstock.kafka.access import KafkaAccess
from penstock.kafka.lag_watch import LagWatch
from penstock.settings import Settings
from penstock.telemetry import ProgressTracker
from tests.sinks.sink_helpers import eventually


class Watched:
    def __init__(self, kafka: KafkaAccess, topic: str) -> None:
        self.registry = CollectorRegistry()
        self.progress = ProgressTracker(time.monotonic, stall_s=1)
        self.watch = LagWatch(kafka, topic, "scorer", self.progress, registry=self.registry, interval_s=0.1)
        self.topic = topic

    def shown(self, what: str, partition: int = 0) -> float | None:
        labels = {"pipeline": self.topic, "part": "scorer", "topic": self.topic, "partition": str(partition)}
        return self.registry.get_sample_value(f"penstock_consumer_lag_{what}", labels)


@pytest.fixture
def kafka(settings: Settings) -> KafkaAccess:
    return settings.kafka.access


@pytest.fixture
def watched(kafka: KafkaAccess, suffix: str, create_topic: Callable[..., str]) -> Iterator[Watched]:
    topic = create_topic(f"watched-{suffix}", 2)
    one = Watched(kafka, topic)
    with one.watch:
        one.watch.started()
        one.watch.assigned([(topic, 0), (topic, 1)])
        yield one


def transactions(kafka: KafkaAccess, topic: str, batches: list[int], *, abort: bool = False) -> None:
    producer = Producer({**kafka.client(), "transactional.id": topic})
    producer.init_transactions(20)
    for batch in batches:
        producer.begin_transaction()
        for _ in range(batch):
            producer.produce(topic, b"x", partition=0)
        producer.flush(20)
        (producer.abort_transaction if abort else producer.commit_transaction)(20)


def test_transaction_markers_are_not_lag(watched: Watched, kafka: KafkaAccess) -> None:
    transactions(kafka, watched.topic, [3, 2])  # records at 0..2 and 4..5, markers at 3 and 6
    eventually(lambda: watched.shown("records") == 7)
    assert (watched.shown("seconds") or 0) > 0
    watched.watch.done({(watched.topic, 0): 3})
    eventually(lambda: watched.shown("records") == 3)
    watched.watch.done({(watched.topic, 0): 6})
    eventually(lambda: watched.shown("records") == 0)
    assert watched.shown("seconds") == 0
    assert watched.shown("records", 1) == 0


def test_records_of_an_aborted_transaction_are_not_lag(watched: Watched, kafka: KafkaAccess) -> None:
    transactions(kafka, watched.topic, [3], abort=True)
    eventually(lambda: watched.shown("records") == 0)
    time.sleep(0.5)
    assert watched.shown("records") == 0


def test_the_age_is_that_of_the_oldest_waiting_record(watched: Watched, kafka: KafkaAccess) -> None:
    producer, now_ms = Producer(kafka.client()), time.time_ns() // 1_000_000
    for age_s in (500, 100, 0):
        producer.produce(watched.topic, b"x", partition=1, timestamp=now_ms - age_s * 1000)
    assert producer.flush(20) == 0
    eventually(lambda: 500 <= (watched.shown("seconds", 1) or 0) < 540)
    watched.watch.done({(watched.topic, 1): 1})
    eventually(lambda: 100 <= (watched.shown("seconds", 1) or 0) < 140)


def test_a_stuck_service_is_unhealthy(watched: Watched, kafka: KafkaAccess) -> None:
    eventually(lambda: watched.shown("records") == 0)
    assert watched.progress.health().ok
    transactions(kafka, watched.topic, [5])
    eventually(lambda: not watched.progress.health().ok)
    watched.watch.done({(watched.topic, 0): 5})
    eventually(lambda: watched.progress.health().ok)


def test_revoked_partitions_are_not_reported(watched: Watched, stack: Stack) -> None:
    eventually(lambda: watched.shown("records") == 0)
    watched.watch.revoked([(watched.topic, 0)])
    eventually(lambda: watched.shown("records") is None)
    assert watched.shown("records", 1) == 0


def test_waiting_records_that_kafka_deletes_are_shown(watched: Watched, kafka: KafkaAccess) -> None:
    transactions(kafka, watched.topic, [5])
    watched.watch.done({(watched.topic, 0): 1})
    eventually(lambda: watched.shown("records") == 5)
    assert watched.shown("deleted_records") == 0
    partition = TopicPartition(watched.topic, 0, 4)
    admin = AdminClient(kafka.client())  # a collected client drops its pending answers
    admin.delete_records([partition])[partition].result(15)
    eventually(lambda: watched.shown("deleted_records") == 3)
    watched.watch.done({(watched.topic, 0): 4})
    eventually(lambda: watched.shown("deleted_records") == 0)
