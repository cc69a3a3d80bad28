"""Hours are complete when all partitions have passed them, and have the events of a naive count."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from streams.drift.data_quality.hours import HOUR_MS, Hours, HoursState

times = st.integers(0, 40 * HOUR_MS)


@given(st.lists(times, max_size=60), st.lists(times, max_size=60), st.integers(0, 3))
def test_each_hour_is_told_once_with_all_its_events_however_partitions_are_read(first, second, ahead):
    rest = {0: sorted(first), 1: sorted(second)}
    hours, told = Hours(2), []
    start = next((rest[n][0] // HOUR_MS + 1 for n in (0, 1) if rest[n]), 0)
    counted = Counter(time // HOUR_MS for n in (0, 1) for time in rest[n])
    while rest[0] or rest[1]:
        for number in (0, 1):
            for _ in range(1 + ahead * number):
                if rest[number]:
                    hours.observe(number, rest[number].pop(0))
        told += hours.completed([number for number in (0, 1) if not rest[number]])
        hours = Hours(2, HoursState.model_validate_json(hours.state.model_dump_json()))
    assert [hour for hour, _ in told] == list(range(start, start + len(told)))
    assert all(counted[hour] == events for hour, events in told)


def test_a_partition_of_which_not_everything_was_read_is_waited_for():
    hours = Hours(2)
    hours.observe(0, 0)
    hours.observe(0, 5 * HOUR_MS)
    assert not list(hours.completed([]))
    assert [hour for hour, _ in hours.completed([1])] == [1, 2, 3]


def test_a_jump_of_more_than_a_week_begins_anew():
    hours = Hours(1)
    hours.observe(0, 0)
    hours.observe(0, 400 * HOUR_MS)
    hours.observe(0, 403 * HOUR_MS)
    assert list(hours.completed([])) == [(401, 0)]
