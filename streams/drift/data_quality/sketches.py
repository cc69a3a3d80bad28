"""Small memories that can be saved: how many different values there were, and which ids came of late.

river's NUnique is for streams without end: at its default size it errs by 13 %. In a window of so many records, a
bitmap of as many bits is smaller than the registers that would err as little, and is saved as it is.
"""

from __future__ import annotations

import base64
import hashlib
import math
import zlib
from typing import Any


class DistinctCounter:
    """Counts different values by a bitmap (linear counting; Whang, Vander-Zanden and Taylor, ACM TODS 1990).

    With as many bits as values, the standard error is below 2 % for 1,000 values or more.

    >>> counter = DistinctCounter(1_000)
    >>> for value in ("a", "b", "a"):
    ...     counter.add(value)
    >>> round(counter.estimate())
    2
    """

    def __init__(self, values: int) -> None:
        self._bits = bytearray(max(128, 1 << (values - 1).bit_length() >> 3))
        self._mask = len(self._bits) * 8 - 1

    def add(self, value: Any) -> None:
        """Count a value."""
        # Checksums of texts that differ in a digit only are not even enough.
        place = int.from_bytes(hashlib.blake2b(_bytes_of(value), digest_size=8).digest()) & self._mask
        self._bits[place >> 3] |= 1 << (place & 7)

    def estimate(self) -> float:
        """How many different values there were."""
        bits = len(self._bits) * 8
        # If no bit is left, there were more than can be counted.
        left = max(bits - int.from_bytes(self._bits).bit_count(), 1)
        return -bits * math.log(left / bits)

    def state(self) -> str:
        """What to save."""
        return packed(self._bits)

    def restore(self, state: str) -> None:
        """Go on from what was saved; ValueError if it is none of this size."""
        self._bits = unpacked(state, len(self._bits))


class RecentIds:
    """Remembers at least the latest ``span`` ids, and at most twice as many: two Bloom filters in turn.

    Of ids that did not come before, about one in 20,000 is taken for one that did.

    >>> ids = RecentIds(100)
    >>> [ids.add(one) for one in ("a", "b", "a")]
    [False, False, True]
    """

    _BITS_PER_ID, _HASHES = 24, 8

    def __init__(self, span: int) -> None:
        self._span, self._held = span, 0
        self._size = span * self._BITS_PER_ID // 8
        self._present, self._before = bytearray(self._size), bytearray(self._size)

    def add(self, name: str) -> bool:
        """Remember an id; whether it came before."""
        digest = int.from_bytes(hashlib.blake2b(_bytes_of(name), digest_size=16).digest())
        first, step, bits = digest >> 64, digest & 0xFFFFFFFFFFFFFFFF | 1, self._size * 8
        places = [(first + turn * step) % bits for turn in range(self._HASHES)]
        if _has(self._present, places) or _has(self._before, places):
            return True
        if self._held == self._span:
            self._before, self._present, self._held = self._present, bytearray(self._size), 0
        for place in places:
            self._present[place >> 3] |= 1 << (place & 7)
        self._held += 1
        return False

    def state(self) -> tuple[int, str, str]:
        """What to save."""
        return self._held, packed(self._present), packed(self._before)

    def restore(self, state: tuple[int, str, str]) -> None:
        """Go on from what was saved; ValueError if it is none of this size."""
        self._held = state[0]
        self._present, self._before = unpacked(state[1], self._size), unpacked(state[2], self._size)


def _has(bits: bytearray, places: list[int]) -> bool:
    return all(bits[place >> 3] & (1 << (place & 7)) for place in places)


def _bytes_of(value: Any) -> bytes:
    return (value if isinstance(value, str) else repr(value)).encode("utf-8", "surrogatepass")


def packed(bits: bytes | bytearray) -> str:
    """Bits as text."""
    return base64.b64encode(zlib.compress(bytes(bits), 6)).decode()


def unpacked(text: str, size: int) -> bytearray:
    """The ``size`` bytes of what was packed; ValueError if they are not as many."""
    try:
        # Bounded: a few bytes of garbage must not inflate to gigabytes.
        bits = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), size + 1)
    except zlib.error as error:
        raise ValueError("the bits cannot be inflated") from error
    if len(bits) != size:
        raise ValueError(f"{len(bits)} bytes of bits, not {size}")
    return bytearray(bits)
