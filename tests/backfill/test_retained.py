"""Offsets of a topic: what happens if Kafka does not answer."""

from __future__ import annotations

import pytest

from backfill import retained
from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess


def test_a_topic_of_a_broker_that_does_not_answer_is_an_error_that_names_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retained, "_TIMEOUT_S", 0.2)
    with pytest.raises(PenstockError, match="topic taps cannot be read") as refused:
        retained.offsets_at(KafkaAccess(bootstrap="127.0.0.1:1"), "taps", range(2), 0)
    assert refused.value.where == "127.0.0.1:1"
