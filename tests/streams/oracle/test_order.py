"""The reference order of event time: what waits, what is taken late, and what a live job is excused for."""

from __future__ import annotations

from streams.oracle.order import Arrival, by_event_time, may_be_late
from streams.plan.model import SourcePlan
from tests.plans import make_plan, view_of

COUNT = {"name": "n", "operation": "count", "column": None, "column_type": None, "where": None}
FEATURE = COUNT | {"window_ms": 1_000, "hop_ms": 10, "type": "long"}


def source() -> SourcePlan:
    """One that waits for 10 ms of disorder, and 100 ms for a partition."""
    plan = make_plan(
        fields=[],
        views=[view_of(FEATURE)],
        source={"order": "event_time", "disorder_ms": 10, "idle_after_ms": 100},
    )
    return plan.source


def arrivals(*found: tuple[int, int, int]) -> list[Arrival]:
    """Of (time, partition, Kafka timestamp), with the offsets that they get."""
    return [Arrival(time, partition, number, timestamp) for number, (time, partition, timestamp) in enumerate(found)]


def taken(partitions: int, *found: tuple[int, int, int]) -> list[int]:
    return [arrival.offset for arrival in by_event_time(source(), partitions, arrivals(*found))]


def test_events_are_taken_by_time_then_partition_then_offset() -> None:
    assert taken(2, (5, 1, 0), (5, 0, 0), (3, 1, 0), (5, 0, 0)) == [2, 1, 3, 0]


def test_an_event_that_goes_back_more_than_the_disorder_is_taken_when_it_comes() -> None:
    assert taken(1, (100, 0, 0), (89, 0, 0), (90, 0, 0)) == [1, 2, 0]
    assert taken(1, (80, 0, 0), (100, 0, 0), (89, 0, 0), (90, 0, 0)) == [0, 2, 3, 1]
    assert taken(1, (90, 0, 0), (120, 0, 0), (89, 0, 0)) == [0, 2, 1]


def test_all_partitions_are_waited_for_until_they_are_silent() -> None:
    assert taken(2, (0, 1, 0), (50, 0, 10), (100, 0, 20), (60, 1, 30)) == [0, 1, 3, 2]
    assert taken(2, (0, 1, 0), (50, 0, 60), (100, 0, 101), (20, 1, 150)) == [0, 1, 3, 2]


def test_a_silence_of_all_partitions_ends_the_wait() -> None:
    assert taken(1, (50, 0, 0), (51, 0, 200), (50, 0, 200)) == [0, 2, 1]


def test_only_what_its_own_partition_has_passed_or_kept_silent_before_may_be_late() -> None:
    events = arrivals((50, 0, 0), (100, 1, 0), (60, 0, 10), (90, 1, 10), (89, 1, 20), (10, 0, 115))
    assert may_be_late(source(), events, margin_ms=0) == {(0, 0), (1, 1), (1, 4), (0, 5)}
