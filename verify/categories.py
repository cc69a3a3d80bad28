"""The number that a vector has for a category (docs/reference/records.md), computed apart from the scorer."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from typing import Any


def codes(values: Iterable[Any]) -> list[int | None]:
    """The code of each text or integer; None for null."""
    return [None if value is None else _code(value) for value in values]


@lru_cache(maxsize=1 << 16)
def _code(value: str | int) -> int:
    return 1 + int(hashlib.blake2b(str(value).encode(), digest_size=3).hexdigest(), 16)
