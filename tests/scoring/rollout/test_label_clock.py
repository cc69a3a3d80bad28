"""Labels have been read up to a time once everything is read that was there before."""

from __future__ import annotations

import pytest

from scoring.rollout.label_clock import LabelClock, LabelCut
from scoring.rollout.observations import Label

ENDS = {("labels", 0): 5, ("labels", 1): 0}


def test_a_time_is_reached_once_all_partitions_are_read_up_to_where_they_ended_and_only_once() -> None:
    clock = LabelClock()
    clock.add(LabelCut(70, ENDS))
    assert clock.complete({("labels", 0): 4, ("labels", 1): 9}) is None
    assert clock.complete({("labels", 0): 5}) is None
    assert clock.complete({("labels", 0): 5, ("labels", 1): 0}) == 70
    assert clock.complete({("labels", 0): 5, ("labels", 1): 0}) is None


def test_a_later_cut_does_not_put_off_one_that_is_not_reached_yet() -> None:
    clock = LabelClock()
    clock.add(LabelCut(70, ENDS))
    clock.add(LabelCut(80, {("labels", 0): 50, ("labels", 1): 50}))
    clock.add(None)
    assert clock.complete({("labels", 0): 5, ("labels", 1): 0}) == 70


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([], None),
        ([Label("a", 1.0, 10), Label("b", 1.0, 8)], 10),
        ([Label("a", 1.0, 10, received_ms=7), Label("b", None, 8, received_ms=30)], 8),
    ],
)
def test_a_label_counts_as_of_when_kafka_received_it_if_that_is_earlier(
    labels: list[Label], expected: int | None
) -> None:
    clock = LabelClock()
    clock.saw(labels)
    clock.saw([])
    assert clock.reached_ms == expected
