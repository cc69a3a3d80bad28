r"""Entities as text: how records, keys and tables write one, also where several columns name it together.

The parts of a composite entity are joined by ``|``; a ``|`` or ``\`` within a part has a ``\`` before it. So the text
of one entity is never that of another, and of plain parts it can be read as it is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from schemas.contract import pii_hash
from schemas.feature_types import Value

_SPECIAL = re.compile(r"([\\|])")
_PART = re.compile(r"(?:[^\\|]|\\.)*", re.DOTALL)


def entity_text(entity: Value) -> str:
    """An entity named by one column.

    >>> entity_text(7), entity_text(True)
    ('7', 'true')
    """
    return str(entity).lower() if isinstance(entity, bool) else str(entity)


def composite_text(parts: Sequence[Value]) -> str | None:
    r"""An entity named by several columns; None if any of them has no value.

    >>> composite_text(["4111", 7]), composite_text(["a|b", "c"]), composite_text(["4111", None])
    ('4111|7', 'a\\|b|c', None)
    """
    texts = [_SPECIAL.sub(r"\\\1", entity_text(part)) for part in parts if part is not None]
    return "|".join(texts) if len(texts) == len(parts) else None


def parts_of(entity: str) -> list[str]:
    r"""The parts, as text, of a composite entity.

    >>> parts_of(r"a\|b|c")
    ['a|b', 'c']
    """
    parts, at = [], 0
    while True:
        match = _PART.match(entity, at)
        assert match is not None  # it matches nothing, too
        parts.append(re.sub(r"\\(.)", r"\1", match[0], flags=re.DOTALL))
        at = match.end() + 1
        if at > len(entity):
            return parts


def hashed_text(entity: str, personal: Sequence[bool], key: bytes) -> str:
    """The entity as it is stored, from its values: ``personal`` says which of its columns are hashed with ``key``.

    Raises:
        ValueError: if it has not as many parts as there are columns.
    """
    parts = [entity] if len(personal) == 1 else parts_of(entity)
    stored = [pii_hash(key, part) if hashed else part for part, hashed in zip(parts, personal, strict=True)]
    return stored[0] if len(stored) == 1 else composite_text(stored) or ""
