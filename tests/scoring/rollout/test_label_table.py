"""The table has the labels that count for the sample, and the newest of others."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from scoring.rollout.label_table import ROW, LabelTable
from scoring.rollout.sample import SHARDS

MOST = 5
FOR_EVER = 2**63 - 1
NOBODY = np.empty(0, np.uint64), np.empty(0, np.int64)
# Event, time, Kafka time and value: in this order of rank, few of each, so that many are of equal time.
labels = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 4), st.integers(0, 2), st.sampled_from([0.0, 1.0, None])), max_size=40
)


def rows(found: list[Any], at: int = 0) -> NDArray[Any]:
    """Each has its own offset."""
    made = np.zeros(len(found), ROW)
    for place, (row, (event, time, *rest)) in enumerate(zip(made, found, strict=True)):
        value = rest[-1]
        row["event"], row["time"], row["received"] = event, time, rest[0] if len(rest) > 1 else 0
        row["offset"], row["value"] = at + place, np.nan if value is None else value
    return made


def of(table: LabelTable, *events: int, finals: int = FOR_EVER) -> list[float]:
    return table.of(np.array(events, np.uint64), np.full(len(events), finals)).tolist()


@settings(max_examples=100, deadline=None)
@given(found=labels, cut=st.integers(0, 40), seed=st.integers(0, 9), final=st.integers(0, 5))
def test_the_label_of_an_event_is_the_last_that_was_known_in_whatever_order_it_is_read(
    found: list[tuple[int, int, int, float | None]], cut: int, seed: int, final: int
) -> None:
    at_once, given_ = LabelTable.empty(40).add(rows(found)), rows(found)
    shuffled = given_[np.random.default_rng(seed).permutation(len(found))]
    again = LabelTable.empty(40).add(shuffled[:cut]).add(shuffled[cut:]).add(shuffled[:3])
    assert at_once.rows.tobytes() == again.rows.tobytes()
    expected = []
    for event in range(7):
        known = [(*one[1:3], at, one[3]) for at, one in enumerate(found) if one[0] == event and one[1] <= final]
        value = max(known)[-1] if known else None
        expected.append(np.nan if value is None else value)
    np.testing.assert_array_equal(of(at_once, *range(7), finals=final), expected)


def test_the_newest_labels_are_kept_and_how_new_the_forgotten_ones_were_is_known() -> None:
    table = LabelTable.empty(MOST).add(rows([(event, event, 1.0) for event in (9, 2, 7, 4, 8, 1, 6, 3)]))
    assert table.forgotten_ms is None
    table = table.within_room(*NOBODY)
    assert (table.rows["event"].tolist(), table.forgotten_ms) == ([4, 6, 7, 8, 9], 3)
    assert table.add(rows([(5, 5, 1.0)], at=9)).within_room(*NOBODY).forgotten_ms == 4


def test_the_label_that_counts_for_an_event_in_the_sample_is_never_forgotten() -> None:
    sample = np.array([3, 1], np.uint64), np.array([10, 10])
    table = LabelTable.empty(MOST).add(rows([(1, 1, 0.0), (1, 2, 1.0), (1, 11, 0.0)]))
    for time in range(20, 60):
        table = table.add(rows([(time, time, 1.0)], at=time)).within_room(*sample)
    assert of(table, 1, finals=10) == [1.0]
    assert len(table.rows) == MOST + 1


def test_an_old_label_of_an_event_in_the_sample_counts_although_many_newer_ones_came_first() -> None:
    sample = np.array([1], np.uint64), np.array([10])
    table = LabelTable.empty(MOST).add(rows([(event, 100 + event, 1.0) for event in range(20, 40)]))
    table = table.within_room(*sample).add(rows([(1, 5, 1.0)], at=40)).within_room(*sample)
    assert of(table, 1, finals=10) == [1.0]


def test_an_event_without_a_label_has_none() -> None:
    table = LabelTable.empty(MOST).add(rows([(3, 10, 1.0)]))
    np.testing.assert_array_equal(of(table, 2, 3, 4), [np.nan, 1.0, np.nan])
    assert np.isnan(of(LabelTable.empty(MOST), 2)).all()
    assert len(LabelTable.empty(MOST).add(rows([])).rows) == 0


def test_shards_give_the_table_back() -> None:
    table = LabelTable.empty(500).add(rows([(event << 50, 1, 0.0) for event in range(200)]))
    shards = [*table.shards()]
    assert len(shards) == SHARDS
    assert LabelTable.empty(500).filled(shards).rows.tobytes() == table.rows.tobytes()
