"""A sample of bounded size of what was seen, which depends on what was seen only: not on order or batches. Pure.

A *unit*, such as an entity, has one row: that of its first event. Rows of the same event, from several topics, are
merged. There is room for so many units. If more come, every second one is forgotten, and such ones are ignored from
then on; then three of four, and so on. A hash says which. It has nothing to do with outcomes, so what is left is a fair
sample, and the same one whoever saw the units in whatever order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]
Mask = NDArray[np.bool_]
Rows = NDArray[Any]
"""A structured array, see :func:`row_type`."""

SHARDS = 256
_WORD = 64


def hashes(salt: str, ids: Sequence[str]) -> tuple[Words, Words]:
    """Two independent words for each id, each [N]: the first 16 bytes of the SHA-256 of salt, 0x1F and id."""
    prefix = hashlib.sha256(f"{salt}\x1f".encode())
    digests = []
    for each in ids:
        digest = prefix.copy()
        digest.update(each.encode())
        digests.append(digest.digest()[:16])
    words = np.frombuffer(b"".join(digests), ">u8").astype(np.uint64).reshape(-1, 2)
    return words[:, 0], words[:, 1]


def row_type(columns: int) -> np.dtype[np.void]:
    """The fields of a row.

    ``unit`` identifies its unit, and ``slice`` decides whether it is remembered. Each of the pools has the same room.
    Of the events of a unit, the one with the smallest (``first``, ``partition``, ``offset``) counts. ``event`` is a
    hash of its id. ``values`` are the columns, NaN where not known.
    """
    integers = [("unit", "<u8"), ("slice", "<u8"), ("event", "<u8"), ("first", "<i8"), ("offset", "<i8")]
    return np.dtype([*integers, ("partition", "<i4"), ("pool", "<i4"), ("values", "<f8", (columns,))])


@dataclass(frozen=True, eq=False)
class Sample:
    """Rows of units, sorted by unit.

    Attributes:
        rows: See :func:`row_type`.
        most: For how many units each pool has room.
        halvings: How often the slice of each pool was halved: it has 2**-h of all units.
    """

    rows: Rows
    most: int
    halvings: tuple[int, ...]

    @classmethod
    def empty(cls, columns: int, pools: int, most: int) -> Self:
        """A sample that has seen nothing."""
        return cls(np.empty(0, row_type(columns)), most, (0,) * pools)

    def is_of(self, other: Sample) -> bool:
        """Whether both have the same columns, pools and room."""
        same = self.rows.dtype == other.rows.dtype and self.most == other.most
        return same and len(self.halvings) == len(other.halvings)

    def may_keep(self, slices: Words) -> Mask:
        """Which slices are remembered in any pool."""
        return _has_zeros(slices, min(self.halvings))

    def add(self, rows: Rows) -> Self:
        """The sample with further rows, in any order, some of them perhaps seen before."""
        rows = rows[_is_inside(rows, self.halvings)]
        if not len(rows):
            return self
        known = self._is_known(rows["unit"])
        touched = self.rows[np.unique(self._places(rows["unit"][known]))]
        merged = _merge(np.concatenate([touched, rows]))
        known = self._is_known(merged["unit"])
        places = self._places(merged["unit"])
        result = self.rows.copy()
        result[places[known]] = merged[known]
        return self._within_room(np.insert(result, places[~known], merged[~known]))

    def with_values(self, values: NDArray[np.float64]) -> Self:
        """The same rows with other values."""
        rows = self.rows.copy()
        rows["values"] = values
        return replace(self, rows=rows)

    def shards(self) -> Iterator[bytes]:
        """The rows, in :data:`SHARDS` parts by the first bits of the unit: a new unit changes one part."""
        edges = np.arange(1, SHARDS, dtype=np.uint64) << np.uint64(_WORD - 8)
        for part in np.split(self.rows, np.searchsorted(self.rows["unit"], edges)):
            yield part.tobytes()

    def filled(self, shards: Sequence[bytes]) -> Self:
        """The same, with the rows of shards.

        Raises:
            ValueError: if they have other columns.
        """
        return replace(self, rows=np.frombuffer(b"".join(shards), self.rows.dtype))

    def _within_room(self, rows: Rows) -> Self:
        halvings = [*self.halvings]
        for pool in range(len(halvings)):
            while np.count_nonzero(rows["pool"] == pool) > self.most:
                halvings[pool] += 1
                rows = rows[_is_inside(rows, halvings)]
        return replace(self, rows=rows, halvings=tuple(halvings))

    def _places(self, units: Words) -> NDArray[np.intp]:
        return np.searchsorted(self.rows["unit"], units)

    def _is_known(self, units: Words) -> Mask:
        places = self._places(units)
        inside = places < len(self.rows)
        inside[inside] = self.rows["unit"][places[inside]] == units[inside]
        return inside


def _is_inside(rows: Rows, halvings: Sequence[int]) -> Mask:
    return _has_zeros(rows["slice"], np.array(halvings)[rows["pool"]])


def _has_zeros(slices: Words, halvings: int | NDArray[np.int64]) -> Mask:
    # The lowest bits: the first ones choose the shard, so that shards are equally long however small the slice is.
    lowest = (np.uint64(1) << np.asarray(halvings, np.uint64)) - np.uint64(1)
    return np.asarray((slices & lowest) == 0, np.bool_)


def _merge(rows: Rows) -> Rows:
    """One row for each unit: of its first event, with what any row of this event knows."""
    rows = rows[np.lexsort((rows["offset"], rows["partition"], rows["first"], rows["unit"]))]
    heads = rows[_starts(rows)[np.cumsum(_is_start(rows)) - 1]]
    is_first = np.logical_and.reduce([rows[name] == heads[name] for name in ("first", "partition", "offset")])
    rows = rows[is_first]
    starts = _starts(rows)
    merged = rows[starts].copy()
    merged["values"] = np.fmax.reduceat(rows["values"], starts, axis=0)
    return merged


def _is_start(rows: Rows) -> Mask:
    return np.concatenate([[True], rows["unit"][1:] != rows["unit"][:-1]])


def _starts(rows: Rows) -> NDArray[np.intp]:
    return np.flatnonzero(_is_start(rows))
