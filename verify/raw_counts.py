"""Counts raw records again, as docs/concepts/data-quality.md says that data quality counts them. Pure.

Naive on purpose: a window is kept as the list of its records, and everything is counted from it anew at each look.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pydantic import ValidationError

from penstock.kafka.reading import Record
from schemas.codec import Decoder, Registry, Undecodable, UnknownSchema, decode_row
from schemas.contract import Contract, Role, contract_fields
from schemas.envelopes import CloudEvents, Debezium, Ignored
from schemas.event_time import EARLIEST_MS, latest_possible

_LOOKS = 10
_MOST_PRODUCERS, _GONE_WINDOWS, _OTHERS = 8, 20, "(others)"
_NEW_WINDOWS, _MOST_NEW, _MOST_NAMED, _MOST_TEXT = 2, 2_000, 20, 64
_REMEMBERED_WINDOWS = 5
_DAY_MS = 86_400_000


class Raw(NamedTuple):
    """A raw record, as far as it can be read; ``values`` is None if it cannot, and a column's value None if it is null.

    ``time`` is its event time, epoch ms, None if it has no possible one. ``invalid`` are the columns that the contract
    refuses.
    """

    offset: int
    timestamp: int
    time: int | None
    producer: str
    event_id: str | None
    values: Mapping[str, Any] | None
    invalid: frozenset[str]


class RawTopic(NamedTuple):
    """What is watched of a topic: its contract, whether ids and columns are, and how far its times may be ahead."""

    contract: type[Contract]
    writers: Decoder
    max_future_ms: int
    is_labels: bool
    header: str | None
    envelope: Debezium | CloudEvents | None = None


def read_raw(of: RawTopic, records: Iterable[Record], read_at_ms: int, registry: Registry | None) -> list[Raw]:
    """Raw records; ``read_at_ms`` is a time after they were written."""
    fields = contract_fields(of.contract)
    time_field = next(one.name for one in fields if Role.EVENT_TIME in one.roles)
    ids = [one.name for one in fields if Role.EVENT_ID in one.roles and not of.is_labels]
    defaults = {one.name: one.default for one in fields}
    found = []
    for record in records:
        written = [value for name, value in record.headers if name == of.header and of.header is not None]
        producer = "" if not written or written[-1] is None else short(written[-1].decode("utf-8", "replace"))
        try:
            row = decode_row(record.value, of.contract, of.writers, registry, of.envelope, record.headers)
        except (Undecodable, UnknownSchema):
            found.append(Raw(record.offset, record.timestamp, None, producer, None, None, frozenset()))
            continue
        if isinstance(row, Ignored):
            continue
        time, latest = row.get(time_field), latest_possible(of.max_future_ms, read_at_ms, record.timestamp)
        is_possible = type(time) is int and latest is not None and EARLIEST_MS <= time <= latest
        event_id = row.get(ids[0]) if ids else None
        values = {} if of.is_labels else {name: row.get(name, default) for name, default in defaults.items()}
        invalid = frozenset(name for name in _refused(of.contract, row) if values.get(name) is not None)
        found.append(
            Raw(
                record.offset,
                record.timestamp,
                time if is_possible else None,
                producer,
                event_id if isinstance(event_id, str) else None,
                values,
                invalid,
            )
        )
    return found


def _refused(contract: type[Contract], row: Mapping[str, Any]) -> set[str]:
    try:
        contract.model_validate(row)
    except ValidationError as error:
        return {str(one["loc"][0]) for one in error.errors(include_input=False, include_url=False) if one["loc"]}
    return set()


def short(text: str) -> str:
    """A text on one line, at most 64 characters of it."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)[:_MOST_TEXT]


class Crossing(NamedTuple):
    """A check of a producer that went beyond its limit on a partition; ``offset`` is that of the first such record."""

    partition: int
    offset: int
    producer: str
    check: str
    statistic: float
    current: float
    threshold: float
    reference: float


class _Counted(NamedTuple):
    offset: int
    objections: tuple[str, ...]
    new: tuple[tuple[str, str], ...]
    values: Mapping[str, Any]


@dataclass
class _Window:
    last: int = 0
    records: list[_Counted] = field(default_factory=list)


class PartitionRecount:
    """Counts the records of one partition again.

    Args:
        number: The partition.
        contract: The contract of its topic.
        is_labels: Whether it is one of labels, of which no column is watched.
        reference: What data quality holds them against: an entry of ``topics`` in the published reference.
        window: Records in a window.
    """

    def __init__(
        self, number: int, contract: type[Contract], is_labels: bool, reference: Mapping[str, Any], window: int
    ) -> None:
        self._number, self._window, self._reference = number, window, reference
        self._block = -(-window // _LOOKS)
        fields = [] if is_labels else contract_fields(contract)
        self._columns = [one.name for one in fields]
        self.varied = [one.name for one in fields if Role.EVENT_TIME not in one.roles]
        self._known = {
            one.name: frozenset(reference["categories"][one.name])
            for one in fields
            if one.type == "string" and one.pii is None and not one.roles and one.name in reference["categories"]
        }
        self._limits = {
            f"{one['column']}:{one['kind']}": one for one in reference["limits"] if one["kind"] != "distinct"
        }
        self._since_new: dict[str, dict[str, int]] = {name: {} for name in self._known}
        self._ids: tuple[set[str], set[str]] = set(), set()
        self._windows: dict[str, _Window] = {}
        self.observed = 0
        self.over: set[tuple[str, str]] = set()
        """The checks that are beyond their limit, each with its producer."""
        self.since: dict[tuple[str, str], int] = {}
        """From which offset on a window is beyond its limit, by producer and check."""
        self.crossings: list[Crossing] = []
        self.complete: dict[tuple[int, str], dict[str, int]] = {}
        """How many different values each column had in complete windows, by its last offset and producer."""

    def take(self, raw: Raw) -> None:
        """Count a record."""
        self.observed += 1
        producer = self._producer(raw.producer)
        window = self._windows.setdefault(producer, _Window())
        window.last = self.observed
        window.records.append(self._counted(raw))
        if len(window.records) % self._block:
            return
        self._look(producer, window)
        if len(window.records) >= self._window:
            self.complete[raw.offset, producer] = _different(window, self.varied)
            self._windows[producer] = _Window(last=window.last)
            self._forget(producer)

    def state(self) -> dict[str, Any]:
        """What is published of the partition, but for its sketches."""
        return {
            "observed": self.observed,
            "windows": {producer: self._state_of(window) for producer, window in self._windows.items()},
            "known": {
                name: {_hash(value): at for value, at in since.items()} for name, since in self._since_new.items()
            },
        }

    def different(self, producer: str) -> dict[str, int]:
        """How many different values each column has in the window of a producer that is not complete."""
        return _different(self._windows[producer], self.varied)

    def _state_of(self, window: _Window) -> dict[str, Any]:
        block = window.records[len(window.records) // self._block * self._block :]
        in_block = Counter(check for one in block for check in one.objections)
        place = {check: next(n for n, one in enumerate(block) if check in one.objections) for check in in_block}
        new: dict[str, Counter[str]] = {}
        for one in window.records:
            for name, text in one.new:
                of = new.setdefault(name, Counter())
                if text in of or len(of) < _MOST_NAMED:
                    of[text] += 1
        return {
            "last": window.last,
            "records": len(window.records),
            "block": len(block),
            "counts": dict(Counter(check for one in window.records for check in one.objections)),
            "in_block": dict(in_block),
            "first": {check: block[at].offset for check, at in place.items()},
            "before": place,
            "new": {name: dict(of) for name, of in new.items()},
        }

    def _counted(self, raw: Raw) -> _Counted:
        objections, new = [], []
        if raw.values is None:
            objections.append(":malformed")
        values = raw.values or {}
        for name in self._columns if raw.values is not None else ():
            value = values[name]
            if value is None:
                objections.append(f"{name}:null")
                continue
            if name in self._reference["ranges"] and type(value) in (int, float):
                low, high = self._reference["ranges"][name]
                if not low <= value <= high:
                    objections.append(f"{name}:range")
            if name in self._known and isinstance(value, str) and value not in self._known[name]:
                since = self._since_new[name]
                first = since.setdefault(value, self.observed)
                if len(since) > _MOST_NEW:
                    del since[next(iter(since))]
                if self.observed - first <= _NEW_WINDOWS * self._window:
                    objections.append(f"{name}:category")
                    new.append((name, short(value)))
        objections += [f"{name}:invalid" for name in sorted(raw.invalid)]
        if raw.event_id is not None and self._came_before(raw.event_id):
            objections.append(":duplicate")
        late_ms = self._reference["late_ms"]
        if late_ms and raw.time is not None and raw.timestamp >= 0 and late_ms < raw.timestamp - raw.time <= _DAY_MS:
            objections.append(":late")
        return _Counted(raw.offset, tuple(objections), tuple(new), values)

    def _came_before(self, name: str) -> bool:
        """Whether an id is among the latest ones: of at least five windows, and at most ten."""
        present, before = self._ids
        if name in present or name in before:
            return True
        if len(present) == _REMEMBERED_WINDOWS * self._window:
            before, present = present, set()
        present.add(name)
        self._ids = present, before
        return False

    def _producer(self, name: str) -> str:
        """Whom a record counts for: at most eight are told apart."""
        if name not in self._windows and len(self._windows) >= _MOST_PRODUCERS:
            oldest = min(self._windows, key=lambda one: self._windows[one].last)
            if not self._is_gone(oldest):
                return _OTHERS
            del self._windows[oldest]
        return name

    def _is_gone(self, producer: str) -> bool:
        window = self._windows.get(producer)
        return window is None or self.observed - window.last > _GONE_WINDOWS * self._window

    def _look(self, producer: str, window: _Window) -> None:
        self.over = {one for one in self.over if not self._is_gone(one[0])}
        self.since = {one: at for one, at in self.since.items() if not self._is_gone(one[0])}
        block = window.records[-self._block :]
        counts = Counter(check for one in window.records for check in one.objections)
        for check, limit in self._limits.items():
            of_block = [n for n, one in enumerate(block) if check in one.objections]
            count, place = counts[check], (producer, check)
            if of_block and len(of_block) > limit["high"] * len(block):
                self.since.setdefault(place, block[of_block[0]].offset)
            if count > limit["high"] * self._window:
                if place not in self.over:
                    self.over.add(place)
                    first = block[of_block[0]].offset if of_block else 0
                    after = len(block) - (of_block[0] if of_block else 0) - 1
                    current = max(count / len(window.records), (len(of_block) - 1) / after if after > 0 else 0.0)
                    self.crossings.append(
                        Crossing(
                            self._number,
                            self.since.get(place, first),
                            producer,
                            check,
                            count / self._window,
                            current,
                            limit["high"],
                            limit["expected"],
                        )
                    )
            elif (
                len(window.records) >= self._window and count <= (limit["expected"] + limit["high"]) / 2 * self._window
            ):
                self.over.discard(place)

    def _forget(self, producer: str) -> None:
        self.since = {one: at for one, at in self.since.items() if one[0] != producer}


def _different(window: _Window, columns: Sequence[str]) -> dict[str, int]:
    return {
        name: len({_bytes_of(one.values[name]) for one in window.records if one.values.get(name) is not None})
        for name in columns
    }


def _bytes_of(value: Any) -> bytes:
    return (value if isinstance(value, str) else repr(value)).encode("utf-8", "surrogatepass")


def _hash(value: str) -> str:
    return hashlib.blake2b(_bytes_of(value), digest_size=8).hexdigest()
