"""What the scorer asks of Kafka about its topics before it starts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from scoring import service
from streams.definitions.pipeline import Pipeline
from streams.plan.project import Project
from tests.scoring.scorer_bench import define

KAFKA = KafkaAccess(bootstrap="unused:1")
SETTINGS = {
    "message.timestamp.type": "CreateTime",
    "cleanup.policy": "delete",
    "retention.ms": "1000",
    "retention.bytes": "-1",
    "max.message.bytes": "5000000",
}


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    return define(tmp_path, "service", partitions=1)[1]


@pytest.fixture
def project(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setattr(service, "require_topics", lambda *_, **__: None)
    return cast("Project", SimpleNamespace(pipeline=pipeline, reference="service"))


def answer_with(monkeypatch: pytest.MonkeyPatch, *, raw: dict[str, str] | None, of: str) -> list[str]:
    """Kafka that gives the settings of topics, and the raw topic's (``of``) only if it may; the topics asked about."""
    asked: list[str] = []

    def settings(names: Sequence[str], kafka: KafkaAccess) -> dict[str, Any]:
        asked.extend(names)
        if of in names and raw is None:
            raise PenstockError("not allowed")
        roomy = SETTINGS | {"max.message.bytes": "6000000"}
        return {name: raw if name == of else roomy if name.endswith(".dlq") else SETTINGS for name in names}

    monkeypatch.setattr("penstock.kafka.topics.topic_settings", settings)
    monkeypatch.setattr(service, "topic_settings", settings)
    return asked


def test_kafka_is_asked_once_about_each_topic(project, pipeline, monkeypatch):
    asked = answer_with(monkeypatch, raw=SETTINGS, of=pipeline.source.topic)
    largest, predictions = service.check_topics(project, KAFKA), pipeline.predictions_topic
    assert (largest[predictions], largest[f"{predictions}.dlq"]) == (5_000_000, 6_000_000)
    of_predictions = [predictions, f"{predictions}.dlq", f"{predictions}.shadow"]
    assert sorted(asked) == sorted([pipeline.source.topic, pipeline.features_topic, *of_predictions])


def test_without_a_right_on_the_raw_topic_it_warns_and_starts(project, pipeline, monkeypatch, caplog):
    answer_with(monkeypatch, raw=None, of=pipeline.source.topic)
    assert service.check_topics(project, KAFKA)[pipeline.predictions_topic] == 5_000_000
    assert "cannot check that predictions are kept as long as raw events: not allowed" in caplog.text


def test_predictions_that_are_kept_for_less_time_than_raw_events_are_a_warning(project, pipeline, monkeypatch, caplog):
    answer_with(monkeypatch, raw=SETTINGS | {"retention.ms": "2000"}, of=pipeline.source.topic)
    service.check_topics(project, KAFKA)
    assert f"topic {pipeline.predictions_topic} is kept for 1,000 ms" in caplog.text
