"""The small memories count well enough, and go on from what was saved."""

from __future__ import annotations

import pytest

from streams.drift.data_quality.sketches import DistinctCounter, RecentIds, packed


@pytest.mark.parametrize("different", [1, 10, 300, 1_000])
def test_different_values_are_counted_within_a_few_percent(different):
    counter = DistinctCounter(1_000)
    for number in range(1_000):
        counter.add(f"value {number % different}")
    assert counter.estimate() == pytest.approx(different, rel=0.08)


def test_ids_are_remembered_for_the_span_and_hardly_one_is_taken_for_another():
    ids = RecentIds(1_000)
    assert sum(ids.add(f"a{number}") for number in range(3_000)) <= 2
    assert all(ids.add(f"a{number}") for number in range(2_000, 3_000))


def test_both_go_on_from_what_was_saved_and_refuse_what_does_not_fit():
    ids, again = RecentIds(10), RecentIds(10)
    ids.add("a")
    again.restore(ids.state())
    assert again.add("a")
    with pytest.raises(ValueError, match="bytes of bits"):
        RecentIds(20).restore(ids.state())
    with pytest.raises(ValueError, match="cannot be inflated"):
        DistinctCounter(10).restore("AAAA")
    with pytest.raises(ValueError, match="not 128"):
        DistinctCounter(10).restore(packed(bytes(10_000_000)))
