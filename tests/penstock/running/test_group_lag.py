"""Backlogs, from offsets of the test's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from penstock.kafka.lag import Partition, Waiting
from penstock.running import group_lag
from penstock.running.group_lag import GroupLags

TOPIC = "features.ads"


class FakeLag:
    """A topic whose records are at even offsets: at odd ones are markers of transactions."""

    def __init__(self, *_: Any) -> None:
        self.ends = {0: 10, 1: 0}
        self.committed = {0: 4}
        self.peeks = 0

    def end_offsets(self, topic: str) -> dict[int, int]:
        assert topic == TOPIC
        return dict(self.ends)

    def committed_offsets(self, group: str, topic: str, *, pending: bool) -> dict[int, int]:
        assert (group, topic, pending) == ("penstock-ads-scorer", TOPIC, False)
        return dict(self.committed)

    def first_waiting(self, _group: str, asked: Mapping[Partition, int]) -> dict[Partition, Waiting | None]:
        self.peeks += len(asked)
        first = {partition: at + at % 2 for partition, at in asked.items()}
        return {p: Waiting(at, 1_000 * at) if at < self.ends[p[1]] else None for p, at in first.items()}


@pytest.fixture
def lags(monkeypatch: pytest.MonkeyPatch) -> tuple[GroupLags, FakeLag, list[float]]:
    fake, now = FakeLag(), [0.0]
    monkeypatch.setattr(group_lag, "Lag", lambda *_: fake)
    return GroupLags(None, {"scorer": ("penstock-ads-scorer", (TOPIC,))}, {}, lambda: now[0]), fake, now


def test_a_backlog_has_its_age_and_the_time_to_clear(lags: tuple[GroupLags, FakeLag, list[float]]) -> None:
    measured, fake, now = lags
    first = measured.measure(10_000)["scorer"]
    assert (first.records, first.seconds, first.clears_s, first.per_second) == (6, 6.0, None, None)
    now[0], fake.committed = 2.0, {0: 8}
    later = measured.measure(10_000)["scorer"]
    assert (later.records, later.seconds, later.clears_s, later.per_second) == (2, 2.0, 1.0, 2.0)


def test_markers_of_transactions_are_no_backlog_and_are_looked_at_once(
    lags: tuple[GroupLags, FakeLag, list[float]],
) -> None:
    measured, fake, _ = lags
    fake.committed = {0: 9}
    assert [measured.measure(0)["scorer"].records for _ in range(3)] == [0, 0, 0]
    assert fake.peeks == 1
    fake.ends = {0: 12, 1: 0}
    assert measured.measure(0)["scorer"].records == 2


def test_a_group_that_has_committed_nothing_has_no_backlog_unless_it_is_known_how_far_it_is(
    lags: tuple[GroupLags, FakeLag, list[float]],
) -> None:
    measured, fake, _ = lags
    fake.committed = {}
    assert measured.measure(0) == {}
    assert measured.measure(0, {"scorer": {(TOPIC, 0): 8}})["scorer"].records == 2
    fake.committed = {0: 8}
    assert measured.measure(0, {"scorer": {(TOPIC, 0): 4}})["scorer"].records == 2
