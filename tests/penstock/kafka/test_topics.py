"""Creating topics: what the brokers are asked for."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import NewTopic

from penstock.cli import cli
from penstock.errors import PenstockError
from penstock.kafka import topics
from penstock.kafka.access import KafkaAccess


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[NewTopic]:
    """The topics that a broker without topics is asked to create."""
    asked: list[NewTopic] = []

    class Admin:
        def list_topics(self, **_: Any) -> Any:
            known = {t.topic: SimpleNamespace(partitions=range(t.num_partitions)) for t in asked}
            return SimpleNamespace(topics=known)

        def create_topics(self, wanted: list[NewTopic], **_: Any) -> dict[str, Any]:
            asked.extend(wanted)
            return {topic.topic: SimpleNamespace(result=lambda _: None) for topic in wanted}

    monkeypatch.setattr(topics, "admin_client", lambda _: Admin())
    monkeypatch.setattr("penstock.commands.topics.largest_messages", lambda *_: {})
    monkeypatch.setattr("penstock.commands.topics.room_of_job", lambda *_: {})
    monkeypatch.setattr("penstock.commands.topics.room_of_scorer", lambda *_: {})
    monkeypatch.setattr("penstock.commands.topics.room_of_data_quality", lambda *_: {})
    return asked


def create(*options: str) -> Any:
    return CliRunner().invoke(cli, ["topics", "create", "fraud", *options])


def test_the_brokers_choose_the_replication_factor(requests: list[NewTopic]) -> None:
    assert create().exit_code == 0
    assert "events.transactions" in [topic.topic for topic in requests]
    assert {topic.replication_factor for topic in requests} == {-1}


def test_a_replication_factor_that_was_asked_for_is_that_of_every_topic(requests: list[NewTopic]) -> None:
    assert create("--replication", "3").exit_code == 0
    assert {topic.replication_factor for topic in requests} == {3}


def test_a_replication_factor_below_one_is_refused(requests: list[NewTopic]) -> None:
    refused = create("--replication", "0")
    assert refused.exit_code == 2
    assert "--replication" in refused.output
    assert not requests


class Unanswered:
    """An admin client whose requests fail, and how long each was to wait."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def list_topics(self, *, timeout: float) -> Any:
        self.waits.append(timeout)
        raise KafkaException(KafkaError(KafkaError._TRANSPORT))


def test_where_nothing_listens_nobody_is_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as listening, socket.socket() as free:
        for one in (listening, free):
            one.bind(("127.0.0.1", 0))
        listening.listen()
        nobody, slow = (f"127.0.0.1:{one.getsockname()[1]}" for one in (free, listening))
        monkeypatch.setenv("PENSTOCK_KAFKA_BOOTSTRAP", nobody)
        for bootstrap, waits in ((nobody, 1), (f"{nobody},PLAINTEXT://{slow}", 2), ("no-such-host.invalid:1", 2)):
            admin = Unanswered()
            with pytest.raises(PenstockError, match="Kafka cannot be reached") as error:
                topics.partition_counts(admin, KafkaAccess(bootstrap=bootstrap))  # type: ignore[arg-type]
            assert len(admin.waits) == waits, bootstrap
            assert f"PENSTOCK_KAFKA_BOOTSTRAP, which is set to {nobody}" in str(error.value.next)
