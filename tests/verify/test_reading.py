"""Topics that a pipeline need not have."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from penstock.kafka.access import KafkaAccess
from penstock.kafka.reading import Record, RecordsGoneError
from verify.reading import _records_if_any

KAFKA = KafkaAccess(bootstrap="127.0.0.1:1")


@pytest.fixture(autouse=True)
def cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster with two topics, of one of which Kafka deletes the records while they are read."""

    def read(_: object, topic: str) -> Iterator[Record]:
        if topic != "rollout.p":
            raise RecordsGoneError(f"{topic} is gone")
        yield Record(0, 1, 2, None, b"x", ())

    monkeypatch.setattr("verify.reading.read_topic", read)
    monkeypatch.setattr("verify.reading.partition_counts", lambda *_: {"rollout.p": 1, "rollout.p.log": 1})


def test_a_topic_is_read_if_there_is_one() -> None:
    assert len(_records_if_any(KAFKA, "rollout.p")) == 1


def test_a_pipeline_whose_topics_are_older_than_rollouts_has_no_records_of_them() -> None:
    assert _records_if_any(KAFKA, "rollout.old") == []


def test_records_that_are_deleted_while_they_are_read_are_an_error() -> None:
    with pytest.raises(RecordsGoneError):
        _records_if_any(KAFKA, "rollout.p.log")
