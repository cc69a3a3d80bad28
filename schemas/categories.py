"""Categories as numbers: a model's vector holds a text, or an integer that is no quantity, as its code.

A code is a hash, so that it needs no list of values: the same text has the same code in every pipeline, version and
backfill, and one that was never seen has one too. What a model makes of it (a vocabulary, buckets) is part of the
model's version.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b

_BYTES = 3
# Texts of one column are few, or come again soon.
_MOST_CACHED = 1 << 16


def code_of(text: bytes) -> float:
    """The code of a text in UTF-8: a whole number from 1 to 2^24, which float32 holds exactly.

    It is one more than the first three bytes of its BLAKE2b hash (RFC 7693, of that length), big endian. Two texts have
    the same code with a probability of 6e-8.
    """
    return float(1 + int.from_bytes(blake2b(text, digest_size=_BYTES).digest(), "big"))


def category(value: str | int) -> bytes:
    """The text that a value has as a category: an integer's is its decimal digits."""
    return str(value).encode()


def cached_codes() -> Callable[[bytes | None], float]:
    """:func:`code_of` that remembers the latest texts; NaN for None."""
    known: dict[bytes | None, float] = {None: float("nan")}

    def code(text: bytes | None) -> float:
        found = known.get(text)
        if found is None:
            assert text is not None
            if len(known) > _MOST_CACHED:
                known.clear()
                known[None] = float("nan")
            found = known[text] = code_of(text)
        return found

    return code
