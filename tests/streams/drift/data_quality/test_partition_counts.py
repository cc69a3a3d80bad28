"""What windows hold is what a naive count of the same records gives, whatever is saved and restored in between."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.definitions.monitors import DataQuality, Monitors
from streams.drift.data_quality.partition_counts import OTHERS, BlockEnd, PartitionCounts, PartitionState, Usual
from streams.drift.data_quality.raw_events import Column, RawEvent, watched_topics
from streams.drift.data_quality.sketches import RecentIds, packed
from streams.plan.pipeline_topics import pipeline_topics, room_of_data_quality
from tests.sinks.payments import payments

WINDOW, BLOCK = 20, 2
COLUMNS = (Column("amount", True, False, True), Column("city", False, True, True))
USUAL = Usual({"amount": (0.0, 10.0)}, {"city": frozenset({"bern", "rome"})}, late_ms=100)

events = st.builds(
    RawEvent,
    partition=st.just(0),
    offset=st.just(0),
    timestamp=st.sampled_from([-1, 1_000, 1_200, 90_000_000_000]),
    event_time=st.sampled_from([None, 1_000]),
    producer=st.sampled_from(["", "1", "2"]),
    event_id=st.sampled_from([None, *"abcdefgh"]),
    values=st.none()
    | st.tuples(
        st.sampled_from([None, 1.5, 3, -1, 10.5, "text", True, float("nan")]),
        st.sampled_from([None, "bern", "rome", "oslo", "kyiv", 7]),
    ),
    invalid=st.sampled_from([(), (0,), (0, 1)]),
)


def naive(records: list[RawEvent]) -> list[tuple[str, bool, dict[str, int], dict[str, int]]]:
    """Of each look at a window: its producer, whether it is complete, and the records that each check objects to."""
    found, by_producer = [], {}
    new_since: dict[str, int] = {}
    for place, record in enumerate(records, 1):
        objections = []
        if record.values is None:
            objections.append(":malformed")
        else:
            amount, city = record.values
            objections += [f"{name}:null" for name, value in (("amount", amount), ("city", city)) if value is None]
            if type(amount) in (int, float) and not 0 <= amount <= 10:
                objections.append("amount:range")
            is_unknown = isinstance(city, str) and city not in ("bern", "rome")
            if is_unknown and place - new_since.setdefault(city, place) <= 2 * WINDOW:
                objections.append("city:category")
            objections += [f"{COLUMNS[number].name}:invalid" for number in record.invalid]
        if record.event_id is not None and record.event_id in {one.event_id for one in records[: place - 1]}:
            objections.append(":duplicate")
        if record.timestamp == 1_200 and record.event_time == 1_000:
            objections.append(":late")
        mine = by_producer.setdefault(record.producer, [])
        mine.append(objections)
        if len(mine) % BLOCK == 0:
            begin = (len(mine) - 1) // WINDOW * WINDOW
            whole, block = (Counter(o for one in mine[at:] for o in one) for at in (begin, len(mine) - BLOCK))
            found.append((record.producer, len(mine) % WINDOW == 0, dict(whole), dict(block)))
    return found


def counts() -> PartitionCounts:
    return PartitionCounts(COLUMNS, True, USUAL, WINDOW)


def saved_and_restored(before: PartitionCounts) -> PartitionCounts:
    after = counts()
    after.restore(PartitionState.model_validate_json(before.state().model_dump_json()))
    return after


@given(st.lists(events, max_size=150), st.sets(st.integers(0, 149)))
@settings(max_examples=60, deadline=None)
def test_windows_hold_what_a_naive_count_gives_also_over_restarts(records, restarts):
    if any(record.values is None for record in records):
        records = [r._replace(invalid=()) if r.values is None else r for r in records]
    watched, ends = counts(), []
    for place, record in enumerate(records):
        if place in restarts:
            watched = saved_and_restored(watched)
        if (end := watched.observe(record._replace(offset=place))) is not None:
            assert all(records[at].producer == end.producer for at in end.first.values())
            ends.append((end.producer, end.is_complete, dict(end.counts), dict(end.in_block)))
    assert ends == naive(records)


def test_the_first_record_that_is_objected_to_is_told_with_its_place_in_the_block():
    watched = counts()
    null = RawEvent(0, 7, 0, None, "", None, (None, "bern"))
    watched.observe(null._replace(offset=6, values=(1.0, "bern")))
    end = watched.observe(null)
    assert isinstance(end, BlockEnd)
    assert (dict(end.first), dict(end.before)) == ({"amount:null": 7}, {"amount:null": 1})


def test_the_values_of_a_complete_window_are_counted_and_the_most_frequent_new_one_is_named():
    watched, event = counts(), RawEvent(0, 0, 0, None, "", None, None)
    cities = ["oslo", "kyiv", "kyiv", "a\nb" * 100] * 5
    ends = [watched.observe(event._replace(values=(number, city))) for number, city in enumerate(cities)]
    assert ends[-1].is_complete
    assert round(ends[-1].distinct["amount"]) == 20
    assert round(ends[-1].distinct["city"]) == 3
    assert ends[-1].new == {"city": "kyiv"}


def test_producers_beyond_the_greatest_number_count_together_until_one_is_gone():
    watched, event = counts(), RawEvent(0, 0, 0, None, "", None, None)
    for number in range(12):
        watched.observe(event._replace(producer=f"v{number}"))
    assert set(watched.state().windows) == {*(f"v{number}" for number in range(8)), OTHERS}
    for _ in range(21 * WINDOW):
        watched.observe(event._replace(producer="v7"))
    watched.observe(event._replace(producer="v20"))
    assert "v20" in watched.state().windows
    assert "v0" not in watched.state().windows


def test_of_new_values_only_the_one_that_may_be_named_is_kept_in_words() -> None:
    watched, event = counts(), RawEvent(0, 0, 0, None, "", None, None)
    for number in range(WINDOW):
        watched.observe(event._replace(values=(1.0, f"secret {number}")))
    assert len(watched.state().known["city"]) == WINDOW
    assert "secret" not in watched.state().model_dump_json()  # the window is complete, and began anew


def test_a_column_that_has_become_personal_data_since_the_profile_is_no_category() -> None:
    watched = PartitionCounts((Column("city", False, False, True),), False, USUAL, WINDOW)
    ends = [watched.observe(RawEvent(0, 0, 0, None, "", None, ("oslo",))) for _ in range(BLOCK)]
    assert (ends[-1].counts, ends[-1].new) == ({}, {})
    assert "oslo" not in watched.state().model_dump_json()


def test_what_is_counted_fits_the_topic_at_worst() -> None:
    pipeline = payments("pay")
    monitors = Monitors(window=100, data_quality=DataQuality())
    pipeline = pipeline.model_copy(update={"monitors": monitors})
    (topic, *_), rng = watched_topics(pipeline), random.Random(1)
    columns = [column._replace(may_be_category=True) for column in topic.columns]
    usual = Usual(
        {column.name: (0.0, 0.0) for column in columns}, {column.name: frozenset() for column in columns}, late_ms=1
    )
    watched = PartitionCounts(columns, True, usual, monitors.window)
    for number in range(3_000):
        value: Any = "\N{SNOWMAN}" * 900 + str(rng.random()) if number % 3 else -(10**18) if number % 2 else None
        event = RawEvent(0, 10**18, 10_000, 1_000, f"\N{SNOWMAN}{number % 9}" * 40, str(number), None)
        watched.observe(event._replace(values=(value,) * len(columns), invalid=tuple(range(len(columns)))))
    (room,) = room_of_data_quality(pipeline).values()
    assert len(watched.state().model_dump_json().encode()) < room
    (made,) = [one for one in pipeline_topics(pipeline) if one.name == pipeline.data_quality_topic]
    assert int(made.config["max.message.bytes"]) >= room


def test_the_ids_of_the_longest_windows_fit_the_topic() -> None:
    pipeline, window, rng = payments("pay"), 100_000, random.Random(1)
    pipeline = pipeline.model_copy(update={"monitors": Monitors(window=window, data_quality=DataQuality())})
    ids, (room,) = RecentIds(5 * window), room_of_data_quality(pipeline).values()
    ids.restore((0, *(packed(rng.randbytes(15 * window)) for _ in range(2))))
    assert len(str(ids.state())) < room
