"""Offsets of a topic when Kafka does not answer."""

from __future__ import annotations

import pytest

from backfill import kafka_offsets
from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess


def test_an_unreachable_broker_is_an_error_that_names_the_topic_and_the_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_offsets, "_TIMEOUT_S", 0.2)
    with pytest.raises(PenstockError, match="topic taps cannot be read") as refused:
        kafka_offsets.offsets_at(KafkaAccess(bootstrap="127.0.0.1:1"), "taps", range(2), 0)
    assert refused.value.where == "127.0.0.1:1"
