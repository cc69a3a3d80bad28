"""What data quality keeps in Kafka; on real Kafka: tests/integration/test_data_quality.py."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from penstock.errors import PenstockError
from streams.drift.data_quality import quality_store
from streams.drift.data_quality.quality_reference import QualityReference, TopicReference, Volume


def test_a_reference_that_could_not_be_read_again_does_not_replace_one_that_can(monkeypatch) -> None:
    monkeypatch.setattr(quality_store, "start_writer", lambda *_: pytest.fail("it must not be written"))
    topic = TopicReference(
        topic="events.x",
        events=1,
        from_ms=0,
        until_ms=0,
        start={},
        ranges={"amount": (0.0, math.inf)},
        categories={},
        late_ms=0,
        limits=(),
        volume=Volume(expected=(0.0,)),
        refused=(),
    )
    reference = QualityReference(pipeline="x", window=100, false_alarm_every=10_000, topics=(topic,))
    anywhere: Any = SimpleNamespace(name="x", data_quality_topic="data-quality.x")
    with pytest.raises(PenstockError, match="could not be read again"):
        quality_store.write_reference(anywhere, anywhere, reference, 0)
