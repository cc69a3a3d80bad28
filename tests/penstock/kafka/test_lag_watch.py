"""Lag from positions and end offsets; the first waiting record is read where offsets alone are not enough."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import nullcontext

import pytest
from confluent_kafka import OFFSET_BEGINNING

from penstock.kafka import lag_watch
from penstock.kafka.access import KafkaAccess
from penstock.kafka.lag import Partition, PartitionLag, Waiting, lags
from penstock.kafka.lag_watch import LagWatch, deleted
from penstock.telemetry import ProgressTracker

A, B = ("t", 0), ("t", 1)
NOW = 5_000


class Topic:
    """Records at given offsets; records the queries."""

    def __init__(self, records: Mapping[Partition, Mapping[int, int]]) -> None:
        self.records = records
        self.asked: list[Partition] = []

    def first_waiting(self, positions: Mapping[Partition, int]) -> dict[Partition, Waiting | None]:
        self.asked += positions
        return {
            partition: min(
                (Waiting(offset, time) for offset, time in self.records[partition].items() if offset >= at),
                key=lambda waiting: waiting.offset,
                default=None,
            )
            for partition, at in positions.items()
        }


def test_at_the_end_the_lag_is_zero_without_a_read() -> None:
    topic = Topic({})
    assert lags({A: 7}, {A: 7}, topic.first_waiting, NOW) == {A: PartitionLag(NOW, 0, None)}
    assert topic.asked == []


def test_an_empty_partition_that_was_never_read_is_caught_up() -> None:
    topic = Topic({})
    assert lags({A: OFFSET_BEGINNING}, {A: 0}, topic.first_waiting, NOW) == {A: PartitionLag(NOW, 0, None)}
    assert topic.asked == []


def test_markers_after_the_last_record_are_not_lag() -> None:
    topic = Topic({A: {6: 100}})
    assert lags({A: 7}, {A: 9}, topic.first_waiting, NOW) == {A: PartitionLag(NOW, 0, None)}


def test_the_lag_counts_from_the_first_waiting_record() -> None:
    topic = Topic({A: {9: 1_000, 10: 2_000}})
    assert lags({A: 7}, {A: 11}, topic.first_waiting, NOW) == {A: PartitionLag(NOW, 2, Waiting(9, 1_000))}


def test_a_new_consumer_has_a_lag_from_the_first_retained_record() -> None:
    topic = Topic({A: {50: 1_000}})
    assert lags({A: OFFSET_BEGINNING}, {A: 60}, topic.first_waiting, NOW)[A].records == 10


def test_a_record_after_the_known_end_counts_as_at_least_one() -> None:
    topic = Topic({A: {9: 1_000}})
    assert lags({A: 7}, {A: 9}, topic.first_waiting, NOW)[A].records == 1


def test_a_partition_that_does_not_answer_has_no_lag() -> None:
    assert lags({A: 1, B: 5}, {A: 5, B: 5}, lambda _: {}, NOW) == {B: PartitionLag(NOW, 0, None)}
    assert lags({A: 1}, {}, lambda _: {}, NOW) == {}


def test_age_grows_with_the_clock_until_the_record_is_done_and_is_never_negative() -> None:
    waiting = PartitionLag(10_300, 1, Waiting(7, 10_000))
    assert waiting.age_s(7, 12_500) == 2.5
    assert waiting.age_s(None, 12_500) == 2.5
    assert waiting.age_s(8, 12_500) == 0.3
    assert waiting.age_s(7, 9_000) == 0.0
    assert PartitionLag(10_300, 0, None).age_s(7, 12_500) == 0.0


def test_waiting_records_that_kafka_deleted_are_counted_apart() -> None:
    assert deleted({A: 7, B: 60}, {A: 50, B: 50}) == {A: 43, B: 0}


def test_a_new_consumer_waits_for_no_deleted_record() -> None:
    assert deleted({A: OFFSET_BEGINNING}, {A: 50}) == {A: 0}


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ("fa", ["INFO Kafka does not tell the lag yet"]),
        ("ff", ["INFO Kafka does not tell the lag yet", "WARNING the lag cannot be measured"]),
        ("afff", ["WARNING the lag cannot be measured"]),
        ("afaf", ["WARNING the lag cannot be measured"] * 2),
    ],
)
def test_no_answer_is_usual_at_the_start_and_later_a_warning_once(
    answers: str, said: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    watch = LagWatch(KafkaAccess(bootstrap="127.0.0.1:1"), "p", "scorer", ProgressTracker(lambda: 0.0), interval_s=0)
    left = list(answers)

    def measure(_lag: object) -> None:
        answer = left.pop(0)
        if not left:
            watch._stop.set()
        if answer == "f":
            raise TimeoutError("no answer")

    monkeypatch.setattr(watch, "_measure", measure)
    monkeypatch.setattr(lag_watch, "Lag", lambda _: nullcontext())
    with caplog.at_level(logging.INFO):
        watch._run()
    logged = [f"{one.levelname} {one.getMessage()}" for one in caplog.records]
    assert [line[: len(text)] for line, text in zip(logged, said, strict=True)] == said
