r"""Patterns of JSON Schema (ECMA 262) in the syntax that all readers of a contract match alike. Pure."""

from __future__ import annotations

import re

from schemas.patterns import check_pattern

# What each means in ECMA 262, of one character.
_CLASSES = {r"\d": "0-9", r"\w": "A-Za-z0-9_"}
_ELSE = {r"\D": "[^0-9]", r"\W": "[^A-Za-z0-9_]", ".": "[^\\n\\r\u2028\u2029]"}
_PART = re.compile(r"\\.|.", re.DOTALL)


def common_pattern(pattern: str) -> str:
    r"""The pattern with ``\d``, ``\w`` and ``.`` written out.

    >>> common_pattern(r"^\d{2}-[\w.]+$")
    '^[0-9]{2}-[A-Za-z0-9_.]+$'

    Raises:
        ValueError: it has something else that readers do not match alike.
    """
    found: list[str] = []
    parts = _PART.findall(pattern)
    begin = None  # of the set that is open
    for at, part in enumerate(parts):
        if begin is None:
            found.append(f"[{_CLASSES[part]}]" if part in _CLASSES else _ELSE.get(part, part))
            begin = at if part == "[" else None
            continue
        if part in _CLASSES and _is_range(parts, at, begin):
            raise ValueError(f"{part} is no end of a range of characters")
        found.append(_CLASSES.get(part, part))
        begin = None if part == "]" else begin
    common = "".join(found)
    check_pattern(common)
    return common


def _is_range(parts: list[str], at: int, begin: int) -> bool:
    """Whether a hyphen beside a part of a set is neither its first nor its last character."""
    before = parts[at - 1] == "-" and parts[begin + 1 : at] not in (["-"], ["^", "-"])
    after = parts[at + 1 : at + 2] == ["-"] and parts[at + 2 : at + 3] != ["]"]
    return before or after
