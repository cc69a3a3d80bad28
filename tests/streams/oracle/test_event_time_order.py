"""The oracle's event-time order: which events wait, which are processed late, and which a live job may reorder."""

from __future__ import annotations

from streams.oracle.event_time_order import Arrival, may_be_out_of_order, order_by_event_time
from streams.plan.model import SourcePlan
from tests.plans import make_plan, view_of

COUNT = {"name": "n", "operation": "count", "column": None, "column_type": None, "where": None}
FEATURE = COUNT | {"window_ms": 1_000, "hop_ms": 10, "type": "long"}


def source() -> SourcePlan:
    """A source with 10 ms of disorder and 100 ms until a partition is idle."""
    plan = make_plan(
        fields=[],
        views=[view_of(FEATURE)],
        source={"order": "event_time", "disorder_ms": 10, "idle_after_ms": 100},
    )
    return plan.source


def arrivals(*events: tuple[int, int, int]) -> list[Arrival]:
    """Arrivals of (time, partition, Kafka timestamp); each one's offset is its number."""
    return [Arrival(time, partition, number, timestamp) for number, (time, partition, timestamp) in enumerate(events)]


def ordered(partitions: int, *events: tuple[int, int, int]) -> list[int]:
    return [arrival.offset for arrival in order_by_event_time(source(), partitions, arrivals(*events))]


def test_a_watermark_earlier_than_any_time_is_none() -> None:
    """As in the job: the second event takes the watermark from nowhere, however small the step."""
    least = -(2**63)
    events = [(least, 0, 0), (least + 12, 0, 0), (least + 1, 0, 0), (least, 0, 0)]
    assert ordered(1, *events) == [0, 2, 3, 1]


def test_events_are_ordered_by_time_then_partition_then_offset() -> None:
    assert ordered(2, (5, 1, 0), (5, 0, 0), (3, 1, 0), (5, 0, 0)) == [2, 1, 3, 0]


def test_an_event_older_than_the_disorder_allows_is_processed_at_once() -> None:
    assert ordered(1, (100, 0, 0), (89, 0, 0), (90, 0, 0)) == [1, 2, 0]
    assert ordered(1, (80, 0, 0), (100, 0, 0), (89, 0, 0), (90, 0, 0)) == [0, 2, 3, 1]
    assert ordered(1, (90, 0, 0), (120, 0, 0), (89, 0, 0)) == [0, 2, 1]


def test_the_watermark_waits_for_every_partition_until_it_is_idle() -> None:
    assert ordered(2, (0, 1, 0), (50, 0, 10), (100, 0, 20), (60, 1, 30)) == [0, 1, 3, 2]
    assert ordered(2, (0, 1, 0), (50, 0, 60), (100, 0, 101), (20, 1, 150)) == [0, 1, 3, 2]


def test_idleness_of_all_partitions_ends_the_wait() -> None:
    assert ordered(1, (50, 0, 0), (51, 0, 200), (50, 0, 200)) == [0, 2, 1]


def test_only_events_after_disorder_or_idleness_of_their_own_partition_may_be_out_of_order() -> None:
    events = arrivals((50, 0, 0), (100, 1, 0), (60, 0, 10), (90, 1, 10), (89, 1, 20), (10, 0, 115))
    assert may_be_out_of_order(source(), events, margin_ms=0) == {(0, 0), (1, 1), (1, 4), (0, 5)}
