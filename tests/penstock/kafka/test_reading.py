"""Reading a topic to its end: what it yields, and that it does not wait there."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from penstock.errors import PenstockError
from penstock.kafka import reading
from penstock.kafka.access import KafkaAccess
from penstock.kafka.reading import RecordsGoneError, Start, read_topic, starts_at


class FakeMessage:
    """A record, or the end of a partition."""

    def __init__(self, partition: int, offset: int, code: int | None = None) -> None:
        self._partition, self._offset, self._code = partition, offset, code

    def error(self) -> Any:
        return None if self._code is None else SimpleNamespace(code=lambda: self._code, str=lambda: "end")

    def partition(self) -> int:
        return self._partition

    def offset(self) -> int:
        return self._offset

    def timestamp(self) -> tuple[int, int]:
        return 1, 0

    def key(self) -> None:
        return None

    def value(self) -> bytes:
        return b"%d" % self._offset

    def headers(self) -> None:
        return None


class FakeConsumer:
    """Has two partitions with these records, and waits as the real one does: until the call is satisfied."""

    def __init__(self, _: dict[str, Any]) -> None:
        self._queue = [FakeMessage(0, 0), FakeMessage(1, 0), FakeMessage(0, 1)]
        self._queue += [FakeMessage(n, 2, KafkaError._PARTITION_EOF) for n in (0, 1)]

    def list_topics(self, topic: str, timeout: float) -> Any:
        assert timeout > 0
        return SimpleNamespace(topics={topic: SimpleNamespace(error=None, partitions=[0, 1])})

    def get_watermark_offsets(self, of: TopicPartition, timeout: float) -> tuple[int, int]:
        assert timeout > 0
        return 0, (2, 2)[of.partition]  # the second offset of partition 1 is a transaction marker

    def assign(self, partitions: list[TopicPartition]) -> None:
        assert len(partitions) == 2

    def poll(self, timeout: float) -> FakeMessage | None:
        return next(iter(self.consume(1, timeout)), None)

    def consume(self, count: int, timeout: float) -> list[FakeMessage]:
        taken, self._queue = self._queue[:count], self._queue[count:]
        if len(taken) < count:
            time.sleep(timeout)
        return taken

    def offsets_for_times(self, asked: list[TopicPartition], timeout: float) -> list[Any]:
        assert timeout > 0
        return [SimpleNamespace(offset=min(one.offset, 3) if one.offset < 9 else -1, error=None) for one in asked]

    def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def _fake_kafka(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "Consumer", FakeConsumer)


def test_a_partition_without_a_leader_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class Moving(FakeConsumer):
        failures = 2

        def get_watermark_offsets(self, of: TopicPartition, timeout: float) -> tuple[int, int]:
            if Moving.failures:
                Moving.failures -= 1
                raise KafkaException(KafkaError(KafkaError.NOT_LEADER_FOR_PARTITION))
            return super().get_watermark_offsets(of, timeout)

    monkeypatch.setattr(reading, "_NO_LEADER_PAUSE_S", 0.0)
    monkeypatch.setattr(reading, "Consumer", Moving)
    assert len(list(read_topic(KafkaAccess(bootstrap="unused:1"), "t"))) == 3


def test_every_record_of_every_partition_is_read() -> None:
    found = [(record.partition, record.value) for record in read_topic(KafkaAccess(bootstrap="nowhere:1"), "topic")]
    assert found == [(0, b"0"), (1, b"0"), (0, b"1")]


def test_the_end_of_the_topic_is_no_reason_to_wait() -> None:
    began = time.monotonic()
    list(read_topic(KafkaAccess(bootstrap="nowhere:1"), "topic"))
    assert time.monotonic() - began < 0.5


@pytest.mark.parametrize("bounds", [{"start": {7: 0}}, {"end": {7: 1}}])
def test_a_partition_that_does_not_exist_is_named(bounds: Any) -> None:
    with pytest.raises(RecordsGoneError, match="has no partition 7, it has 2 partitions"):
        list(read_topic(KafkaAccess(bootstrap="nowhere:1"), "topic", **bounds))


@pytest.mark.parametrize(
    ("code", "is_gone"), [(KafkaError.UNKNOWN_TOPIC_OR_PART, True), (KafkaError.TOPIC_AUTHORIZATION_FAILED, False)]
)
def test_only_a_topic_that_does_not_exist_is_gone(code: int, is_gone: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = SimpleNamespace(error=KafkaError(code), partitions={})
    monkeypatch.setattr(FakeConsumer, "list_topics", lambda *_, **__: SimpleNamespace(topics={"topic": metadata}))
    with pytest.raises(PenstockError, match="topic topic cannot be read") as refused:
        list(read_topic(KafkaAccess(bootstrap="nowhere:1"), "topic"))
    assert isinstance(refused.value, RecordsGoneError) == is_gone


@pytest.mark.parametrize(
    ("first", "time_ms", "start"),
    [
        (0, 0, Start(0, is_cut=False)),
        (0, 2, Start(2, is_cut=False)),
        (2, 2, Start(2, is_cut=True)),
        (1, 2, Start(2, is_cut=False)),
        (0, -1, Start(0, is_cut=False)),
        (0, 9, Start(5, is_cut=False)),
        (5, 9, Start(5, is_cut=True)),
    ],
)
def test_a_start_is_the_first_offset_of_a_time_or_the_end_and_says_if_there_may_have_been_more(
    first: int, time_ms: int, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The offsets of the fake are the times."""
    monkeypatch.setattr(FakeConsumer, "get_watermark_offsets", lambda *_, **__: (first, 5))
    assert starts_at(KafkaAccess(bootstrap="nowhere:1"), "topic", [(1, time_ms)]) == [start]


def test_an_offset_that_kafka_refuses_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = SimpleNamespace(offset=-1, error=KafkaError(KafkaError.LEADER_NOT_AVAILABLE))
    monkeypatch.setattr(FakeConsumer, "offsets_for_times", lambda *_, **__: [refusal])
    with pytest.raises(PenstockError, match="offsets of topic topic cannot be read"):
        starts_at(KafkaAccess(bootstrap="nowhere:1"), "topic", [(0, 5)])
