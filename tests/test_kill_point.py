"""The moment at which the integration tests kill a job."""

from __future__ import annotations

from typing import Any, cast

from penstock.kafka.lag import Lag
from tests.integration.kill_point import KillPoint
from tests.sinks.payments import payments


class FakeLag:
    """The offsets of a job, one (committed, published) pair for each look; the last pair stays."""

    def __init__(self, *looks: tuple[int, int]) -> None:
        self._looks = list(looks)

    def end_offsets(self, _topic: str) -> dict[int, int]:
        return {0: (self._looks.pop(0) if len(self._looks) > 1 else self._looks[0])[1]}

    def committed_offsets(self, _group: str, _topic: str) -> dict[int, int]:
        return {0: self._looks[0][0]}


def reached(lag: Any, seconds: float) -> bool:
    return KillPoint(payments("pay"), lag).is_reached_within(seconds)


def test_a_job_is_awaited_until_it_has_published_records_after_a_checkpoint() -> None:
    assert reached(FakeLag((1, 10), (1, 20), (1, 30), (2, 40), (2, 40), (2, 50), (2, 60)), 10)


def test_records_before_the_first_checkpoint_seen_are_no_kill_point() -> None:
    assert not reached(FakeLag((1, 10), (1, 20), (1, 30)), 0.1)


def test_a_job_that_publishes_nothing_after_its_checkpoint_has_no_kill_point() -> None:
    assert not reached(FakeLag((1, 10), (2, 20)), 0.1)


def test_a_checkpoint_asks_for_more_records_at_once() -> None:
    point = KillPoint(payments("pay"), FakeLag((1, 10), (2, 20), (2, 20), (2, 30)))
    assert not point.is_reached_before_a_checkpoint(10)
    assert point.is_reached_before_a_checkpoint(10)


def test_records_that_do_not_count_are_not_waited_for() -> None:
    lag, of_events = FakeLag((1, 10), (2, 20), (2, 30), (2, 40)), iter((5, 5, 5, 6))

    def published() -> int:
        lag.end_offsets("features")
        return next(of_events)

    point = KillPoint(payments("pay"), cast("Lag", lag), published)
    assert [point.is_reached() for _ in range(4)] == [False, False, False, True]
