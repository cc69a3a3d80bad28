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

ARM = {
    "policy": "c3563e018b60",
    "arm": "retrained",
    "probability": 0.2,
    "explored": False,
    "propensity": 1.0,
    "infer_ms": 1.5,
}


class FakeMessage:
    """A prediction of an event that was produced just now."""

    def __init__(self) -> None:
        self._produced_ms = time.time_ns() // 1_000_000

    def error(self) -> None:
        return None

    def value(self) -> bytes:
        record = prediction(1, score=0.75, decision="review", rollout=ARM)
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


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> PredictionReader:
    """A reader that has read all three."""
    monkeypatch.setattr(output_readers, "Consumer", FakeConsumer)
    reader = PredictionReader(KafkaAccess(bootstrap="nowhere:1"), "predictions.fraud", "review")
    deadline = time.monotonic() + 5
    while reader.count < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    reader.stop()
    return reader


def test_a_prediction_has_arrived_when_the_client_has_it_not_when_a_batch_is_full(reader: PredictionReader) -> None:
    assert len(reader.recent_ms) == 3
    assert len(reader.high_scores) == 3
    assert min(reader.recent_ms) < 8  # the wait of a call for a batch is 10 ms


def test_predictions_under_a_rollout_are_counted_by_policy_and_version_with_their_entities(
    reader: PredictionReader,
) -> None:
    record = prediction(1)
    served = "c3563e018b60", int(record["model_version"])
    assert reader.under == {served: 3}
    assert reader.entities == {served: {record["entity"]}}
