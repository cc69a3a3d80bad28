"""The bytes of a vector in the online store, and the values that they give at a given time.

The stored value is one blob::

    1 byte    format: 1, or 2 if a timer emitted the vector
    8 bytes   epoch    unsigned big-endian; these four numbers are the vector's order, which the store compares
    8 bytes   seq      unsigned big-endian
    8 bytes   attempt  unsigned big-endian
    8 bytes   as_of    epoch ms, signed big-endian
    8 bytes   in format 2: the time of the entity's newest event, epoch ms, signed big-endian
    rest      the view's record (streams.plan.feature_records.view_schema) in Avro single-object encoding

The first 33 bytes keep their meaning in every format, so that writers of two releases can compare vectors. This module
connects to no store.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from schemas.codec import Decoder, Encoder, Undecodable
from schemas.columns import slices
from schemas.feature_types import FeatureValue
from schemas.number_records import Encoded, NumberRecords
from schemas.records import VIEW_FIELD_NAMES, VIEW_FIELDS
from sinks.emitted_vectors import EmittedVector
from streams.definitions.windows import LIFETIME_MS
from streams.plan.feature_records import view_schema
from streams.plan.model import FeaturePlan, ViewPlan

FORMAT, TIMER_FORMAT = 1, 2
_FORMAT, _TIMER_FORMAT = bytes([FORMAT]), bytes([TIMER_FORMAT])
_HEADER = struct.Struct(">BQQQq")
_NEWEST = struct.Struct(">q")
_SHORT_TEXT = 63  # its length takes one byte

Numbers: TypeAlias = npt.NDArray[np.int64]
Mask: TypeAlias = npt.NDArray[np.bool_]


class VectorState(StrEnum):
    """How much of a vector is still valid at the reader's time."""

    PRESENT = "PRESENT"
    """Every window still covers the entity's newest event."""
    STALE = "STALE"
    """Some windows have become empty since: their features read as empty, the others as of ``as_of``.

    A derived feature that depends on such a window reads as null, because its inputs are not stored.
    """
    EXPIRED = "EXPIRED"
    """Every window has become empty: all features read as empty."""
    MISSING = "MISSING"
    """Nothing is stored: all features read as empty."""


@dataclass(frozen=True, slots=True)
class FeatureVector:
    """A view's features of one entity, as they read at the reader's time.

    ``values`` always holds every feature of the view, in the record's order. ``as_of``, ``epoch``, ``seq`` and
    ``attempt`` identify the emitted vector behind them; they are None if the state is MISSING.
    """

    view: str
    entity: str
    state: VectorState
    values: dict[str, FeatureValue]
    as_of: int | None = None
    epoch: int | None = None
    seq: int | None = None
    attempt: int | None = None


class Stored(NamedTuple):
    """A stored vector as it was emitted, still to be read at a time.

    Args:
        epoch, seq, attempt, as_of: Its order.
        newest: The time of the entity's newest event, epoch ms.
        encoded: Its features, if all are numbers that :class:`schemas.number_records.NumberRecords` has located.
        record: Otherwise its decoded record.
    """

    epoch: int
    seq: int
    attempt: int
    as_of: int
    newest: int
    encoded: Encoded | None
    record: dict[str, Any]


class VectorFormat:
    """Packs and reads the vectors of one view. Not to be shared between threads."""

    def __init__(self, view: ViewPlan) -> None:
        schema = view_schema(view)
        self.id = view.id
        self._encoder = Encoder(schema)
        self._decoder = Decoder(schema)
        self.numbers = NumberRecords.of(schema["fields"][len(VIEW_FIELDS) :], VIEW_FIELDS[1:])
        self.windows = VectorWindows(view)

    def pack(self, vector: EmittedVector) -> bytes:
        """The blob of an emitted vector of this view.

        Raises:
            struct.error: if epoch, seq or attempt is negative.
        """
        newest = b"" if vector.newest_ms is None else _NEWEST.pack(vector.newest_ms)
        header = _HEADER.pack(TIMER_FORMAT if newest else FORMAT, *vector.order)
        return header + newest + self._encoder.encode(vector.record)

    def pack_columns(self, encoded: Sequence[bytes], order: Numbers, event_time: Numbers, timer: Mask) -> list[bytes]:
        """The blobs of n vectors of this view.

        Args:
            encoded: The view's part of each feature record, in Avro.
            order: (n, 4) Epoch, seq, attempt and as_of, big-endian.
            event_time: (n,) The record's event time.
            timer: (n,) Whether a timer emitted the vector.
        """
        avro = self._encoder.header
        heads = slices(order.tobytes(), _HEADER.size - 1)
        blobs = [_FORMAT + head + avro + record for head, record in zip(heads, encoded, strict=True)]
        for row in np.flatnonzero(timer).tolist():
            blobs[row] = _TIMER_FORMAT + heads[row] + _NEWEST.pack(event_time[row]) + avro + encoded[row]
        return blobs

    def read(self, entity: str, blob: bytes | None, now_ms: int) -> FeatureVector:
        """The vector in ``blob`` (None: nothing stored) as it reads at ``now_ms``, in event time.

        Raises:
            Undecodable, UnknownSchema: if the blob is not a vector of this entity and this version of the view.
        """
        if blob is None:
            return FeatureVector(self.id, entity, VectorState.MISSING, self.windows.empty())
        stored = self.stored(entity, blob)
        epoch, seq, attempt, as_of, newest = stored[:5]
        values = self.values(stored)
        state = self.windows.read(values, as_of, newest, now_ms)
        return FeatureVector(self.id, entity, state, values, as_of, epoch, seq, attempt)

    def values(self, stored: Stored) -> dict[str, Any]:
        """The features of a stored vector as they were emitted."""
        if stored.encoded is None:
            return stored.record
        assert self.numbers is not None
        return self.numbers.values(stored.encoded)

    def stored(self, entity: str, blob: bytes) -> Stored:
        """The vector in ``blob`` as it was emitted; raises as :meth:`read`."""
        timer = blob[:1] == _TIMER_FORMAT
        head = _HEADER.size + _NEWEST.size if timer else _HEADER.size
        if len(blob) < head or not (timer or blob[:1] == _FORMAT):
            raise Undecodable(f"the stored value is not a vector of format {FORMAT} or {TIMER_FORMAT}", where=self.id)
        _, epoch, seq, attempt, as_of = _HEADER.unpack_from(blob)
        newest = _NEWEST.unpack_from(blob, _HEADER.size)[0] if timer else as_of
        if self.numbers is not None:
            before = self._encoder.header + _encoded_text(entity)
            if blob.startswith(before, head):
                encoded = self.numbers.locate(blob, head + len(before))
                if encoded is not None:
                    return Stored(epoch, seq, attempt, as_of, newest, encoded, {})
        record = self._decoder.decode(blob[head:], where=self.id)
        if record["entity"] != entity:
            raise Undecodable("the stored vector is that of another entity", where=self.id)
        for name in VIEW_FIELD_NAMES:
            del record[name]
        return Stored(epoch, seq, attempt, as_of, newest, None, record)


class VectorWindows:
    """Which features of a view's vector read as empty at a given time."""

    def __init__(self, view: ViewPlan) -> None:
        ends = {(feature.window_ms, feature.hop_ms) for feature in view.features if not feature.is_lifetime}
        ends |= {window for derived in view.derived for window in derived.windows if window[0] < LIFETIME_MS}
        self._windows = sorted(ends)
        places = {window: place for place, window in enumerate(self._windows)}
        self._of_feature = {f.name: places.get((f.window_ms, f.hop_ms)) for f in view.features}
        self._of_derived = {d.name: [places[w] for w in d.windows if w in places] for d in view.derived}
        self._empty = {output.name: output.empty for output in view.outputs}
        self._empty_lists = [name for name, value in self._empty.items() if isinstance(value, list)]
        self._one_emptied = lru_cache(256)(self._one_emptied_by)

    def empty(self) -> dict[str, Any]:
        """The features of an entity without events."""
        return self._with_own_lists(self._empty.copy(), self._empty)

    def read(self, values: dict[str, Any], as_of: int, newest: int, now_ms: int) -> VectorState:
        """Empty the values that read as empty at ``now_ms``, in place."""
        passed = self._passed(newest, now_ms)
        if True not in passed:
            return VectorState.PRESENT
        state, empty = self._one_emptied(tuple(passed), tuple(self._passed(newest, as_of)))
        values |= empty
        self._with_own_lists(values, empty)
        return state

    def emptied(self, as_of: Numbers, newest: Numbers, now_ms: Numbers) -> tuple[npt.NDArray[np.str_], dict[str, Mask]]:
        """The states of n > 0 vectors, each at a time of its own, and at which of them each feature reads as empty."""
        passed, before = (
            np.array(self._passed(newest, at), np.bool_).reshape(-1, len(newest)) for at in (now_ms, as_of)
        )
        return self._emptied_by(passed, before)

    def empty_value(self, name: str) -> Any:
        """The value of a feature that reads as empty."""
        value = self._empty[name]
        return value.copy() if isinstance(value, list) else value

    def _passed(self, newest: Any, at_ms: Any) -> list[Any]:
        """Which windows have passed: of one vector, or of many as arrays; see :func:`window_is_empty`."""
        return [newest // hop <= (at_ms - window) // hop for window, hop in self._windows]

    def _one_emptied_by(self, passed: tuple[bool, ...], before: tuple[bool, ...]) -> tuple[VectorState, dict[str, Any]]:
        states, masks = self._emptied_by(np.array(passed)[:, np.newaxis], np.array(before)[:, np.newaxis])
        return VectorState(str(states[0])), {name: self._empty[name] for name, mask in masks.items() if mask[0]}

    def _emptied_by(self, passed: Mask, before: Mask) -> tuple[npt.NDArray[np.str_], dict[str, Mask]]:
        """By which windows (first axis) of n vectors have run empty now, and which had as of the vector."""
        never = np.zeros(passed.shape[1], np.bool_)
        emptied = {name: never if place is None else passed[place] for name, place in self._of_feature.items()}
        was_empty = [never if place is None else before[place] for place in self._of_feature.values()]
        expired = np.logical_and.reduce(list(emptied.values()))
        # If all windows were empty already as of the vector, its derived features were computed from empty windows.
        expired_since, since = expired & ~np.logical_and.reduce(was_empty), passed & ~before
        for name, places in self._of_derived.items():
            emptied[name] = np.logical_or.reduce([expired_since, *(since[place] for place in places)])
        some = np.logical_or.reduce(list(emptied.values()))
        states = np.where(some, VectorState.STALE.value, VectorState.PRESENT.value)
        return np.where(expired, VectorState.EXPIRED.value, states), emptied

    def _with_own_lists(self, values: dict[str, Any], empty: Mapping[str, Any]) -> dict[str, Any]:
        """The values, none of which shares a list with those of another vector."""
        for name in self._empty_lists:
            if name in empty:
                values[name] = empty[name].copy()
        return values


def window_is_empty(feature: FeaturePlan, newest_ms: int, now_ms: int) -> bool:
    """Whether the feature's window, moved to end at ``now_ms``, no longer covers the tile of the newest event.

    True at the latest when the age of that event is the window's length. False whenever ``now_ms <= newest_ms``: a
    reader whose clock is behind gets the vector as it was emitted.
    """
    window, hop = feature.window_ms, feature.hop_ms
    return not feature.is_lifetime and newest_ms // hop <= (now_ms - window) // hop


def _encoded_text(text: str) -> bytes:
    """An Avro text: its length in bytes, in groups of seven bits, and the bytes."""
    data = text.encode()
    if len(data) <= _SHORT_TEXT:
        return bytes((2 * len(data),)) + data
    length, groups = 2 * len(data), bytearray()
    while length > 0x7F:
        groups.append(length & 0x7F | 0x80)
        length >>= 7
    groups.append(length)
    return bytes(groups) + data


def time_to_live_ms(view: ViewPlan, max_future_ms: int, grace_ms: int) -> int | None:
    """How long the online store keeps a vector after a write, by the wall clock; None: forever.

    In event time a vector is of use until its longest window has passed ``as_of``, which may be ``max_future_ms`` ahead
    of the wall clock. So a reader whose clock keeps up with the wall clock never misses a vector that it would have
    read as PRESENT or STALE. A reader whose clock falls behind (a replay that was paused) has ``grace_ms`` more.
    Vectors of a view with a lifetime window never expire.
    """
    longest = view.longest_window_ms
    return None if longest is None else longest + max_future_ms + grace_ms
