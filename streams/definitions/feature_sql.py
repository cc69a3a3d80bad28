"""The SQL of derived features: what it names, and its text with those names written as an engine has them.

A bare name is a feature of the view itself, ``view.feature`` one of another view of the same record, ``event.column`` a
column of the event. Names are lower case; every other word is SQL.
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
# A text, a quoted name or a comment, a number, or a name with what may follow it: a second part, an opening bracket.
_TOKEN = re.compile(
    r"(?P<text>'(?:[^']|'')*')|(?P<refused>[`\"]|--|/\*)|(?P<number>\d[\w.]*)"
    r"|(?P<name>[A-Za-z_]\w*(?:\s*\.\s*[A-Za-z_]\w*)*)(?P<call>\s*\()?"
)


def references(sql: str, view: str) -> tuple[str, ...]:
    """What the SQL of a derived feature of ``view`` names, each once, as ``view.feature`` or ``event.column``.

    >>> references("CASE WHEN count_1h > 3 THEN ABS(shop.mean_1h - event.amount) END", "card")
    ('card.count_1h', 'shop.mean_1h', 'event.amount')

    Raises:
        ValueError: if a name is quoted or has more than two parts, or there is a comment.
    """
    found: dict[str, None] = {}

    def note(name: str) -> str:
        found[name] = None
        return name

    rendered(sql, view, note)
    return tuple(found)


def rendered(sql: str, view: str, column: Callable[[str], str]) -> str:
    """The SQL with every name, as :func:`references` gives it, replaced by what ``column`` makes of it."""

    def replaced(token: re.Match[str]) -> str:
        if token["refused"]:
            raise ValueError(f"{sql!r}: write names without quotes, of which each engine has its own, and no comments")
        name = token["name"]
        if name is None or token["call"] or ("." not in name and (name != name.lower() or _WORD.fullmatch(name))):
            return token[0]
        parts = [part.strip() for part in name.split(".")]
        if len(parts) > 2:
            raise ValueError(f"{name!r} in {sql!r}: a name is feature, view.feature or event.column")
        return column(".".join(parts if len(parts) == 2 else (view, name)))

    return _TOKEN.sub(replaced, sql)


def is_reserved(name: str) -> bool:
    """Whether a lower-case name is a word of SQL, and so cannot name a feature."""
    return _WORD.fullmatch(name) is not None
