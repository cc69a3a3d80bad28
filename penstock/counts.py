"""Numbers of things, as messages and tables say them."""

from __future__ import annotations


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """The number and its noun; the plural is the noun with an ``s`` unless it is given.

    >>> counted(1, "problem"), counted(12_500, "event"), counted(0, "entity", "entities")
    ('1 problem', '12,500 events', '0 entities')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
