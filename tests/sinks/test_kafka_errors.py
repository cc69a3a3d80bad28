"""Which of Kafka's errors end a sink, and how often the others are logged."""

from __future__ import annotations

import logging
import random
from typing import Any, cast

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from penstock.kafka.lag_watch import LagWatch
from penstock.telemetry import ProgressTracker
from sinks.kafka_errors import KafkaErrors
from sinks.runner import Sink

KAFKA = KafkaAccess(bootstrap="kafka:9092")
DOWN = KafkaError(KafkaError._ALL_BROKERS_DOWN)


class Errors:
    """The errors of a sink, with a clock that stands still."""

    def __init__(self) -> None:
        self.now = 0.0
        self.counted = 0
        self.of_sink = KafkaErrors(KAFKA, "ads/pipeline.py", self._count, lambda: self.now)

    def _count(self) -> None:
        self.counted += 1

    def check(self, error: KafkaError | None, where: str = "features.p[1]") -> bool:
        return self.of_sink.check(error, where)


@pytest.fixture
def errors(caplog: pytest.LogCaptureFixture) -> Errors:
    caplog.set_level(logging.INFO)
    return Errors()


@pytest.mark.parametrize("code", [KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_PARTITION])
def test_a_missing_topic_or_partition_ends_the_sink(errors: Errors, code: int) -> None:
    with pytest.raises(PenstockError, match=r"features\.p\[1\] does not exist any more") as ended:
        errors.check(KafkaError(code))
    assert "penstock topics create ads/pipeline.py" in str(ended.value)


@pytest.mark.parametrize("code", [KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED])
def test_a_denied_access_ends_the_sink(errors: Errors, code: int) -> None:
    with pytest.raises(PenstockError, match="denies access") as ended:
        errors.check(KafkaError(code))
    assert "features.p[1] at kafka:9092" in str(ended.value)


def test_a_fatal_error_ends_the_sink(errors: Errors) -> None:
    with pytest.raises(PenstockError, match="cannot go on"):
        errors.check(KafkaError(KafkaError._FATAL, "broken", fatal=True))


@pytest.mark.parametrize("error", [None, KafkaError(KafkaError._PARTITION_EOF)])
def test_the_end_of_a_partition_is_no_error(errors: Errors, error: KafkaError | None) -> None:
    assert not errors.check(error)
    assert errors.counted == 0


def test_errors_that_pass_are_counted(errors: Errors) -> None:
    assert errors.check(KafkaError(KafkaError.REBALANCE_IN_PROGRESS))
    assert errors.counted == 1


def test_an_outage_is_logged_once_a_minute_with_a_count_and_once_when_it_ends(
    errors: Errors, caplog: pytest.LogCaptureFixture
) -> None:
    for second in range(150):
        errors.now = float(second)
        errors.check(DOWN)
    lines = [record.message for record in caplog.records]
    assert len(lines) == 3
    assert "(61 errors in 60 s)" in lines[1]
    errors.now += 10
    errors.of_sink.settle()
    assert len(caplog.records) == 3, "perhaps it goes on"
    errors.now += 10
    errors.of_sink.settle()
    errors.of_sink.settle()
    assert [record.message for record in caplog.records][3:] == ["Kafka answers again: 150 errors within 149 s"]


class FakeConsumer:
    """Answers a commit with one error per partition, or with an exception."""

    def __init__(self, answer: dict[int, KafkaError | None] | KafkaError) -> None:
        self._answer = answer

    def commit(self, offsets: list[TopicPartition], asynchronous: bool) -> list[Any]:
        assert not asynchronous
        if isinstance(self._answer, KafkaError):
            raise KafkaException(self._answer)
        return [_Answer(p.topic, p.partition, self._answer[p.partition]) for p in offsets]


class _Answer:
    def __init__(self, topic: str, partition: int, error: KafkaError | None) -> None:
        self.topic, self.partition, self.error = topic, partition, error


class NoStore:
    name, topics = "none", ("features.p",)


@pytest.fixture
def sink() -> Sink[Any]:
    watch = LagWatch(KAFKA, "p", "sink-none", ProgressTracker(lambda: 0.0))
    sink = Sink(cast("Any", NoStore()), "p", KAFKA, watch, random.Random(0), reference="p")
    sink._acknowledged = {("features.p", 0): 5, ("features.p", 1): 7}
    return sink


def test_a_partition_whose_commit_failed_is_committed_again(sink: Sink[Any]) -> None:
    failed = KafkaError(KafkaError.REBALANCE_IN_PROGRESS)
    sink._commit(cast("Consumer", FakeConsumer({0: None, 1: failed})))
    assert sink._acknowledged == {("features.p", 1): 7}


def test_a_commit_that_failed_as_a_whole_is_repeated(sink: Sink[Any]) -> None:
    sink._commit(cast("Consumer", FakeConsumer(DOWN)))
    assert len(sink._acknowledged) == 2


def test_a_commit_that_is_denied_ends_the_sink(sink: Sink[Any]) -> None:
    denied = KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED)
    with pytest.raises(PenstockError, match="denies access"):
        sink._commit(cast("Consumer", FakeConsumer({0: denied, 1: None})))
