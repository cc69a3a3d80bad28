"""What becomes of each event is reported once, and a producer that has failed is replaced."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from penstock.client import sending
from penstock.client.sending import EventSender, Full, TooLong
from penstock.client.waits import Asked, Place
from penstock.kafka.access import KafkaAccess

Report = Callable[[KafkaError | None, Any], None]


class FakeProducer:
    """Reports when the test says; fails for good when it says."""

    made: list[FakeProducer]

    def __init__(self, config: dict[str, Any]) -> None:
        self.config, self.reports, self.purged = config, list[Report](), False
        self.refuses: Exception | None = None
        self.fails: Exception | None = None
        self.made.append(self)

    def produce(self, _topic: str, _value: bytes, _key: bytes | None, headers: object, on_delivery: Report) -> None:
        self.headers = headers
        if self.refuses is not None:
            raise self.refuses
        self.reports.append(on_delivery)

    def report(self, error: KafkaError | None = None) -> None:
        message = SimpleNamespace(partition=lambda: 1, offset=lambda: 7)
        self.reports.pop(0)(error, message)

    def poll(self, _timeout: float) -> int:
        failure, self.fails = self.fails, None
        if failure is not None:
            raise failure
        return 0

    def purge(self) -> None:
        self.purged = True

    def flush(self, _timeout: float) -> int:
        return len(self.reports)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[FakeProducer]:
    FakeProducer.made = []
    monkeypatch.setattr(sending, "Producer", FakeProducer)
    return FakeProducer.made


class Reports:
    def __init__(self) -> None:
        self.sent: list[tuple[str, Place]] = []
        self.failed: list[str] = []

    def sender(self) -> EventSender:
        return EventSender(
            KafkaAccess(bootstrap="nowhere:1"),
            "events",
            {"acks": 0, "delivery.timeout.ms": 1_000},
            lambda asked, place: self.sent.append((asked.event_id, place)),
            lambda asked, _why: self.failed.append(asked.event_id),
        )


def asked(event_id: str) -> Asked:
    return Asked(event_id, 1, b"", 0.0)


def test_each_event_is_reported_with_its_place_or_as_failed(made: list[FakeProducer]) -> None:
    reports = Reports()
    sender = reports.sender()
    for event_id in ("a", "b"):
        sender.send(asked(event_id), b"", None)
    made[0].report()
    made[0].report(KafkaError(KafkaError._MSG_TIMED_OUT))
    assert (reports.sent, reports.failed) == ([("a", Place(1, 7))], ["b"])
    assert sender.flush(0) == 0


def test_settings_can_be_added_but_what_makes_delivery_sure_cannot_be_changed(made: list[FakeProducer]) -> None:
    Reports().sender()
    assert (made[0].config["delivery.timeout.ms"], made[0].config["acks"]) == (1_000, "all")


@pytest.mark.parametrize(
    ("refuses", "raised"),
    [(BufferError(), Full), (KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)), TooLong)],
)
def test_an_event_that_is_not_taken_over_is_not_reported(
    made: list[FakeProducer], refuses: Exception, raised: type[Exception]
) -> None:
    reports = Reports()
    sender = reports.sender()
    made[0].refuses = refuses
    with pytest.raises(raised):
        sender.send(asked("a"), b"", None)
    assert (sender.flush(0), reports.failed) == (0, [])


def test_after_a_fatal_error_what_was_on_its_way_has_failed_and_a_new_producer_takes_the_next(
    made: list[FakeProducer],
) -> None:
    reports = Reports()
    sender = reports.sender()
    sender.send(asked("a"), b"", None)
    made[0].refuses = KafkaException(KafkaError(KafkaError._FATAL))
    sender.send(asked("b"), b"", None)
    made[0].fails = KafkaException(KafkaError(KafkaError._FATAL))
    sender.poll(0)
    assert (reports.failed, made[0].purged) == (["b", "a"], True)
    sender.send(asked("c"), b"", None)
    made[1].report()
    made[0].report()  # too late: it counts as failed
    assert (reports.sent, reports.failed) == ([("c", Place(1, 7))], ["b", "a"])
