"""What is said of a job that fails because Kafka deleted records before it read them."""

from __future__ import annotations

from typing import Any, Self

import pytest

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


def error_of(failure: str | None, monkeypatch: pytest.MonkeyPatch) -> str | None:
    monkeypatch.setattr(starting, "Lag", FakeLag)
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
