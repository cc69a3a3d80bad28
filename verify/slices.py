"""Where an id lies in [0, 1) for a salt (docs/concepts/rollout-policy.md), computed apart from the scorer."""

from __future__ import annotations

import hashlib

_MANTISSA_BITS = 53


def position(salt: str, name: str) -> float:
    """The first 53 bits of a hash of the salt and the id, read as a fraction; they fit in a double."""
    digest = hashlib.sha256(f"{salt}\x1f{name}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> (64 - _MANTISSA_BITS)) / (1 << _MANTISSA_BITS)
