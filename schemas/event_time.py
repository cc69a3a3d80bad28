"""The earliest event time, and what a number in another unit looks like. The job's kernel has the same rules."""

from __future__ import annotations

EARLIEST_MS = 946_684_800_000
"""The earliest event time unless a contract says otherwise: 2000-01-01. Seconds of any year to come are before it."""
_CENTURY_ENDS_MS = 4_102_444_800_000


def latest_possible(max_future_ms: int, *clocks: int | None) -> int | None:
    """The latest time that an event can have, epoch ms; None if no clock is known.

    A producer with a wrong clock may set Kafka's timestamp as well, so the earliest clock counts.

    Args:
        max_future_ms: How far the event may be ahead of each clock.
        clocks: Epoch ms; None or negative: not known.
    """
    known = [clock for clock in clocks if clock is not None and clock >= 0]
    return min(known) + max_future_ms if known else None


def looks_like(time: int) -> str:
    """How an error goes on about a number that is no time in milliseconds of this century, but is one in another unit.

    >>> looks_like(1_772_366_400), looks_like(1_772_366_400_850_123)
    ('; it looks like seconds, not milliseconds', '; it looks like microseconds, not milliseconds')
    >>> looks_like(0)
    ''
    """
    in_ms = {"seconds": time * 1000, "microseconds": time // 1000, "nanoseconds": time // 1_000_000}
    for unit, guess in in_ms.items():
        if EARLIEST_MS <= guess < _CENTURY_ENDS_MS:
            return f"; it looks like {unit}, not milliseconds"
    return ""
