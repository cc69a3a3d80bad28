"""Transactions on a real broker: a record that it refuses; a commit whose first copy a proxy delivers late."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import Consumer, TopicPartition

from penstock.errors import PenstockError
from penstock.kafka import end_watch
from penstock.kafka.access import KafkaAccess
from penstock.kafka.end_watch import LOST, RESENT, EndWatch
from penstock.kafka.records import Produced
from penstock.kafka.transactions import TransactionAbortedError, TransactionalProducer, producer_factory
from tests.penstock.kafka.kafka_proxy import KafkaProxy
from tests.scoring.scorer_bench import read, wait_for

# librdkafka connects again at once if its last attempt is longer ago than reconnect.backoff.max.ms, else after a pause.
LONG_CONNECTED_S = 2.5


class Rig:
    """A producer that reaches the broker through a proxy, and a topic with a group."""

    def __init__(self, kafka: KafkaAccess, proxy: KafkaProxy, topic: str) -> None:
        self.kafka, self.proxy, self.topic = kafka, proxy, topic
        self.replaced: list[str] = []
        self.producer = TransactionalProducer(
            producer_factory(KafkaAccess(bootstrap=proxy.address), topic),
            topic,
            clock=time.monotonic,
            wait=time.sleep,
            stopping=lambda: False,
            on_replaced=self.replaced.append,
        )
        self._consumer = Consumer({**kafka.client(), "group.id": topic, "isolation.level": "read_committed"})
        self._bounds = Consumer({**kafka.client(), "group.id": topic, "isolation.level": "read_uncommitted"})
        assert self.producer.start()

    def close(self) -> None:
        self._consumer.close()
        self._bounds.close()

    def write(self, offset: int, values: Iterator[bytes]) -> None:
        """One transaction of these values and this offset."""
        records = (Produced(self.topic, 0, b"k", value, [], time.time_ns() // 1_000_000, "test") for value in values)
        group = self._consumer.consumer_group_metadata()
        self.producer.write(records, [TopicPartition(self.topic, 0, offset)], group, 20.0)

    def write_with_the_late_copy_in_between(self, offset: int, *values: bytes) -> None:
        """Between the first value and the others, the broker gets the end that was withheld."""

        def produce() -> Iterator[bytes]:
            written = self.end()
            yield values[0]
            wait_for(lambda: self.end() > written, 10, "the first record to reach the broker")
            self.proxy.deliver_late()
            time.sleep(0.5)  # until its markers are written, if it was obeyed
            yield from values[1:]

        self.write(offset, produce())

    def committed(self) -> tuple[list[bytes], int]:
        """What read-committed readers see: the values, and the group's offset."""
        values = [message.value() for message in read(self.kafka, self.topic, 1, "read_committed")]
        (position,) = self._consumer.committed([TopicPartition(self.topic, 0)], timeout=10)
        return values, position.offset

    def doubt(self) -> str | None:
        """What the producer's watch knows now, between transactions."""
        self.producer.serve()
        return self.producer._watch.doubt

    def end(self) -> int:
        end: int = self._bounds.get_watermark_offsets(TopicPartition(self.topic, 0), timeout=10)[1]
        return end


@pytest.fixture
def rig(settings, create_topic, suffix) -> Iterator[Rig]:
    kafka = settings.kafka.access
    with KafkaProxy(kafka.bootstrap) as proxy:
        rig = Rig(kafka, proxy, create_topic(f"ends_{suffix}"))
        yield rig
        rig.close()


def commit_twice(rig: Rig) -> None:
    """Two transactions; the first copy of the second one's end is still on its way when it is reported committed."""
    rig.write(1, iter([b"a"]))
    time.sleep(LONG_CONNECTED_S)
    rig.proxy.withhold_next_end()
    rig.write(2, iter([b"b"]))
    assert rig.proxy.ends == 3
    assert rig.committed() == ([b"a", b"b"], 2)


def test_a_late_copy_of_a_commit_does_not_end_the_next_transaction(rig):
    commit_twice(rig)
    rig.write_with_the_late_copy_in_between(4, b"c", b"d")
    assert rig.committed() == ([b"a", b"b", b"c", b"d"], 4)
    assert rig.replaced == [LOST]
    rig.write(5, iter([b"e"]))
    assert rig.replaced == [LOST]


def test_without_the_watch_a_late_copy_commits_half_of_a_transaction_that_is_reported_as_aborted(rig, monkeypatch):
    """If this fails, the client or the broker has mended the hole that EndWatch guards."""
    monkeypatch.setattr(EndWatch, "doubt", None)
    commit_twice(rig)
    with pytest.raises(TransactionAbortedError):
        rig.write_with_the_late_copy_in_between(4, b"c", b"d")
    assert rig.committed() == ([b"a", b"b", b"c"], 2)


def test_a_resent_commit_that_only_the_statistics_show_is_noticed_with_the_next_ones(rig, monkeypatch):
    silent: Callable[..., None] = lambda *_: None  # noqa: E731
    monkeypatch.setattr(EndWatch, "on_log", silent)
    monkeypatch.setattr(EndWatch, "on_error", silent)
    monkeypatch.setattr(end_watch, "_SLOW_S", 3600.0)
    commit_twice(rig)
    wait_for(lambda: rig.doubt() is not None, 60, "statistics that tell of the second end")
    rig.write_with_the_late_copy_in_between(4, b"c", b"d")
    assert rig.committed() == ([b"a", b"b", b"c", b"d"], 4)
    assert rig.replaced == [RESENT]


def test_a_record_that_the_broker_refuses_is_named_and_nothing_of_its_transaction_is_written(rig):
    # Random, or compression would make it short enough.
    large = random.Random(1).randbytes(2_000_000)
    records = [Produced(rig.topic, 0, b"k", value, [], 1, f"record {n}") for n, value in enumerate((b"a", large, b"b"))]
    with pytest.raises(PenstockError, match="Kafka refuses the record") as refused:
        rig.producer.write(records, [], None, 5.0)
    assert refused.value.where == "record 1"
    assert rig.committed()[0] == []
