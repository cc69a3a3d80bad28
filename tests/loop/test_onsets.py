"""Where a fault begins among values of which some are marked by chance."""

from __future__ import annotations

import math

import numpy as np
import pytest

from loop.onsets import Mark, Onset


@pytest.mark.parametrize(
    ("kind", "value", "has", "has_not"),
    [
        ("null", None, [None, math.nan], [0.0, "7"]),
        ("equal", 0.0, [0.0, -0.0], [1.0, None, math.nan]),
        ("equal", "7", ["7"], ["8", None]),
        ("above", 5.0, [6.0, -6.0], [5.0, 0.0, None, math.nan]),
        ("below", 5.0, [4.0, -4.0], [5.0, 0.0, None, math.nan]),
    ],
)
def test_what_values_have_the_fault(kind, value, has, has_not):
    mark = Mark(kind, value, usual=0.1, faulty=0.9)
    assert [mark.has(one) for one in (*has, *has_not)] == [True] * len(has) + [False] * len(has_not)


@pytest.mark.parametrize(("usual", "faulty"), [(0.0, 1.0), (0.001, 0.2), (0.05, 0.3), (0.3, 0.9)])
@pytest.mark.parametrize("seed", range(5))
def test_a_fault_is_found_where_it_begins_though_some_values_are_marked_by_chance(usual, faulty, seed):
    rng, calm = np.random.default_rng(seed), 20_000
    column = np.where(rng.random(2 * calm) < np.where(np.arange(2 * calm) < calm, usual, faulty), np.nan, 1.0)
    first = Mark("null", None, usual, faulty).first_in(column)
    assert abs(first - calm) < 5 / (faulty - usual) + 25
    assert np.isnan(column[first])


@pytest.mark.parametrize("usual", [0.0, 0.001, 0.3, 0.9])
def test_what_is_marked_as_often_as_before_begins_nowhere(usual):
    onset = Onset[int](Mark("null", None, usual, min(1.0, usual + 0.2)))
    for place, is_marked in enumerate((np.random.default_rng(1).random(50_000) < usual).tolist()):
        onset.add(place, is_marked=is_marked)
    assert onset.place is None


def test_a_fault_that_ends_again_is_found_where_it_began_first():
    column = np.ones(3_000)
    column[1_000:1_100] = column[2_000:] = np.nan
    assert Mark("null", None, 0.0, 1.0).first_in(column) == 1_000


def test_what_has_ended_begins_nowhere_any_more_and_anew_where_it_comes_back():
    onset, seen = Onset[int](Mark("null", None, 0.001, 0.3)), []
    for place in range(30_000):
        onset.add(place, is_marked=5_000 <= place < 8_000 or place >= 20_000)
        seen.append(onset.place)
    assert (seen[7_999], seen[10_000], seen[-1]) == (5_000, None, 20_000)


def test_too_few_to_tell_from_chance_begin_with_the_first_one():
    assert Mark("null", None, 0.3, 0.5).first_in(np.array([1.0, np.nan, 1.0])) == 1
