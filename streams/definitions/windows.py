"""Durations and windows of definitions."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from streams.definitions.base import Definition

_UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_FRIENDLY_HOPS_MS = [
    *(n * 1_000 for n in (1, 2, 5, 10, 15, 30)),
    *(n * 60_000 for n in (1, 2, 5, 10, 15, 30)),
    *(n * 3_600_000 for n in (1, 2, 3, 6, 12)),
    86_400_000,
]
# A lifetime window is one of 146 million years in tiles of half that size. All rules of windows then apply to it, the
# sum of its size and a present-day time fits 64 bits, and an entity has one tile (two, with events before 1970).
LIFETIME_MS = 2**62
_LIFETIME_HOP_MS = 2**61


def duration_ms(text: str | int) -> int:
    """The milliseconds of ``"90s"``, ``"5m"``, ``"24h"`` or ``"7d"``; an int is milliseconds already.

    >>> duration_ms("5m")
    300000
    """
    if isinstance(text, int):
        return text
    match = re.fullmatch(r"(\d+)(ms|s|m|h|d)", str(text))
    if not match or int(match[1]) == 0:
        raise ValueError(f"{text!r} is not a duration; write a number and a unit, such as 30s, 5m, 24h or 7d")
    return int(match[1]) * _UNITS_MS[match[2]]


def duration_text(ms: int) -> str:
    """A duration in the largest unit that divides it, readable by :func:`duration_ms`; or ``lifetime``.

    >>> duration_text(300_000), duration_text(90_000), duration_text(1_500), duration_text(LIFETIME_MS)
    ('5m', '90s', '1500ms', 'lifetime')
    """
    if ms == LIFETIME_MS:
        return "lifetime"
    unit, size = max(((u, s) for u, s in _UNITS_MS.items() if ms % s == 0), key=lambda pair: pair[1])
    return f"{ms // size}{unit}"


def default_hop_ms(window_ms: int) -> int:
    """The hop of a window that defines none: about W/60, rounded down to a calendar-friendly value.

    >>> default_hop_ms(duration_ms("24h")) == duration_ms("15m")
    True
    """
    return max((hop for hop in _FRIENDLY_HOPS_MS if hop * 60 <= window_ms), default=max(1, window_ms // 60))


Duration = Annotated[int, BeforeValidator(duration_ms), Field(gt=0, le=LIFETIME_MS)]


class Window(Definition):
    """A sliding window of ``size`` that moves in steps of ``hop`` (epoch aligned); both in milliseconds.

    ``Window.of("lifetime")`` never drops an event: it has all events of the entity.
    """

    size: Duration
    hop: Duration = 0
    label: str = ""

    @classmethod
    def of(cls, text: str, hop: str | None = None) -> Window:
        """A window from its text: ``Window.of("1h")``, ``Window.of("1h", hop="30s")`` or ``Window.of("lifetime")``."""
        if text == "lifetime":
            if hop is not None:
                raise ValueError(f"a lifetime has no hop, got {hop!r}: no event ever leaves it")
            return cls(size=LIFETIME_MS, hop=_LIFETIME_HOP_MS, label=text)
        size = duration_ms(text)
        return cls(size=size, hop=duration_ms(hop) if hop else default_hop_ms(size), label=text)

    @model_validator(mode="after")
    def _hop_fits(self) -> Self:
        if self.hop > self.size:
            raise ValueError(f"window {self.label or self.size}: hop {self.hop} ms is longer than the window")
        return self
