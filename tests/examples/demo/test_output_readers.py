"""The demo's reader of predictions: when it takes a prediction as arrived."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from examples.demo import output_readers
from examples.demo.output_readers import PredictionReader
from penstock.kafka.access import KafkaAccess
from tests.sinks.payments import encoded_prediction, prediction


class FakeMessage:
    """A prediction of an event that was produced just now."""

    def __init__(self) -> None:
        self._produced_ms = time.time_ns() // 1_000_000

    def error(self) -> None:
        return None

    def value(self) -> bytes:
        record = prediction(1, score=0.75, decision="review")
        record["source"]["timestamp"] = self._produced_ms
        return encoded_prediction(record)


class FakeConsumer:
    """Has three predictions, one after another; waits as the real one does: until the call is satisfied."""

    def __init__(self, _: dict[str, Any]) -> None:
        self._left = 3

    def subscribe(self, topics: list[str]) -> None:
        assert topics == ["predictions.fraud"]

    def poll(self, timeout: float) -> FakeMessage | None:
        return next(iter(self.consume(1, timeout)), None)

    def consume(self, count: int, timeout: float) -> list[FakeMessage]:
        taken = [FakeMessage()] if self._left and (count == 1 or timeout) else []
        self._left -= len(taken)
        if len(taken) < count:
            threading.Event().wait(timeout)
        return taken

    def close(self) -> None:
        pass


def test_a_prediction_has_arrived_when_the_client_has_it_not_when_a_batch_is_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(output_readers, "Consumer", FakeConsumer)
    reader = PredictionReader(KafkaAccess(bootstrap="nowhere:1"), "predictions.fraud", "review")
    deadline = time.monotonic() + 5
    while reader.count < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    reader.stop()
    assert len(reader.recent_ms) == 3
    assert len(reader.high_scores) == 3
    assert min(reader.recent_ms) < 8  # the wait of a call for a batch is 10 ms
