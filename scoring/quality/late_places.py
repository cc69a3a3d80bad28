"""Which predictions came too late to count, as ranges of offsets: so that anyone can count the others again. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from penstock.kafka.lag import Partition

Range: TypeAlias = tuple[int, int]
"""The first offset, and the one behind the last."""

# Some 16 bytes each, in a note that is written every few seconds.
_MOST_RANGES = 2_000


class LatePlaces:
    """Adds up places, each of which is added once.

    Args:
        kept: What was kept before; None if there were too many ranges, or nobody had written them down.
    """

    def __init__(self, kept: Mapping[str, Mapping[int, Iterable[Range]]] | None) -> None:
        self._ranges: dict[Partition, list[Range]] | None = None
        if kept is not None:
            self._ranges = {
                (topic, number): [(first, end) for first, end in ranges]
                for topic, of in kept.items()
                for number, ranges in of.items()
            }

    def add(self, partition: Partition, offset: int) -> None:
        """Add a place. They come in the order of their partition: what is next to the last one lengthens its range."""
        if self._ranges is None:
            return
        ranges = self._ranges.setdefault(partition, [])
        if ranges and ranges[-1][1] == offset:
            ranges[-1] = ranges[-1][0], offset + 1
        else:
            ranges.append((offset, offset + 1))
            if sum(map(len, self._ranges.values())) > _MOST_RANGES:
                self._ranges = None

    def content(self) -> dict[str, dict[int, tuple[Range, ...]]] | None:
        """The ranges of each partition of each topic; None if they are too many, or not all are known."""
        if self._ranges is None:
            return None
        found: dict[str, dict[int, tuple[Range, ...]]] = {}
        for (topic, number), ranges in sorted(self._ranges.items()):
            found.setdefault(topic, {})[number] = tuple(ranges)
        return found
