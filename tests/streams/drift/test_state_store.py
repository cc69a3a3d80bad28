"""Where a partition resumes if Kafka has deleted records, of the topic or of the states."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from confluent_kafka import KafkaError

from examples.fraud.pipeline import pipeline as fraud
from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from penstock.kafka.retention import GapPolicy
from streams.drift import state_store
from streams.drift.state_store import NotSavedError, ResumePoint, TrackStore, read_latest_states
from tests.streams.drift.references import reference

KAFKA = KafkaAccess(bootstrap="unused:1")
PLACE = ("features.fraud", 0)


class FakeLag:
    """A topic that has the offsets from 60 to 100."""

    def __init__(self, _kafka: KafkaAccess) -> None: ...

    def __enter__(self) -> FakeLag:  # noqa: PYI034
        return self

    def __exit__(self, *_: object) -> None: ...

    def earliest_offsets(self, _topic: str) -> dict[int, int]:
        return {0: 60}

    def end_offsets(self, _topic: str) -> dict[int, int]:
        return {0: 100}


def resumed(start: int, monkeypatch: pytest.MonkeyPatch, *, skip: bool = False) -> int:
    monkeypatch.setattr(state_store, "Lag", FakeLag)
    gaps = GapPolicy("fraud", "drift", (PLACE[0],), "The detectors do not see them.", "penstock drift run fraud", skip)
    store = TrackStore(KAFKA, fraud, reference("x"), 1, threading.Event(), gaps)
    return store._beyond_deleted(ResumePoint(None, start), PLACE).start


def test_a_first_start_begins_at_the_earliest_record(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resumed(0, monkeypatch) == 60


def test_a_position_that_the_topic_still_has_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resumed(60, monkeypatch) == 60
    assert resumed(100, monkeypatch) == 100


def test_a_position_behind_deleted_records_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PenstockError, match=r"deleted 50 records before they were read: features\.fraud\[0\]@10"):
        resumed(10, monkeypatch)


def test_a_position_behind_deleted_records_moves_to_the_earliest_one_if_told_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert resumed(10, monkeypatch, skip=True) == 60


def test_a_partition_that_is_gone_is_named_with_the_command_that_makes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeLag, "earliest_offsets", lambda *_: {1: 60})
    for start in (0, 60):
        with pytest.raises(PenstockError, match=r"features\.fraud\[0\] is gone") as gone:
            resumed(start, monkeypatch)
        assert str(gone.value.next).startswith("penstock topics create PIPELINE")


@pytest.mark.parametrize("code", [KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_PARTITION])
def test_a_partition_of_the_states_that_is_gone_is_named_too(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    class FakeMessage:
        def error(self) -> KafkaError:
            return KafkaError(code)

    class FakeConsumer:
        def __init__(self, _settings: dict[str, Any]) -> None: ...

        def assign(self, _partitions: list[Any]) -> None: ...

        def poll(self, _timeout: float) -> FakeMessage:
            return FakeMessage()

        def close(self) -> None: ...

    monkeypatch.setattr(state_store, "Consumer", FakeConsumer)
    with pytest.raises(PenstockError, match=r"drift\.fraud\.state\[0\] is gone"):
        read_latest_states(KAFKA, "g", "drift.fraud.state", 0)


def test_states_that_are_deleted_while_they_are_read_are_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class FakeMessage:
        def error(self) -> KafkaError:
            return KafkaError(KafkaError._AUTO_OFFSET_RESET)

    class FakeConsumer:
        def __init__(self, settings: dict[str, Any]) -> None:
            assert settings["auto.offset.reset"] == "error", "otherwise the read would end as if there were no state"

        def assign(self, _partitions: list[Any]) -> None: ...

        def poll(self, _timeout: float) -> FakeMessage:
            return FakeMessage()

        def close(self) -> None: ...

    monkeypatch.setattr(state_store, "Consumer", FakeConsumer)
    with pytest.raises(NotSavedError, match="cannot be read"):
        read_latest_states(KAFKA, "g", "drift.fraud.state", 0)
