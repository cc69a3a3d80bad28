"""The events behind a vector, as ``penstock features explain`` reads them from the raw topic."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from penstock.commands.features.entity_events import entity_events
from penstock.kafka.reading import Record
from penstock.settings import Settings
from schemas.contract import pii_hash
from schemas.dead_letters import DeadLetter
from streams.plan.project import Project
from tests.sinks.payments import T0, payments

KEY = "k" * 32
PROJECT = Project.of(payments(), Path("nothing is committed"))
SOURCE = PROJECT.plan.source
BODIES = [json.dumps({"id": f"e{n}", "time": T0 + n, "card": "c1", "amount": 1.0}).encode() for n in range(3)]
RAW = [Record(0, n, T0 + n, b"c1", body, ()) for n, body in enumerate(BODIES)]


def clock_refusal(offset: int, received_ms: int) -> Record:
    letter = DeadLetter(
        SOURCE.topic, 0, offset, "payments", "validate", "penstock.job", "penstock.FutureEvent", "why", b"c1"
    )
    return Record(0, 0, received_ms, b"c1", BODIES[offset], tuple(letter.headers()))


def test_an_event_that_the_live_job_refused_by_its_clock_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    letters = [clock_refusal(1, received_ms=T0 - 3_600_000)]
    topics = {SOURCE.topic: RAW, SOURCE.dead_letter_topic: letters}
    monkeypatch.setattr("verify.judged_sources.read_topic", lambda _, topic, **__: iter(topics[topic]))
    monkeypatch.setattr("penstock.commands.features.entity_events.offsets_at", lambda *_: {0: 0, 1: 0})
    settings, card = Settings(pii={"key": KEY}), pii_hash(KEY.encode(), "c1")
    rows = entity_events(PROJECT, PROJECT.plan.view("spending"), card, T0 + 10, settings)
    assert [row["id"] for row in rows] == ["e0", "e2"]
