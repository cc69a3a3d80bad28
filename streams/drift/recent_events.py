"""Which raw events were already counted, so that a feature record that Flink emits again counts once.

One bit per raw event of one partition, over its latest ``SPAN`` offsets. An older event counts as seen: what comes that
late was emitted before. The scorer's memory (:mod:`scoring.memory`) answers the same question exactly, at the price of
reading the predictions; detectors can do without a record in a quarter of a million, but not without their memory
being small enough to be saved with them.
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
    """The raw events of one partition that were counted."""

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
        """What must be kept."""
        return SeenState(floor=self._floor, bits=base64.b64encode(zlib.compress(bytes(self._bits), 6)).decode())

    def restore(self, state: SeenState) -> None:
        """Go on from a state; ValueError if it is none."""
        try:
            # Bounded: a few bytes of garbage must not become gigabytes.
            bits = zlib.decompressobj().decompress(base64.b64decode(state.bits, validate=True), SPAN // 8 + _CHUNK)
        except zlib.error as error:
            raise ValueError("the bits cannot be inflated") from error
        self._floor, self._bits = state.floor, bytearray(bits)

    def _grow(self, offset: int) -> None:
        """Make room for an offset in whole chunks, and let go of the oldest ones beyond the span."""
        if not self._bits:
            self._floor = max(0, offset // _CHUNK * _CHUNK - SPAN)
        end = (offset // _CHUNK + 1) * _CHUNK
        floor = max(self._floor, end - SPAN)
        kept = self._bits[(floor - self._floor) // 8 :]
        self._floor = floor
        self._bits = kept + bytearray((end - floor) // 8 - len(kept))
