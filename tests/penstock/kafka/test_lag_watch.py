"""Lag by position and end, with a look where offsets cannot tell."""

from __future__ import annotations

from collections.abc import Mapping

from confluent_kafka import OFFSET_BEGINNING

from penstock.kafka.lag import Partition, Waiting
from penstock.kafka.lag_watch import PartitionLag, lags

A, B = ("t", 0), ("t", 1)
NOW = 5_000


class Topic:
    """Records at given offsets; remembers what was asked."""

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


def test_at_the_end_the_lag_is_zero_and_nobody_is_asked() -> None:
    topic = Topic({})
    assert lags({A: 7}, {A: 7}, topic.first_waiting, NOW) == {A: PartitionLag(NOW, 0, None)}
    assert topic.asked == []


def test_an_empty_partition_that_was_never_read_is_caught_up() -> None:
    topic = Topic({})
    assert lags({A: OFFSET_BEGINNING}, {A: 0}, topic.first_waiting, NOW) == {A: PartitionLag(NOW, 0, None)}
    assert topic.asked == []


def test_markers_beyond_the_last_record_are_no_lag() -> None:
    topic = Topic({A: {6: 100}})
    assert lags({A: 7}, {A: 9}, topic.first_waiting, NOW) == {A: PartitionLag(NOW, 0, None)}


def test_the_lag_counts_from_the_first_record_that_waits() -> None:
    topic = Topic({A: {9: 1_000, 10: 2_000}})
    assert lags({A: 7}, {A: 11}, topic.first_waiting, NOW) == {A: PartitionLag(NOW, 2, Waiting(9, 1_000))}


def test_one_that_never_did_a_record_is_behind_from_the_beginning_that_is_left() -> None:
    topic = Topic({A: {50: 1_000}})
    assert lags({A: OFFSET_BEGINNING}, {A: 60}, topic.first_waiting, NOW)[A].records == 10


def test_a_record_that_came_after_the_end_was_asked_for_is_one_at_least() -> None:
    topic = Topic({A: {9: 1_000}})
    assert lags({A: 7}, {A: 9}, topic.first_waiting, NOW)[A].records == 1


def test_a_partition_that_does_not_answer_is_not_given_a_lag() -> None:
    assert lags({A: 1, B: 5}, {A: 5, B: 5}, lambda _: {}, NOW) == {B: PartitionLag(NOW, 0, None)}
    assert lags({A: 1}, {}, lambda _: {}, NOW) == {}


def test_age_grows_with_the_clock_until_the_record_is_done_and_is_never_negative() -> None:
    waiting = PartitionLag(10_300, 1, Waiting(7, 10_000))
    assert waiting.age_s(7, 12_500) == 2.5
    assert waiting.age_s(None, 12_500) == 2.5
    assert waiting.age_s(8, 12_500) == 0.3
    assert waiting.age_s(7, 9_000) == 0.0
    assert PartitionLag(10_300, 0, None).age_s(7, 12_500) == 0.0
