"""Which entities a run compares: a share of them, drawn by a hash, each with all of its events."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Self, TypeAlias

Chosen: TypeAlias = Callable[[str, str], bool]
"""Whether an entity is compared, by the name of its kind and its text."""

_TEXT = re.compile(r"1(?:/([1-9][0-9]{0,8}))?")
# Entities come again and again: one hash for each of them is enough.
_MOST_CACHED = 1 << 16


@dataclass(frozen=True)
class Sample:
    """One in ``of`` entities of each kind; ``seed`` draws which.

    >>> str(Sample.parse("1/64")), str(Sample.parse("1"))
    ('1/64', '1')
    """

    of: int = 1
    seed: int = 1

    @classmethod
    def parse(cls, text: str, seed: int = 1) -> Self:
        """The sample of ``1/64``, or of ``1`` for all entities.

        Raises:
            ValueError: if the text is neither.
        """
        match = _TEXT.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is no share of the entities, such as 1/64, or 1 for all")
        return cls(int(match[1] or 1), seed)

    def __str__(self) -> str:
        return "1" if self.of == 1 else f"1/{self.of}"

    def chosen(self) -> Chosen:
        """Tells whether an entity is in the sample; the same in every process."""
        if self.of == 1:
            return lambda _kind, _entity: True

        @lru_cache(_MOST_CACHED)
        def chosen(kind: str, entity: str) -> bool:
            digest = blake2b(f"{self.seed}/{kind}/{entity}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
            return int.from_bytes(digest, "big") % self.of == 0

        return chosen
