"""Event time as people write and read it: epoch milliseconds and ISO 8601, in UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Literal

# A date, perhaps with a time after it. Python takes any separator: 2026-03-01-05:00 would be five o'clock in UTC.
_ISO = re.compile(r"[0-9W-]+([Tt ].+)?")
# By the number of digits of a time of these centuries.
_UNITS = {10: "seconds", 16: "microseconds", 19: "nanoseconds"}


def parse(text: str) -> int:
    """Epoch milliseconds of a time: 13 digits, or ISO 8601, which is in UTC unless it says otherwise.

    Other numbers are seconds, dates or mistakes more often than milliseconds, so they are refused.

    >>> parse("20260301"), parse("1772323200000")
    (1772323200000, 1772323200000)

    Raises:
        ValueError: it is neither; the message is for the person who wrote it.
    """
    if re.fullmatch(r"[1-9][0-9]{12}", text):
        return int(text)
    if re.fullmatch(r"-?[0-9]+", text) and not re.fullmatch(r"[0-9]{8}", text):
        raise ValueError(_not_milliseconds(text))
    if _ISO.fullmatch(text):
        try:
            return epoch_ms(datetime.fromisoformat(text))
        except ValueError:
            pass
    raise ValueError(f"{text!r} is neither epoch milliseconds nor ISO 8601, such as 2026-03-01T12:00:00")


def epoch_ms(time: datetime) -> int:
    """Epoch milliseconds of a time, which is in UTC unless it says otherwise.

    >>> epoch_ms(datetime(2026, 3, 1, 12, 0, 0, 850_000))
    1772366400850
    """
    return round((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)


def iso(time_ms: int) -> str:
    """ISO 8601 in UTC, to the millisecond; :func:`parse` reads it. Beyond the calendar, milliseconds.

    >>> iso(1_772_366_400_850)
    '2026-03-01T12:00:00.850Z'
    """
    time = _utc(time_ms)
    return str(time_ms) if time is None else f"{time.isoformat(timespec='milliseconds')}Z"


def readable(
    time_ms: int, precision: Literal["minutes", "seconds", "milliseconds"] = "milliseconds", zone: str = "+00:00"
) -> str:
    """Date and time in UTC, as a person reads them, and how to name UTC. Beyond the calendar, milliseconds.

    >>> readable(1_772_366_400_850, "seconds", zone=" UTC")
    '2026-03-01 12:00:00 UTC'
    """
    time = _utc(time_ms)
    return f"{time_ms} ms" if time is None else f"{time.isoformat(sep=' ', timespec=precision)}{zone}"


def rough(ms: float) -> str:
    """A duration as a person reads it: about, in a unit of which there are two at least.

    >>> rough(450_000), rough(86_400_000), rough(546_000_000), rough(900)
    ('7.5 min', '24 h', '6.3 d', '900 ms')
    """
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000)):
        if ms >= 2 * size:
            return f"{ms / size:,.0f} {unit}" if ms >= 10 * size else f"{ms / size:.1f} {unit}"
    return f"{ms:.0f} ms"


def _utc(time_ms: int) -> datetime | None:
    """The time, without a zone; None beyond the calendar."""
    try:
        return datetime.fromtimestamp(time_ms / 1000, UTC).replace(tzinfo=None)
    except (OverflowError, ValueError, OSError):
        return None


def _not_milliseconds(digits: str) -> str:
    unit = _UNITS.get(len(digits)) if digits.isdecimal() else None
    if unit is not None:
        time = iso(int(digits[:13].ljust(13, "0")))
        return f"{digits!r} looks like {unit}, and epoch milliseconds have 13 digits: if you mean {time}, write that"
    meant = iso(int(digits)) if len(digits) <= 16 else digits
    hint = "write ISO 8601, such as 2026-03-01T12:00:00" if meant == digits else f"if you mean {meant}, write that"
    return f"{digits!r} is no plausible time, as epoch milliseconds have 13 digits: {hint}"
