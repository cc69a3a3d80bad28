"""Remembers which raw events were counted, so that a feature record that Flink emits again counts once.

One bit per raw event of one partition, over its latest ``SPAN`` offsets. An older event counts as seen, because a
record that late was emitted before. The scorer's memory (:mod:`scoring.memory`) is exact but must read the predictions.
Detectors tolerate a lost record in a quarter of a million; their memory must be small enough to save with their state.
"""

from __future__ import annotations

import base64
import zlib

from pydantic import BaseModel, ConfigDict

SPAN = 1 << 18
_CHUNK = 1 << 12


class SeenState(BaseModel):
    """The memory as it is saved: offsets from ``floor`` on as bits, deflated, in base64."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    floor: int
    bits: str


class RecentEvents:
    """The set of counted raw events of one partition."""

    def __init__(self) -> None:
        self._floor = 0
        self._bits = bytearray()

    def add(self, offset: int) -> bool:
        """Count an event; False if it was counted before."""
        place = offset - self._floor
        if place < 0:
            return False
        if place >= len(self._bits) * 8:
            self._grow(offset)
            place = offset - self._floor
        mask = 1 << (place & 7)
        if self._bits[place >> 3] & mask:
            return False
        self._bits[place >> 3] |= mask
        return True

    def state(self) -> SeenState:
        """The state to save."""
        return SeenState(floor=self._floor, bits=base64.b64encode(zlib.compress(bytes(self._bits), 6)).decode())

    def restore(self, state: SeenState) -> None:
        """Continue from a saved state; ValueError if it is invalid."""
        try:
            # Bounded: a few bytes of garbage must not inflate to gigabytes.
            bits = zlib.decompressobj().decompress(base64.b64decode(state.bits, validate=True), SPAN // 8 + _CHUNK)
        except zlib.error as error:
            raise ValueError("the bits cannot be inflated") from error
        self._floor, self._bits = state.floor, bytearray(bits)

    def _grow(self, offset: int) -> None:
        """Extend to an offset in whole chunks, and drop the oldest chunks beyond the span."""
        if not self._bits:
            self._floor = max(0, offset // _CHUNK * _CHUNK - SPAN)
        end = (offset // _CHUNK + 1) * _CHUNK
        floor = max(self._floor, end - SPAN)
        kept = self._bits[(floor - self._floor) // 8 :]
        self._floor = floor
        self._bits = kept + bytearray((end - floor) // 8 - len(kept))
