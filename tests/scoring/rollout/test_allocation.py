"""Ranges follow weights, and as few parts as possible change hands."""

from __future__ import annotations

from functools import reduce

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoring.rollout.allocation import (
    Range,
    check_ranges,
    everything_to,
    reallocate,
    weights_of,
)
from streams.definitions.rollout import PARTS, parts_of

Ranges = tuple[Range, ...]
ARMS = ("champion", "deeper", "wider", "younger")


@st.composite
def weights(draw: st.DrawFn) -> dict[str, float]:
    """Weights of the champion and some of the other arms."""
    cuts = sorted(draw(st.lists(st.integers(0, PARTS), min_size=3, max_size=3)))
    shares = [end - start for start, end in zip([0, *cuts], [*cuts, PARTS], strict=True)]
    named = dict(zip(ARMS, (share / PARTS for share in shares), strict=True))
    return {arm: weight for arm, weight in named.items() if weight or arm == "champion" or draw(st.booleans())}


courses = st.lists(weights(), min_size=1, max_size=5)


def after(course: list[dict[str, float]]) -> Ranges:
    return reduce(lambda ranges, each: reallocate(ranges, each, "champion"), course, everything_to("champion"))


def owners(ranges: Ranges) -> list[str]:
    of = {part: each.arm for each in ranges for part in range(each.start, each.end)}
    return [of[part] for part in range(PARTS)]


def held(ranges: Ranges, arm: str) -> set[int]:
    return {part for each in ranges if each.arm == arm for part in range(each.start, each.end)}


@settings(max_examples=25, deadline=None)
@given(course=courses)
def test_each_arm_has_as_many_parts_as_its_weight_says(course: list[dict[str, float]]) -> None:
    ranges = after(course)
    check_ranges(ranges, ARMS)
    assert weights_of(ranges) == {arm: weight for arm, weight in course[-1].items() if weight}


@settings(max_examples=25, deadline=None)
@given(course=courses)
def test_the_same_weights_again_change_nothing(course: list[dict[str, float]]) -> None:
    assert after([*course, course[-1]]) == after(course)


@settings(max_examples=25, deadline=None)
@given(course=courses, then=weights())
def test_an_arm_that_grows_keeps_its_parts_and_one_that_shrinks_gets_none(
    course: list[dict[str, float]], then: dict[str, float]
) -> None:
    before, now = after(course), after([*course, then])
    for arm in ARMS[1:]:
        old, new = held(before, arm), held(now, arm)
        assert old <= new or new <= old


@settings(max_examples=25, deadline=None)
@given(course=courses, then=weights())
def test_parts_go_from_one_candidate_to_another_only_if_the_champion_has_too_few(
    course: list[dict[str, float]], then: dict[str, float]
) -> None:
    before, now = after(course), after([*course, then])
    gained = {arm: held(now, arm) - held(before, arm) for arm in ARMS[1:]}
    from_others = sum(len(parts - held(before, "champion")) for parts in gained.values())
    grown = sum(map(len, gained.values()))
    assert from_others == max(0, grown - len(held(before, "champion")))


@settings(max_examples=25, deadline=None)
@given(course=courses, then=weights())
def test_no_more_parts_move_than_the_changes_of_the_candidates_need(
    course: list[dict[str, float]], then: dict[str, float]
) -> None:
    before, now = after(course), after([*course, then])
    old, new = weights_of(before), weights_of(now)
    changes = [parts_of(new.get(arm, 0)) - parts_of(old.get(arm, 0)) for arm in ARMS[1:]]
    grown = sum(change for change in changes if change > 0)
    shrunk = -sum(change for change in changes if change < 0)
    straight = max(0, grown - parts_of(old.get("champion", 0)))
    assert sum(a != b for a, b in zip(owners(before), owners(now), strict=True)) == grown + shrunk - straight


def test_of_several_candidates_only_the_one_that_grows_changes() -> None:
    before = after([{"champion": 0.9, "deeper": 0.05, "wider": 0.05}])
    now = reallocate(before, {"champion": 0.8, "deeper": 0.15, "wider": 0.05}, "champion")
    assert held(now, "wider") == held(before, "wider")
    assert held(now, "deeper") - held(before, "deeper") <= held(before, "champion")


def test_the_parts_of_a_single_candidate_depend_on_its_weight_alone() -> None:
    course = [{"champion": 1 - weight, "deeper": weight} for weight in (0.2, 0.05, 0.5, 0.05, 0.2)]
    for length, last in enumerate(course, 1):
        assert after(course[:length]) == after([last])


def test_an_arm_that_is_gone_leaves_its_parts_to_the_new_champion() -> None:
    before = reallocate(everything_to("v3"), {"v3": 0.5, "v4": 0.3, "v5": 0.2}, "v3")
    now = reallocate(before, {"v4": 0.8, "v5": 0.2}, "v4")
    assert held(now, "v5") == held(before, "v5")
    assert held(now, "v4") == held(before, "v4") | held(before, "v3")


@pytest.mark.parametrize("weight", [-0.1, 1.1, 0.00005, float("nan"), float("inf")])
def test_a_weight_that_is_no_number_of_parts_is_refused(weight: float) -> None:
    with pytest.raises(ValueError, match=r"multiple of 0\.0001 between 0 and 1"):
        parts_of(weight)


@given(parts=st.integers(0, PARTS))
def test_every_multiple_of_a_part_is_a_weight(parts: int) -> None:
    assert parts_of(parts / PARTS) == parts_of(float(f"{parts / PARTS:.4f}")) == parts


@pytest.mark.parametrize("wrong", [{"champion": 0.5, "deeper": 0.4}, {"deeper": 1.0}])
def test_weights_that_leave_something_out_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must sum to 1 and include the champion"):
        reallocate(everything_to("champion"), wrong, "champion")


@pytest.mark.parametrize(
    "ranges",
    [
        [],
        [("a", 0, PARTS - 1)],
        [("a", 1, PARTS)],
        [("a", 0, 10), ("b", 11, PARTS)],
        [("a", 0, 10), ("b", 9, PARTS)],
        [("a", 0, 10), ("a", 10, PARTS)],
        [("a", 0, 10), ("b", 10, 10), ("a", 10, PARTS)],
    ],
)
def test_ranges_with_a_gap_an_overlap_or_a_needless_cut_are_refused(ranges: list[tuple[str, int, int]]) -> None:
    with pytest.raises(ValueError, match="must cover the parts 0 to 10000"):
        check_ranges([Range(arm=arm, start=start, end=end) for arm, start, end in ranges], "ab")


def test_ranges_of_an_unknown_arm_are_refused() -> None:
    with pytest.raises(ValueError, match="there is no arm 'c'; the arms are a, b"):
        check_ranges(everything_to("c"), "ab")
