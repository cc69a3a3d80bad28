"""Replaying several lanes: all of them end where the topics ended when the command began."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from io import StringIO
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from backfill.dead_letters import service
from backfill.dead_letters.lanes import Lane
from backfill.dead_letters.service import replay_lanes
from penstock.settings import Settings
from tests.streams.definitions.test_pipeline import pipeline

PIPELINE = pipeline()
TOPIC = PIPELINE.source.dead_letter_topic
LANES = {Lane(TOPIC, "penstock.job", reason): 7 for reason in ("penstock.FutureEvent", "penstock.InvalidField")}


@pytest.fixture
def ends_of(monkeypatch: pytest.MonkeyPatch) -> list[dict[int, int]]:
    """Replaces Kafka: every lane moves the end of the topic; returns the ends that each lane was given."""
    end, given = [10], []

    class FakeReplay:
        def __init__(self, *_: object) -> None:
            pass

        def run(self, _lane: Lane, ends: dict[int, int], *_: object, on_letters: Any, **__: object) -> Counter[str]:
            given.append(ends)
            end[0] += 5
            on_letters(7)
            return Counter({"put back": 7})

    @contextmanager
    def answer(*_: object) -> Any:
        yield None

    monkeypatch.setattr(service, "Replay", FakeReplay)
    monkeypatch.setattr(service, "_answer", answer)
    monkeypatch.setattr(service, "largest_messages", lambda topics, _: dict.fromkeys(topics, 1 << 20))
    monkeypatch.setattr(service, "present_ends", lambda _, topics: {topic: {0: end[0]} for topic in topics})
    return given


def test_every_lane_ends_where_the_topic_ended_when_the_command_began(ends_of: list[dict[int, int]]) -> None:
    project: Any = SimpleNamespace(name="payments", pipeline=PIPELINE)
    shown = StringIO()
    found = list(replay_lanes(project, Settings(), LANES, "again", Console(file=shown, width=200)))
    assert ends_of == [{0: 10}, {0: 10}]
    assert found == [(lane, Counter({"put back": 7})) for lane in LANES]
    assert shown.getvalue().splitlines() == [f"{lane}: 7 letters" for lane in LANES]
