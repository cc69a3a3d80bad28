"""Spreads the bits of words. Pure."""

from __future__ import annotations

import numpy as np

from schemas.columns import Words


def mix(value: Words) -> Words:
    """Spread every bit over all bits, one to one: the finalizer of SplitMix64 (Steele, Lea, Flood 2014)."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))
