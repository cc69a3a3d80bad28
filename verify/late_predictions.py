"""Predictions of events so old that the count of quality may have forgotten the event: some of them do not count.

Which of them came too late depends on how far other partitions had been read. So the verifier takes any choice of them
that explains a histogram, and holds the number of the others against what the note says.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import chain, combinations
from typing import NamedTuple, TypeAlias

from verify.published import Published

# Of one histogram, so many are tried in all combinations; what more there are must be counted.
_MOST = 12

Cells: TypeAlias = Mapping[tuple[str, int], tuple[int, int, int]]


class Late(NamedTuple):
    """The place of a prediction that may have come too late."""

    in_shadow: bool
    partition: int
    offset: int


def place_of(record: Published, *, in_shadow: bool) -> Late:
    """The place of a prediction."""
    return Late(in_shadow, record.partition, record.offset)


def far_behind(predictions: Iterable[Published], shadows: Iterable[Published], by_ms: int) -> set[Late]:
    """The predictions of events at least ``by_ms`` older than the newest event that was published until then."""
    records = [(record, place_of(record, in_shadow=False)) for record in predictions]
    records += [(record, place_of(record, in_shadow=True)) for record in shadows]
    newest, found = -(2**63), set[Late]()
    for record, place in sorted(records, key=lambda one: one[0].timestamp):
        newest = max(newest, record.value["event_time"])
        if record.value["event_time"] + by_ms <= newest:
            found.add(place)
    return found


def left_out_of(found: Cells, base: Cells, late: Mapping[Late, Cells]) -> set[Late] | None:
    """Which of the late predictions are not in a histogram; as few as possible. None: nothing explains it.

    Args:
        found: The histogram.
        base: What the other predictions make.
        late: What each of the late ones adds.
    """
    names = list(late)[:_MOST]
    choices = chain.from_iterable(combinations(names, number) for number in range(len(names) + 1))
    for missing in choices:
        if total(base, [cells for name, cells in late.items() if name not in missing]) == dict(found):
            return {*missing}
    return None


def total(base: Cells, parts: Iterable[Cells]) -> dict[tuple[str, int], tuple[int, int, int]]:
    """The sum of histograms."""
    sums: dict[tuple[str, int], list[int]] = defaultdict(lambda: [0, 0, 0])
    for cells in (base, *parts):
        for place, cell in cells.items():
            for number, added in enumerate(cell):
                sums[place][number] += added
    return {place: (n, units, decided) for place, (n, units, decided) in sums.items()}
