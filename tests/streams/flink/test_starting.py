"""What is said of a job that fails because Kafka deleted records before it read them."""

from __future__ import annotations

from typing import Any, Self

import pytest
from confluent_kafka import KafkaError, KafkaException

from penstock.errors import PenstockError
from penstock.settings import Settings
from streams.flink import starting
from streams.flink.rest import Job

CLIENTS = (
    "org.apache.flink.kafka.shaded.org.apache.kafka.clients.consumer.OffsetOutOfRangeException: Fetch position "
    "FetchPosition{offset=5, offsetEpoch=Optional[0], currentLeader=LeaderAndEpoch{leader=Optional[b:9092 (id: 1)], "
    "epoch=0}} is out of range for partition events.x-3"
)
KERNELS = "java.lang.IllegalStateException: position 5 is out of range for partition events.x-3"


class FakeLag:
    """The offsets of a topic."""

    def __init__(self, _kafka: Any) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def earliest_offsets(self, _topic: str) -> dict[int, int]:
        return {3: 12}

    def end_offsets(self, _topic: str) -> dict[int, int]:
        return {3: 40}


class SilentLag(FakeLag):
    """A broker that does not answer."""

    def end_offsets(self, _topic: str) -> dict[int, int]:
        raise KafkaException(KafkaError(KafkaError._TRANSPORT, "Failed to get metadata"))


class LagOfGoneTopic(FakeLag):
    """A topic without partitions, as Kafka's client reports one that is gone."""

    def earliest_offsets(self, _topic: str) -> dict[int, int]:
        return {}


def error_of(failure: str | None, monkeypatch: pytest.MonkeyPatch, lag: type[FakeLag] = FakeLag) -> str | None:
    monkeypatch.setattr(starting, "Lag", lag)
    job = Job("id", "penstock-x", "RESTARTING", 0, 1, 0, failure=failure)
    error = starting.deleted_error(job, Settings(), "penstock job start x --from-savepoint P")
    return None if error is None else str(error)


@pytest.mark.parametrize("failure", [CLIENTS, KERNELS])
def test_the_error_names_partition_offsets_loss_and_command(failure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = error_of(failure, monkeypatch) or ""
    assert "deleted 7 records before they were read: events.x[3]@5 is the next to read" in text
    assert "now begins at 12. Their events are missing from every window" in text
    assert "penstock job start x --from-savepoint P --skip-deleted" in text


@pytest.mark.parametrize("failure", [None, "java.lang.OutOfMemoryError: Java heap space"])
def test_other_failures_are_left_alone(failure: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert error_of(failure, monkeypatch) is None


@pytest.mark.parametrize(
    ("lag", "why"),
    [(SilentLag, "Failed to get metadata"), (LagOfGoneTopic, "a topic, or a partition of it, is gone")],
)
def test_offsets_that_are_not_known_are_an_error_that_keeps_the_jobs_failure(
    lag: type[FakeLag], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(PenstockError, match=f"the offsets of the raw topics are not known: {why}") as found:
        error_of(KERNELS, monkeypatch, lag)
    assert found.value.safe == f"job penstock-x was left as it is; it fails with: {KERNELS}"
