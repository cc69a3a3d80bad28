"""Statistics over the rounds of a benchmark: medians, spreads, and medians of the ratios within rounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median


def ratios(rounds: Sequence[Mapping[str, float]], mine: str) -> dict[str, float]:
    """``mine`` ÷ each other engine: the median of the ratios in the rounds in which both were measured.

    Ratios are taken within a round, because other load on the machine changes between rounds and affects both alike.

    >>> ratios([{"a": 10.0, "b": 2.0}, {"a": 30.0, "b": 10.0}, {"a": 12.0, "b": 3.0}], "a")
    {'b': 4.0}
    """
    return {other: median(values) for other, values in _in_rounds(rounds, mine).items()}


def ratio_spreads(rounds: Sequence[Mapping[str, float]], mine: str) -> dict[str, tuple[float, float]]:
    """The smallest and the largest of those ratios.

    >>> ratio_spreads([{"a": 10.0, "b": 2.0}, {"a": 30.0, "b": 10.0}, {"a": 12.0, "b": 3.0}], "a")
    {'b': (3.0, 5.0)}
    """
    return {other: (min(values), max(values)) for other, values in _in_rounds(rounds, mine).items()}


def medians(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The median of each engine over the rounds.

    >>> medians([{"a": 1.0}, {"a": 9.0, "b": 2.0}, {"a": 2.0}])
    {'a': 2.0, 'b': 2.0}
    """
    names = dict.fromkeys(name for one in rounds for name in one)
    return {name: median(one[name] for one in rounds if name in one) for name in names}


def spread(rounds: Sequence[Mapping[str, float]], name: str) -> tuple[float, float]:
    """The smallest and the largest value of an engine over the rounds."""
    values = [one[name] for one in rounds if name in one]
    return min(values), max(values)


def _in_rounds(rounds: Sequence[Mapping[str, float]], mine: str) -> dict[str, list[float]]:
    others = dict.fromkeys(name for one in rounds for name in one if name != mine)
    found = {o: [one[mine] / one[o] for one in rounds if mine in one and o in one] for o in others}
    return {other: values for other, values in found.items() if values}
