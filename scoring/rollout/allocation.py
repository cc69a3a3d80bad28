"""Which part of [0, 1) belongs to which arm of a rollout, and how that changes with the least movement. Pure.

An entity has a position in [0, 1) (:func:`scoring.audit.positions`). [0, 1) is cut into 10,000 equal parts, and each
part belongs to one arm. The share of parts that an arm has is its weight. The parts are written down as ranges: they
depend on the weights that came before, so that as few entities as possible change their arm.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, pairwise

from streams.definitions.base import Definition, Name
from streams.definitions.rollout import PARTS, parts_of


class Range(Definition):
    """The parts from ``start`` up to, but not including, ``end``, which belong to ``arm``."""

    arm: Name
    start: int
    end: int


def everything_to(champion: str) -> tuple[Range, ...]:
    """The ranges where one arm has all parts."""
    return (Range(arm=champion, start=0, end=PARTS),)


def weights_of(ranges: Iterable[Range]) -> dict[str, float]:
    """The weight of each arm that has a range."""
    parts = Counter[str]()
    for each in ranges:
        parts[each.arm] += each.end - each.start
    return {arm: count / PARTS for arm, count in parts.items()}


def reallocate(previous: Sequence[Range], weights: Mapping[str, float], champion: str) -> tuple[Range, ...]:
    """The ranges for new weights, close to the previous ones.

    An arm that shrinks gives parts to the champion, and so does one that has no weight any more. An arm that grows
    takes parts that were the champion's before, and only if those do not suffice, parts that other arms gave up. All
    others keep their parts. So an arm that grows keeps all its entities, and no entity goes from one candidate to
    another unless it must.

    Raises:
        ValueError: if the weights do not sum to 1, one is no whole number of parts, or the champion has none.
    """
    wanted = {arm: parts_of(weight) for arm, weight in weights.items()}
    if champion not in wanted or sum(wanted.values()) != PARTS:
        raise ValueError(f"weights must sum to 1 and include the champion {champion}, got {dict(weights)}")
    before = _owners(previous)
    owners = before.copy()
    for arm in {*before} - {champion}:
        for part in _held(owners, arm)[wanted.get(arm, 0) :]:
            owners[part] = champion
    for arm in sorted({*wanted} - {champion}):
        missing = wanted[arm] - owners.count(arm)
        free = sorted(_held(owners, champion), key=lambda part: before[part] != champion)
        for part in free[:missing]:
            owners[part] = arm
    return tuple(_ranges(owners))


def check_ranges(ranges: Sequence[Range], arms: Iterable[str]) -> None:
    """Check that each part belongs to one of the arms, in as few ranges as possible.

    Raises:
        ValueError: if not.
    """
    known = {*arms}
    unknown = sorted({each.arm for each in ranges} - known)
    if unknown:
        raise ValueError(f"there is no arm {unknown[0]!r}; the arms are {', '.join(sorted(known))}")
    is_whole = [each.start for each in ranges] + [PARTS] == [0] + [each.end for each in ranges]
    is_shortest = all(each.start < each.end for each in ranges) and all(a.arm != b.arm for a, b in pairwise(ranges))
    if not (is_whole and is_shortest):
        raise ValueError(f"the ranges of arms must cover the parts 0 to {PARTS}, in order and each part once")


def _owners(ranges: Iterable[Range]) -> list[str]:
    """The arm of each part."""
    return [each.arm for each in ranges for _ in range(each.start, each.end)]


def _ranges(owners: Sequence[str]) -> Iterator[Range]:
    start = 0
    for arm, parts in groupby(owners):
        end = start + sum(1 for _ in parts)
        yield Range(arm=arm, start=start, end=end)
        start = end


def _held(owners: Sequence[str], arm: str) -> list[int]:
    return [part for part, owner in enumerate(owners) if owner == arm]
