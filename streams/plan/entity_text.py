r"""Entities as text, as records, keys and tables write them.

``|`` joins the parts of a composite entity; a ``|`` or ``\`` within a part is escaped by ``\``, and all else stays as
it is. So two entities never have the same text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from schemas.contract import pii_hash
from schemas.feature_types import Value

_SPECIAL = re.compile(r"([\\|])")
_PART = re.compile(r"(?:[^\\|]|\\.)*", re.DOTALL)


def entity_text(entity: Value) -> str:
    """The text of an entity with a key of one column.

    >>> entity_text(7), entity_text(True)
    ('7', 'true')
    """
    return str(entity).lower() if isinstance(entity, bool) else str(entity)


def composite_text(parts: Sequence[Value]) -> str | None:
    r"""The text of an entity with a composite key; None if one of its parts is None.

    >>> composite_text(["4111", 7]), composite_text(["a|b", "c"]), composite_text(["4111", None])
    ('4111|7', 'a\\|b|c', None)
    """
    texts = [_SPECIAL.sub(r"\\\1", entity_text(part)) for part in parts if part is not None]
    return "|".join(texts) if len(texts) == len(parts) else None


def split_entity(entity: str) -> list[str]:
    r"""The parts of a composite entity's text, unescaped.

    >>> split_entity(r"a\|b|c")
    ['a|b', 'c']
    """
    parts, at = [], 0
    while True:
        match = _PART.match(entity, at)
        assert match is not None  # the pattern also matches the empty text
        parts.append(re.sub(r"\\(.)", r"\1", match[0], flags=re.DOTALL))
        at = match.end() + 1
        if at > len(entity):
            return parts


def stored_entity_text(entity: str, personal: Sequence[bool], key: bytes) -> str:
    """The text under which records and stores have an entity: its personal parts are hashed with ``key``.

    Args:
        entity: The text of the entity, with the values of its key columns.
        personal: Whether each of its key columns is personal data.
        key: The key of the hashes.

    Raises:
        ValueError: if the entity does not have one part for each key column.
    """
    parts = [entity] if len(personal) == 1 else split_entity(entity)
    stored = [pii_hash(key, part) if hashed else part for part, hashed in zip(parts, personal, strict=True)]
    return stored[0] if len(stored) == 1 else composite_text(stored) or ""
