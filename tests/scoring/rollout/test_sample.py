"""A sample depends on what was seen only, has room for so many, and is fair."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoring.rollout.sample import SHARDS, Rows, Sample, hashes, row_type

MOST = 10
POOLS = 2


def rows(numbers: list[int], *, first: list[int] | None = None, values: list[list[float]] | None = None) -> Rows:
    """Events of units with these numbers."""
    slices, units = hashes("test", [str(number) for number in numbers])
    made = np.zeros(len(numbers), row_type(2))
    made["unit"], made["slice"], made["event"] = units, slices, numbers
    made["pool"] = np.array(numbers) % POOLS
    made["first"] = first or [0] * len(numbers)
    made["values"] = np.array(values or [[number, np.nan] for number in numbers], np.float64).reshape(-1, 2)
    return made


def empty(most: int = MOST) -> Sample:
    return Sample.empty(2, POOLS, most)


def is_same(one: Sample, other: Sample) -> bool:
    return one.rows.tobytes() == other.rows.tobytes() and one.halvings == other.halvings


@settings(max_examples=100, deadline=None)
@given(
    events=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 3)), max_size=120),
    cuts=st.lists(st.integers(0, 120), max_size=5),
    seed=st.integers(0, 99),
)
def test_order_and_batches_make_no_difference(events: list[tuple[int, int]], cuts: list[int], seed: int) -> None:
    seen = rows([unit for unit, _ in events], first=[first for _, first in events])
    at_once = empty().add(seen)
    shuffled, in_parts = np.random.default_rng(seed).permutation(seen), empty()
    for part in np.split(shuffled, sorted(cuts)):
        in_parts = in_parts.add(part)
    assert is_same(at_once, in_parts.add(shuffled))


@settings(max_examples=50, deadline=None)
@given(units=st.lists(st.integers(0, 1_000), max_size=300))
def test_no_pool_has_more_units_than_it_has_room_for(units: list[int]) -> None:
    sample = empty().add(rows(units))
    for pool in range(POOLS):
        seen = {unit for unit in units if unit % POOLS == pool}
        kept = np.count_nonzero(sample.rows["pool"] == pool)
        assert kept <= MOST
        if len(seen) <= MOST:
            assert kept == len(seen)
            assert sample.halvings[pool] == 0


def test_a_full_sample_is_a_fair_share_of_all_units() -> None:
    sample = empty(1_000).add(rows([*range(20_000)]))
    assert sample.halvings == (4, 4)
    assert 2 * 20_000 / 2**4 / 2 * 0.9 < len(sample.rows) < 2 * 20_000 / 2**4 / 2 * 1.1
    assert abs(sample.rows["values"][:, 0].mean() - 10_000) < 500


def test_slices_of_other_pools_stay_whole() -> None:
    sample = empty().add(rows([*range(0, 100, 2), 1, 3, 5]))
    assert sample.halvings[0] > sample.halvings[1] == 0
    assert sorted(sample.rows["values"][sample.rows["pool"] == 1, 0]) == [1, 3, 5]


def test_what_no_pool_keeps_is_told_before_it_is_made() -> None:
    sample = empty().add(rows([*range(1_000)]))
    slices = hashes("test", [str(number) for number in range(1_000)])[0]
    kept = {*sample.rows["slice"].tolist()}
    may = {*slices[sample.may_keep(slices)].tolist()}
    assert kept <= may
    assert len(may) < 100


def test_the_first_event_of_a_unit_counts() -> None:
    later, earlier = rows([7], first=[2], values=[[1.0, 2.0]]), rows([7], first=[1], values=[[3.0, np.nan]])
    for sample in (empty().add(later).add(earlier), empty().add(earlier).add(later)):
        assert sample.rows["first"].tolist() == [1]
        np.testing.assert_array_equal(sample.rows["values"], [[3.0, np.nan]])


def test_of_events_at_the_same_time_the_one_at_the_smaller_place_counts() -> None:
    same = rows([7, 7, 7])
    same["partition"], same["offset"] = [1, 0, 0], [0, 9, 8]
    sample = empty().add(same)
    assert (sample.rows["partition"].item(), sample.rows["offset"].item()) == (0, 8)


def test_what_several_topics_know_of_an_event_is_put_together() -> None:
    one, other = rows([7], values=[[1.0, np.nan]]), rows([7], values=[[np.nan, 2.0]])
    for sample in (empty().add(one).add(other), empty().add(other).add(one), empty().add(np.concatenate([one, other]))):
        assert sample.rows["values"].tolist() == [[1.0, 2.0]]


def test_adding_leaves_the_sample_before_as_it_was() -> None:
    before = empty().add(rows([1, 2]))
    bytes_before = before.rows.tobytes()
    before.add(rows([1, 3], first=[-1, 0]))
    assert before.rows.tobytes() == bytes_before


def test_shards_give_the_sample_back() -> None:
    sample = empty(1_000).add(rows([*range(700)]))
    shards = [*sample.shards()]
    assert len(shards) == SHARDS
    assert is_same(sample, replace(empty(1_000), halvings=sample.halvings).filled(shards))


def test_a_new_unit_changes_one_shard() -> None:
    sample = empty(1_000).add(rows([*range(700)]))
    pairs = zip(sample.shards(), sample.add(rows([701])).shards(), strict=True)
    assert sum(before != after for before, after in pairs) == 1


def test_shards_are_alike_however_small_the_slice_is() -> None:
    sample = empty(2_000).add(rows([*range(40_000)]))
    assert min(sample.halvings) > 2
    assert max(map(len, sample.shards())) < 4 * sample.rows.nbytes / SHARDS


def test_shards_with_other_columns_are_refused() -> None:
    with pytest.raises(ValueError, match="multiple of element size"):
        Sample.empty(3, POOLS, MOST).filled([*empty().add(rows([1])).shards()])


def test_the_two_words_of_an_id_are_independent_and_depend_on_the_salt() -> None:
    ids = [str(number) for number in range(2_000)]
    first, second = hashes("one", ids)
    same = np.mean((first >> np.uint64(63)) == (second >> np.uint64(63)))
    assert 0.45 < same < 0.55
    assert not (first == hashes("other", ids)[0]).any()
    assert len({*first.tolist()}) == len(ids)
