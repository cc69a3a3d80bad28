"""The SQL of derived features: finds its references, and replaces them by an engine's column names.

A reference is ``feature`` (of the view itself), ``view.feature`` (of another view in the same record) or
``event.column``. Names are lower case; every other word is SQL.
"""

from __future__ import annotations

import re
from collections.abc import Callable

EVENT = "event"
"""The scope of the event's own columns."""

_WORD = re.compile(
    "and|as|between|bigint|boolean|both|by|case|cast|char|date|day|decimal|distinct|double|else|end|escape|extract|"
    "false|float|for|from|hour|in|int|integer|interval|is|leading|like|minute|month|not|null|or|second|similar|"
    "smallint|string|substring|then|time|timestamp|to|trailing|trim|true|try_cast|unknown|varchar|when|year"
)
# A text, a quoted name or comment, a number, or a name, perhaps in several parts, perhaps with an opening parenthesis.
_TOKEN = re.compile(
    r"(?P<text>'(?:[^']|'')*')|(?P<refused>[`\"]|--|/\*)|(?P<number>\d[\w.]*)"
    r"|(?P<name>[A-Za-z_]\w*(?:\s*\.\s*[A-Za-z_]\w*)*)(?P<call>\s*\()?"
)


def references(sql: str, view: str) -> tuple[str, ...]:
    """The references in the SQL of a derived feature of ``view``, as ``view.feature`` or ``event.column``.

    >>> references("CASE WHEN count_1h > 3 THEN ABS(shop.mean_1h - event.amount) END", "card")
    ('card.count_1h', 'shop.mean_1h', 'event.amount')

    Raises:
        ValueError: if a name is quoted or has more than two parts, or there is a comment.
    """
    names: dict[str, None] = {}

    def note(name: str) -> str:
        names[name] = None
        return name

    replace_references(sql, view, note)
    return tuple(names)


def replace_references(sql: str, view: str, column: Callable[[str], str]) -> str:
    """The SQL with each reference replaced by ``column(reference)``; raises the errors of :func:`references`."""

    def replacement(token: re.Match[str]) -> str:
        if token["refused"]:
            raise ValueError(f"{sql!r}: write names without quotes, and no comments: engines read them differently")
        name = token["name"]
        if name is None or token["call"] or ("." not in name and (name != name.lower() or _WORD.fullmatch(name))):
            return token[0]
        parts = [part.strip() for part in name.split(".")]
        if len(parts) > 2:
            raise ValueError(f"{name!r} in {sql!r}: a name is feature, view.feature or event.column")
        return column(".".join(parts if len(parts) == 2 else (view, name)))

    return _TOKEN.sub(replacement, sql)


def is_reserved(name: str) -> bool:
    """Whether a lower-case name is a reserved word of SQL, which cannot name a feature."""
    return _WORD.fullmatch(name) is not None
