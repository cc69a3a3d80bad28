"""When each event of a file is due. Pure."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

_SPEED = re.compile(r"([0-9]+(?:\.[0-9]+)?)x?")
_RATE = re.compile(r"([0-9]+(?:\.[0-9]+)?)(?:/s)?")


@dataclass(frozen=True)
class Pace:
    """How fast a file is played.

    Args:
        speed: Event time per time, such as 60 for a minute of events each second; infinite for as fast as possible.
        rate: Events per second, whatever their times; None to keep to them.
    """

    speed: float = 1.0
    rate: float | None = None

    @property
    def is_greatest(self) -> bool:
        """Whether all events are due at once."""
        return self.rate is None and math.isinf(self.speed)

    def due_s(self, sent: int, passed_ms: int) -> float:
        """How long after the first event one is due, in seconds.

        >>> Pace(speed=60).due_s(5, 120_000), Pace(rate=10).due_s(5, 120_000)
        (2.0, 0.5)

        Args:
            sent: How many come before it.
            passed_ms: The event time since the first one.
        """
        if self.rate is not None:
            return sent / self.rate
        return passed_ms / 1000 / self.speed

    def takes_s(self, events: int, passed_ms: int) -> float:
        """How long so many events take."""
        return self.due_s(max(0, events - 1), passed_ms)


def speed_of(text: str) -> float:
    """A speed as it is typed.

    >>> speed_of("60x"), speed_of("0.5"), speed_of("max")
    (60.0, 0.5, inf)

    Raises:
        ValueError: if it is none.
    """
    if text == "max":
        return math.inf
    return _positive(_SPEED.fullmatch(text), text, "a speed, such as 60x, 0.5x or max")


def rate_of(text: str) -> float:
    """A rate as it is typed.

    >>> rate_of("500/s"), rate_of("0.1")
    (500.0, 0.1)

    Raises:
        ValueError: if it is none.
    """
    return _positive(_RATE.fullmatch(text), text, "a rate, such as 500/s")


def _positive(match: re.Match[str] | None, text: str, expected: str) -> float:
    number = float(match[1]) if match is not None else 0.0
    if not 0 < number < math.inf:
        raise ValueError(f"{text!r} is not {expected}")
    return number
