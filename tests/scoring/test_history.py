"""The history of scored events does not end early where Kafka deletes what is being read."""

from __future__ import annotations

import time
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, Message

from penstock.kafka.access import KafkaAccess
from scoring import history
from scoring.history import HistoryUnavailableError, PredictionHistory


class FakeMessage:
    def error(self) -> KafkaError:
        return KafkaError(KafkaError._AUTO_OFFSET_RESET)

    def topic(self) -> str:
        return "predictions.p"

    def partition(self) -> int:
        return 1

    def offset(self) -> int:
        return 7


def test_predictions_that_are_deleted_while_they_are_read_are_looked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[dict[str, Any]] = []
    monkeypatch.setattr(history, "Consumer", lambda settings, logger: made.append(settings))  # noqa: ARG005
    kafka = KafkaAccess(bootstrap="unused:1")
    of_scored = PredictionHistory(kafka, "predictions.p", "p.dlq", "e", clock=time.monotonic, stopping=lambda: False)
    assert {settings["auto.offset.reset"] for settings in made} == {"error"}, "else it would go on at the end"
    with pytest.raises(HistoryUnavailableError, match=r"predictions\.p\[1\]"):
        of_scored._process(cast("Message", FakeMessage()), {})
