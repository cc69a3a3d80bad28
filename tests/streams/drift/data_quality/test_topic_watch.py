"""When a check goes beyond its limit, and when it is back; whole worlds: test_worlds.py."""

from __future__ import annotations

from streams.drift.data_quality.quality_reference import Limit, TopicReference, Volume
from streams.drift.data_quality.raw_events import RawEvent
from streams.drift.data_quality.topic_watch import TopicWatch
from tests.streams.drift.data_quality.quality_worlds import AMOUNT, NAMES, TOPIC

WINDOW = 100
SEVERAL = Limit(column="amount", kind="distinct", expected=50.0, low=30.0, high=80.0)
NULLS = Limit(column="amount", kind="null", expected=0.05, high=0.15)


def watch_of(*limits: Limit) -> TopicWatch:
    reference = TopicReference(
        topic=TOPIC.topic,
        events=1,
        from_ms=0,
        until_ms=0,
        start={},
        ranges={},
        categories={},
        late_ms=0,
        limits=limits,
        volume=Volume(expected=(0.0,)),
        refused=(),
    )
    return TopicWatch(TOPIC, reference, WINDOW, partitions=1)


def event(offset: int, amount: float | None, producer: str = "") -> RawEvent:
    values = [None] * len(NAMES)
    return RawEvent(0, offset, -1, 1_000, producer, None, (*values[:AMOUNT], amount, *values[AMOUNT + 1 :]))


def test_a_column_that_has_become_constant_is_found_once_and_is_over_until_it_is_back() -> None:
    watch = watch_of(SEVERAL)
    found = [one for offset in range(5 * WINDOW) for one in watch.observe(event(offset, 1.0))]
    assert [one.kind for one in found] == ["distinct"]
    assert list(watch.over) == ["|amount:distinct"]
    for offset in range(WINDOW):
        watch.observe(event(offset, float(offset % 50)))
    assert not watch.over


def test_a_column_of_nulls_only_that_was_so_is_usual() -> None:
    watch = watch_of(Limit(column="amount", kind="distinct", expected=1.0, low=1 / 1.5, high=1.5))
    assert not [one for offset in range(2 * WINDOW) for one in watch.observe(event(offset, None))]


def test_what_is_unusual_of_a_producer_that_is_rolled_back_ends() -> None:
    watch = watch_of(NULLS)
    for offset in range(WINDOW):
        watch.observe(event(offset, None, "4.2"))
    for offset in range(WINDOW // 10):
        watch.observe(event(offset, None, "4.3"))  # a part of a window
    for offset in range(19 * WINDOW):
        watch.observe(event(offset, 1.0, "4.1"))
    assert list(watch.over) == ["4.2|amount:null"]
    for offset in range(2 * WINDOW):
        watch.observe(event(offset, 1.0, "4.1"))
    assert not watch.over
    assert not watch.state().since


def test_the_first_record_of_a_fault_outlasts_the_window_of_another_producer_with_the_same_beginning() -> None:
    watch = watch_of(NULLS)
    for offset in range(10):
        watch.observe(event(offset, None if offset >= 5 else 1.0, "4|2"))
    for offset in range(10, 10 + WINDOW):
        watch.observe(event(offset, 1.0, "4"))
    (finding,) = [one for offset in range(200, 220) for one in watch.observe(event(offset, None, "4|2"))]
    assert (finding.offset, finding.producer) == (5, "4|2")
