"""Letters of records that are too long for their topic, or for the producer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from penstock.kafka.access import KafkaAccess
from penstock.kafka.records import MAX_RECORD_BYTES, Produced
from schemas.dead_letters import DeadLetter
from sinks import dead_letter_producer
from sinks.dead_letter_producer import DeadLetterProducer
from sinks.store_interface import StoreUnavailable

TOO_LARGE = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)
Delivered = Callable[[KafkaError | None, None], None]


class FakeProducer:
    """A producer, and a broker that refuses every record of a batch with one that is longer than its topic takes."""

    taken: list[DeadLetter]
    topic_takes: int
    fatal: KafkaException | None = None

    def __init__(self, config: dict[str, Any]) -> None:
        self._most = config["message.max.bytes"]
        self._batch: list[tuple[Produced, Delivered]] = []

    def produce(self, topic: str, **record: Any) -> None:
        headers = list(record["headers"])
        sent = Produced(topic, record["partition"], record["key"], record["value"], headers, 0, "")
        if sent.bytes > self._most:
            raise KafkaException(TOO_LARGE)
        self._batch.append((sent, record["on_delivery"]))

    def flush(self, _timeout: float) -> None:
        if self.fatal is not None:
            fatal, self.fatal = self.fatal, None
            raise fatal
        refused = any(sent.bytes > self.topic_takes for sent, _ in self._batch)
        for sent, on_delivery in self._batch:
            if not refused:
                self.taken.append(DeadLetter.read(sent.key, sent.value, sent.headers))
            on_delivery(TOO_LARGE if refused else None, None)
        self._batch = []

    def purge(self) -> None: ...

    def __len__(self) -> int:
        return len(self._batch)


def letter(offset: int, value: bytes, key: bytes = b"k") -> DeadLetter:
    return DeadLetter(
        topic="features.x",
        partition=1,
        offset=offset,
        pipeline="x",
        stage="decode",
        component="penstock.sink.redis",
        reason="penstock.Undecodable",
        message="not Avro",
        key=key,
        value=value,
        original_headers=(("traceparent", b"00-1"),),
    )


def published(letters: list[DeadLetter], topic_takes: int, monkeypatch: pytest.MonkeyPatch) -> list[DeadLetter]:
    FakeProducer.taken, FakeProducer.topic_takes = [], topic_takes
    monkeypatch.setattr(dead_letter_producer, "Producer", FakeProducer)
    DeadLetterProducer(KafkaAccess(bootstrap="broker:9092")).publish(letters)
    return FakeProducer.taken


def test_letters_that_fit_are_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    letters = [letter(0, b"a" * 100_000), letter(1, b"")]
    assert published(letters, 1_000_000, monkeypatch) == letters


def test_the_longest_record_of_the_job_is_whole_in_its_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    longest = letter(0, b"a" * (32 << 20))
    assert published([longest], 400_000_000, monkeypatch) == [longest]


@pytest.mark.parametrize("length", [1_000_000, MAX_RECORD_BYTES])
def test_a_letter_that_topic_or_producer_refuses_has_an_excerpt_and_the_others_are_whole(
    length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    short, long = letter(0, b"s" * 50), letter(1, b"a" * length)
    found = sorted(published([short, long], 1_000_000, monkeypatch), key=lambda taken: taken.offset)
    assert found == [short, long.excerpt()]
    assert (found[1].value, found[1].value_bytes, found[1].key) == (b"a" * 16_384, length, b"k")


def test_a_letter_whose_excerpt_is_refused_has_neither_key_nor_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = published([letter(0, b"v", key=b"k" * 100_000)], 50_000, monkeypatch)
    assert (found.key, found.original_headers, found.value, found.value_bytes) == (None, (), b"v", 1)
    assert (found.topic, found.partition, found.offset) == ("features.x", 1, 0)


def test_a_topic_that_takes_not_even_that_pauses_the_sink(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StoreUnavailable, match=r"not taken: too large\s+where: features\.x\.dlq"):
        published([letter(0, b"v")], 10, monkeypatch)


def test_a_fatal_error_of_the_client_pauses_the_sink_and_names_its_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    cause = KafkaError(KafkaError.CLUSTER_AUTHORIZATION_FAILED, "may not write", fatal=True)
    monkeypatch.setattr(FakeProducer, "fatal", KafkaException(cause))
    with pytest.raises(StoreUnavailable, match=r"not taken: may not write\s+where: features\.x\.dlq"):
        published([letter(0, b"v")], 1_000_000, monkeypatch)
