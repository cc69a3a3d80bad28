"""The table has the newest labels, and the latest of each event."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from scoring.rollout.label_table import LabelTable
from scoring.rollout.sample import SHARDS

MOST = 5
labels = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 30), st.sampled_from([0.0, 1.0])), max_size=30)


def add(table: LabelTable, found: list[tuple[int, int, float]]) -> LabelTable:
    events, times, values = zip(*found, strict=True) if found else ((), (), ())
    return table.add(np.array(events, np.uint64), times, values)


@settings(max_examples=100, deadline=None)
@given(found=labels, cut=st.integers(0, 30), seed=st.integers(0, 9))
def test_order_and_batches_make_no_difference(found: list[tuple[int, int, float]], cut: int, seed: int) -> None:
    at_once = add(LabelTable.empty(20), found)
    shuffled = [found[place] for place in np.random.default_rng(seed).permutation(len(found))]
    in_parts = add(add(LabelTable.empty(20), shuffled[:cut]), shuffled[cut:])
    assert at_once.rows.tobytes() == in_parts.rows.tobytes()
    assert at_once.latest_ms == in_parts.latest_ms


def test_the_latest_label_of_an_event_counts() -> None:
    table = add(LabelTable.empty(MOST), [(3, 10, 1.0), (3, 20, 0.0), (3, 15, 1.0)])
    assert table.of(np.array([3], np.uint64)).tolist() == [0.0]


def test_the_newest_labels_are_kept() -> None:
    table = add(LabelTable.empty(MOST), [(event, event, 1.0) for event in (9, 2, 7, 4, 8, 1, 6, 3)])
    assert table.rows["event"].tolist() == [4, 6, 7, 8, 9]
    assert table.latest_ms == 9


def test_an_event_without_a_label_has_none() -> None:
    table = add(LabelTable.empty(MOST), [(3, 10, 1.0)])
    np.testing.assert_array_equal(table.of(np.array([2, 3, 4], np.uint64)), [np.nan, 1.0, np.nan])


def test_an_empty_table_knows_nothing() -> None:
    assert np.isnan(LabelTable.empty(MOST).of(np.array([2], np.uint64))).all()
    assert add(LabelTable.empty(MOST), []).latest_ms is None


def test_shards_give_the_table_back() -> None:
    events = [int(event) << 50 for event in range(200)]
    table = add(LabelTable.empty(500), [(event, 1, 0.0) for event in events])
    shards = [*table.shards()]
    assert len(shards) == SHARDS
    assert LabelTable.empty(500).filled(shards).rows.tobytes() == table.rows.tobytes()
