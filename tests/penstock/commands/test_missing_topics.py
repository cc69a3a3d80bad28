"""Of a stack that an earlier release has set up, every command that needs a missing topic says how to create it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from confluent_kafka import KafkaError

from penstock.cli import cli
from penstock.client import reading as client_reading
from penstock.errors import PenstockError
from penstock.kafka import lag, reading, topics
from tests.loop.taps import DEFINITION

COMMANDS = (
    "data-quality profile",
    "data-quality run",
    "data-quality show",
    "drift run",
    "gateway run --fallback pass",
    "incidents list",
    "incidents watch",
    "labels sample",
    "labels status",
    "quality run",
    "quality show",
    "retrain list",
    "rollout controller run",
    "rollout show",
    "scorer run",
    "sink run cassandra",
    "sink run redis",
)


class NoTopics:
    """A consumer of a cluster without topics."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def list_topics(self, topic: str, **_: object) -> SimpleNamespace:
        missing = SimpleNamespace(error=KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART), partitions={})
        return SimpleNamespace(topics={topic: missing})

    def close(self) -> None:
        pass


@pytest.fixture
def reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A pipeline with everything, whose topics do not exist."""
    monkeypatch.setattr(topics, "admin_client", lambda _kafka: None)
    monkeypatch.setattr(topics, "partition_counts", lambda *_: {})
    monkeypatch.setattr(reading, "Consumer", NoTopics)
    monkeypatch.setattr(client_reading, "Consumer", NoTopics)
    for offsets in ("earliest_offsets", "end_offsets"):
        monkeypatch.setattr(lag.Lag, offsets, lambda *_: {})
    trained = SimpleNamespace(model="taps", refusals=list, monitors=[SimpleNamespace(refused=())])
    monkeypatch.setattr("streams.drift.app.serving_reference", lambda *_: (trained, 1))
    text = DEFINITION.format(suffix="lacking", inputs="", labels='horizon="1d", absent="negative"')
    text = text.replace("import count, mean", "import DataQuality, count, mean")
    path = tmp_path / "taps_lacking.py"
    path.write_text(text.replace("monitors=Monitors(", "monitors=Monitors(data_quality=DataQuality(), "))
    return str(path)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_missing_topic_is_named_with_the_command_that_creates_it(
    command: str, reference: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as services:
        services.setattr("signal.signal", lambda *_: None)  # the handlers of this process stay
        error = CliRunner().invoke(cli, [*command.split(), reference]).exception
    assert isinstance(error, PenstockError)
    assert f"penstock topics create {reference}" in (error.next or "")
    assert "taps_lacking" in error.what
