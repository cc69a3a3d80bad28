"""Counts what is wrong with the raw records of one partition, for each producer by itself, in windows of records.

Windows are of one partition, so that what they count does not depend on how partitions are read in turn. A window is
complete after so many records of its producer, and is looked at ten times until then. Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from streams.drift.data_quality.raw_events import Column, RawEvent, short
from streams.drift.data_quality.sketches import DistinctCounter, RecentIds

BLOCKS = 10
"""How often a window is looked at."""
OTHERS = "(others)"
"""The producer that stands for all those beyond the greatest number that are told apart."""
# Headers may hold garbage. One whose last record is so many windows ago makes room.
_MOST_PRODUCERS, _GONE_WINDOWS = 8, 20
# A category is new for so many windows of the partition's records after its first one.
_NEW_WINDOWS = 2
# Of a column that is learnt as a category, and then has more values than that: the oldest new ones are forgotten.
_MOST_NEW = 2_000
# The most frequent of so many new values is named.
_MOST_COUNTED = 20
_REMEMBERED_WINDOWS = 5
_DAY_MS = 86_400_000


def key_of(column: str, kind: str) -> str:
    """How counts, limits and states name a check; ``column`` is empty for records as a whole."""
    return f"{column}:{kind}"


MALFORMED, DUPLICATE, LATE = key_of("", "malformed"), key_of("", "duplicate"), key_of("", "late")


@dataclass(frozen=True)
class Usual:
    """What records are held against.

    Args:
        ranges: The least and the greatest usual value of each number.
        categories: The known values of each column that has few.
        late_ms: How much older than its Kafka timestamp an event may be; 0 if that says nothing.
    """

    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    categories: Mapping[str, frozenset[str]] = field(default_factory=dict)
    late_ms: int = 0


class BlockEnd(NamedTuple):
    """What a window holds when a tenth of it has come.

    ``counts`` has how many of the window's ``records`` each check objects to, and ``in_block`` how many of the latest
    ``block``; ``first`` has the offset of the first of the latter, and ``before`` how many of the block came before it.
    ``distinct`` has how many different values each column had, of a complete window only. ``new`` has the most frequent
    new value of each category.
    """

    producer: str
    records: int
    counts: Mapping[str, int]
    block: int
    in_block: Mapping[str, int]
    first: Mapping[str, int]
    before: Mapping[str, int]
    is_complete: bool
    distinct: Mapping[str, float]
    new: Mapping[str, str]


class WindowState(BaseModel):
    """A window as it is saved."""

    model_config = ConfigDict(extra="forbid")

    last: int = 0
    records: int = 0
    block: int = 0
    counts: dict[str, int] = {}
    in_block: dict[str, int] = {}
    first: dict[str, int] = {}
    before: dict[str, int] = {}
    distinct: dict[str, str] = {}
    new: dict[str, dict[str, int]] = {}


class PartitionState(BaseModel):
    """The counts of a partition as they are saved."""

    model_config = ConfigDict(extra="forbid")

    observed: int
    windows: dict[str, WindowState]
    known: dict[str, dict[str, int]]
    ids: tuple[int, str, str] | None


@dataclass
class _Window:
    distinct: dict[str, DistinctCounter]
    last: int = 0
    records: int = 0
    block: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    in_block: dict[str, int] = field(default_factory=dict)
    first: dict[str, int] = field(default_factory=dict)
    before: dict[str, int] = field(default_factory=dict)
    new: dict[str, dict[str, int]] = field(default_factory=dict)

    def object_to(self, check: str, offset: int) -> None:
        self.counts[check] = self.counts.get(check, 0) + 1
        self.in_block[check] = self.in_block.get(check, 0) + 1
        if check not in self.first:
            self.first[check], self.before[check] = offset, self.block - 1


class PartitionCounts:
    """Counts the records of one partition.

    Args:
        columns: The columns of its topic.
        has_ids: Whether its events have ids.
        usual: What its records are held against.
        window: Records in a window, a multiple of ``BLOCKS``.
    """

    def __init__(self, columns: Collection[Column], has_ids: bool, usual: Usual, window: int) -> None:
        self._columns, self._usual, self._window = tuple(columns), usual, window
        self._nulls = [key_of(column.name, "null") for column in self._columns]
        self._invalid = [key_of(column.name, "invalid") for column in self._columns]
        self._ids = RecentIds(_REMEMBERED_WINDOWS * window) if has_ids else None
        self._windows: dict[str, _Window] = {}
        # A column may have become personal data since the profile.
        self._categories = {
            column.name: usual.categories[column.name]
            for column in self._columns
            if column.may_be_category and column.name in usual.categories
        }
        self._known: dict[str, dict[str, int]] = {name: {} for name in self._categories}
        self.observed = 0

    def observe(self, event: RawEvent) -> BlockEnd | None:
        """Count a record; returns what its window holds if that is to be looked at."""
        self.observed += 1
        producer, window = self._window_of(event.producer)
        window.last, window.records, window.block = self.observed, window.records + 1, window.block + 1
        if event.values is None:
            window.object_to(MALFORMED, event.offset)
        else:
            self._columns_of(event, window)
        if event.event_id is not None and self._ids is not None and self._ids.add(event.event_id):
            window.object_to(DUPLICATE, event.offset)
        late_ms, time = self._usual.late_ms, event.event_time
        # More than a day is a replay, which says nothing of how fresh a source is.
        if late_ms and time is not None and event.timestamp >= 0 and late_ms < event.timestamp - time <= _DAY_MS:
            window.object_to(LATE, event.offset)
        return self._block_end(producer, window)

    def _columns_of(self, event: RawEvent, window: _Window) -> None:
        usual = self._usual
        for position, (column, value) in enumerate(zip(self._columns, event.values or (), strict=True)):
            if value is None:
                window.object_to(self._nulls[position], event.offset)
                continue
            name = column.name
            if column.is_varied:
                window.distinct[name].add(value)
            if name in usual.ranges and type(value) in (int, float):
                low, high = usual.ranges[name]
                if not low <= value <= high:  # nor is NaN
                    window.object_to(key_of(name, "range"), event.offset)
            if name in self._categories and isinstance(value, str) and value not in self._categories[name]:
                self._unknown(name, value, event.offset, window)
        for position in event.invalid:
            window.object_to(self._invalid[position], event.offset)

    def _unknown(self, name: str, value: str, offset: int, window: _Window) -> None:
        known = self._known[name]
        # Not the text, which may be long, and stays for as long as the window does.
        since = known.setdefault(_hash_of(value), self.observed)
        if len(known) > _MOST_NEW:
            del known[next(iter(known))]
        if self.observed - since <= _NEW_WINDOWS * self._window:
            window.object_to(key_of(name, "category"), offset)
            counts, text = window.new.setdefault(name, {}), short(value)
            if text in counts or len(counts) < _MOST_COUNTED:
                counts[text] = counts.get(text, 0) + 1

    def is_gone(self, producer: str) -> bool:
        """Whether nothing came of a producer for long, while others wrote."""
        window = self._windows.get(producer)
        return window is None or self.observed - window.last > _GONE_WINDOWS * self._window

    def _window_of(self, producer: str) -> tuple[str, _Window]:
        found = self._windows.get(producer)
        if found is None:
            if len(self._windows) >= _MOST_PRODUCERS:
                oldest = min(self._windows, key=lambda name: self._windows[name].last)
                if self.is_gone(oldest):
                    del self._windows[oldest]
                else:
                    producer = OTHERS
            found = self._windows.get(producer)
        if found is None:
            found = self._windows[producer] = self._new_window()
        return producer, found

    def _new_window(self) -> _Window:
        return _Window({column.name: DistinctCounter(self._window) for column in self._columns if column.is_varied})

    def _block_end(self, producer: str, window: _Window) -> BlockEnd | None:
        if window.block * BLOCKS < self._window:
            return None
        is_complete = window.records >= self._window
        end = BlockEnd(
            producer,
            window.records,
            window.counts,
            window.block,
            window.in_block,
            window.first,
            window.before,
            is_complete,
            {name: counter.estimate() for name, counter in window.distinct.items()} if is_complete else {},
            {name: max(counts, key=lambda text: counts[text]) for name, counts in window.new.items()},
        )
        if is_complete:
            self._windows[producer] = self._new_window()
            self._windows[producer].last = window.last
        else:
            window.block, window.in_block, window.first, window.before = 0, {}, {}, {}
        return end

    def state(self) -> PartitionState:
        """The state to save; restoring it continues exactly from here."""
        return PartitionState(
            observed=self.observed,
            windows={
                producer: WindowState(
                    last=window.last,
                    records=window.records,
                    block=window.block,
                    counts=window.counts,
                    in_block=window.in_block,
                    first=window.first,
                    before=window.before,
                    distinct={name: counter.state() for name, counter in window.distinct.items()},
                    new=window.new,
                )
                for producer, window in self._windows.items()
            },
            known=self._known,
            ids=None if self._ids is None else self._ids.state(),
        )

    def restore(self, state: PartitionState) -> None:
        """Go on from what was saved; KeyError or ValueError if it does not fit."""
        self.observed = state.observed
        for producer, saved in state.windows.items():
            window = self._windows[producer] = self._new_window()
            for name, bits in saved.distinct.items():
                window.distinct[name].restore(bits)
            window.last, window.records, window.block = saved.last, saved.records, saved.block
            window.counts, window.in_block = dict(saved.counts), dict(saved.in_block)
            window.first, window.before = dict(saved.first), dict(saved.before)
            window.new = {name: dict(counts) for name, counts in saved.new.items()}
        self._known = {name: dict(state.known.get(name, {})) for name in self._categories}
        if self._ids is not None and state.ids is not None:
            self._ids.restore(state.ids)


def _hash_of(value: str) -> str:
    return hashlib.blake2b(value.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
