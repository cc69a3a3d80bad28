"""What the history of scored events reads where Kafka has deleted answers, before a read or during it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError, TopicPartition

from penstock.kafka.access import KafkaAccess
from scoring import history
from scoring.history import HistoryUnavailableError, PredictionHistory
from scoring.look_back import Ends

PREDICTIONS, DEAD_LETTERS = "predictions.p", "predictions.p.dlq"


class FakeMessage:
    """An error of the client, or a record that answers no event."""

    def __init__(self, topic: str, offset: int, code: int | None = None) -> None:
        self._topic, self._offset, self._code = topic, offset, code

    def error(self) -> KafkaError | None:
        return None if self._code is None else KafkaError(self._code)

    def topic(self) -> str:
        return self._topic

    def partition(self) -> int:
        return 1

    def offset(self) -> int:
        return self._offset

    def value(self) -> None:
        return None

    def headers(self) -> list[tuple[str, bytes]]:
        return []


class FakeKafka:
    """The offsets that two topics have, and a consumer of them as librdkafka's with ``auto.offset.reset=error``."""

    def __init__(self) -> None:
        self.offsets = {PREDICTIONS: (0, 0), DEAD_LETTERS: (0, 0)}
        self.read: list[tuple[str, int]] = []
        self.resets: set[str] = set()
        self.before_fetch: Callable[[], None] = lambda: None
        self._positions: dict[str, int] = {}

    def consumer(self, settings: dict[str, Any], logger: object) -> FakeKafka:  # noqa: ARG002
        self.resets.add(settings["auto.offset.reset"])
        return self

    def get_watermark_offsets(self, of: TopicPartition, timeout: float) -> tuple[int, int]:  # noqa: ARG002
        return self.offsets[of.topic]

    def assign(self, partitions: list[TopicPartition]) -> None:
        self._positions = {of.topic: of.offset for of in partitions}

    def unassign(self) -> None:
        self._positions = {}

    def consume(self, _number: int, timeout: float) -> list[FakeMessage]:  # noqa: ARG002
        self.before_fetch()
        return [message for topic in list(self._positions) for message in self._fetched(topic)]

    def _fetched(self, topic: str) -> list[FakeMessage]:
        position, (first, end) = self._positions[topic], self.offsets[topic]
        if not first <= position <= end:
            return [FakeMessage(topic, position, KafkaError._AUTO_OFFSET_RESET)]
        self._positions[topic] = end
        self.read += [(topic, offset) for offset in range(position, end)]
        records = [FakeMessage(topic, offset) for offset in range(position, end)]
        return [*records, FakeMessage(topic, end, KafkaError._PARTITION_EOF)]


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch) -> FakeKafka:
    kafka = FakeKafka()
    monkeypatch.setattr(history, "Consumer", kafka.consumer)
    return kafka


@pytest.fixture
def answers(kafka: FakeKafka) -> PredictionHistory:
    access = KafkaAccess(bootstrap="unused:1")
    return PredictionHistory(access, PREDICTIONS, DEAD_LETTERS, "e", clock=time.monotonic, stopping=lambda: False)


def test_a_mark_before_all_that_retention_has_left_reads_nothing_there(kafka, answers):
    kafka.offsets = {PREDICTIONS: (0, 3), DEAD_LETTERS: (9, 9)}
    assert list(answers.read_from(1, Ends(1, 5))) == []
    assert kafka.read == [(PREDICTIONS, 1), (PREDICTIONS, 2)]


def test_a_mark_before_the_first_record_reads_those_that_are_left(kafka, answers):
    kafka.offsets = {PREDICTIONS: (0, 0), DEAD_LETTERS: (9, 11)}
    assert list(answers.read_from(1, Ends(0, 5))) == []
    assert kafka.read == [(DEAD_LETTERS, 9), (DEAD_LETTERS, 10)]


def test_a_mark_before_the_first_record_reads_nothing_that_was_read_before(kafka, answers):
    kafka.offsets[PREDICTIONS] = (0, 8)
    list(answers.read_from(1, Ends(6, 0)))
    kafka.offsets[PREDICTIONS] = (7, 9)
    list(answers.read_from(1, Ends(2, 0)))
    assert kafka.read == [(PREDICTIONS, 6), (PREDICTIONS, 7)]


def test_what_is_deleted_during_a_read_fails_it_and_the_next_read_reads_what_is_left(kafka, answers):
    kafka.offsets[PREDICTIONS] = (0, 8)
    kafka.before_fetch = lambda: kafka.offsets.update({PREDICTIONS: (7, 8)})
    with pytest.raises(HistoryUnavailableError, match=r"predictions\.p\[1\]"):
        list(answers.read_from(1, Ends(2, 0)))
    assert kafka.read == []
    list(answers.read_from(1, Ends(2, 0)))
    assert kafka.read == [(PREDICTIONS, 7)]


def test_a_read_never_goes_on_at_the_end_by_itself(kafka, answers):
    assert kafka.resets == {"error"}
