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
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from schemas.codec import Decoder, Encoder, Undecodable
from schemas.columns import slices
from schemas.feature_types import FeatureValue
from sinks.emitted_vectors import EmittedVector
from streams.definitions.windows import LIFETIME_MS
from streams.plan.feature_records import view_schema
from streams.plan.model import FeaturePlan, ViewPlan

FORMAT, TIMER_FORMAT = 1, 2
_FORMAT, _TIMER_FORMAT = bytes([FORMAT]), bytes([TIMER_FORMAT])
_HEADER = struct.Struct(">BQQQq")
_NEWEST = struct.Struct(">q")

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


class VectorFormat:
    """Packs and reads the vectors of one view. Not to be shared between threads."""

    def __init__(self, view: ViewPlan) -> None:
        schema = view_schema(view)
        self._view = view
        self._encoder = Encoder(schema)
        self._decoder = Decoder(schema)

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
            Undecodable, UnknownSchema: if the blob is not a vector of this version of the view.
        """
        view = self._view
        if blob is None:
            return FeatureVector(
                view.id, entity, VectorState.MISSING, {feature.name: feature.empty for feature in view.outputs}
            )
        head = _HEADER.size + (_NEWEST.size if blob[:1] == bytes([TIMER_FORMAT]) else 0)
        if len(blob) < head or blob[0] not in (FORMAT, TIMER_FORMAT):
            raise Undecodable(f"the stored value is not a vector of format {FORMAT} or {TIMER_FORMAT}", where=view.id)
        _, epoch, seq, attempt, as_of = _HEADER.unpack_from(blob)
        (newest,) = _NEWEST.unpack_from(blob, _HEADER.size) if head > _HEADER.size else (as_of,)
        record = self._decoder.decode(blob[head:], where=view.id)
        empty = {feature.name for feature in view.features if window_is_empty(feature, newest, now_ms)}
        expired = len(empty) == len(view.features)
        # If all windows were empty already as of the vector, its derived features were computed from empty windows.
        expired_since = expired and not all(window_is_empty(feature, newest, as_of) for feature in view.features)
        for derived in view.derived:
            if expired_since or any(
                _has_passed(*window, newest, now_ms) and not _has_passed(*window, newest, as_of)
                for window in derived.windows
            ):
                empty.add(derived.name)
        values = {f.name: f.empty if f.name in empty else record[f.name] for f in view.outputs}
        state = VectorState.EXPIRED if expired else VectorState.STALE if empty else VectorState.PRESENT
        return FeatureVector(view.id, entity, state, values, as_of, epoch, seq, attempt)


def window_is_empty(feature: FeaturePlan, newest_ms: int, now_ms: int) -> bool:
    """Whether the feature's window, moved to end at ``now_ms``, no longer covers the tile of the newest event.

    True at the latest when the age of that event is the window's length. False whenever ``now_ms <= newest_ms``: a
    reader whose clock is behind gets the vector as it was emitted.
    """
    return _has_passed(feature.window_ms, feature.hop_ms, newest_ms, now_ms)


def _has_passed(window_ms: int, hop_ms: int, as_of: int, now_ms: int) -> bool:
    return window_ms < LIFETIME_MS and as_of // hop_ms <= (now_ms - window_ms) // hop_ms


def time_to_live_ms(view: ViewPlan, max_future_ms: int, grace_ms: int) -> int | None:
    """How long the online store keeps a vector after a write, by the wall clock; None: forever.

    In event time a vector is of use until its longest window has passed ``as_of``, which may be ``max_future_ms`` ahead
    of the wall clock. So a reader whose clock keeps up with the wall clock never misses a vector that it would have
    read as PRESENT or STALE. A reader whose clock falls behind (a replay that was paused) has ``grace_ms`` more.
    Vectors of a view with a lifetime window never expire.
    """
    longest = view.longest_window_ms
    return None if longest is None else longest + max_future_ms + grace_ms
