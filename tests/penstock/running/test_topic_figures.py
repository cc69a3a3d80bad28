"""Figures of topics: who has not begun to read one has all of it before it."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, Self

import pytest

from penstock.kafka.access import KafkaAccess
from penstock.kafka.names import Topic
from penstock.running import group_lag, topic_figures
from penstock.running.figures import Backlog
from penstock.running.topic_figures import TopicFigures, figures_of
from streams.definitions.loading import load_pipeline

FRAUD = load_pipeline("fraud")
FEATURES, OTHER = FRAUD.features_topic, "others"


class FakeLag:
    """Topics with the offsets 2 to 9, of which only the sink of Redis has committed, up to 6."""

    def __init__(self, *_: Any) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def close(self) -> None: ...

    def earliest_offsets(self, topic: str) -> dict[int, int]:  # noqa: ARG002
        return {0: 2}

    def end_offsets(self, topic: str) -> dict[int, int]:  # noqa: ARG002
        return {0: 10}

    def committed_offsets(self, group: str, topic: str, *, pending: bool) -> dict[int, int]:  # noqa: ARG002
        return {0: 7} if group.endswith("sink-redis") else {}

    def first_waiting(self, _group: str, asked: Mapping[Any, int]) -> dict[Any, Any]:
        return dict.fromkeys(asked)


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> dict[str, TopicFigures]:
    for module in (group_lag, topic_figures):
        monkeypatch.setattr(module, "Lag", FakeLag)
    monkeypatch.setattr(topic_figures, "topic_settings", lambda names, _: {name: {} for name in names})
    monkeypatch.setattr(topic_figures, "starts_at", lambda *_: [SimpleNamespace(offset=10)])
    topics = [Topic(name, 1) for name in (FEATURES, OTHER)]
    return figures_of(FRAUD, topics, KafkaAccess(bootstrap="127.0.0.1:1"), 0)


def test_a_part_that_has_committed_nothing_has_the_whole_topic_before_it(figures: dict[str, TopicFigures]) -> None:
    found = figures[FEATURES]
    assert found.records == 8
    assert "sink-redis" not in found.not_begun
    assert {"sink-cassandra", "scorer"} <= set(found.not_begun)
    assert found.behind["scorer"] == Backlog(8, None)


def test_a_topic_that_no_part_reads_has_nobody_behind(figures: dict[str, TopicFigures]) -> None:
    assert (figures[OTHER].behind, figures[OTHER].not_begun) == ({}, ())
