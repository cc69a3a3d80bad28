"""Event time as people write and read it, on the command line."""

from __future__ import annotations

from datetime import UTC, datetime

import click


class EventTime(click.ParamType):
    """Epoch milliseconds, or ISO 8601 (UTC unless it says otherwise)."""

    name = "MS|ISO"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Epoch milliseconds."""
        if isinstance(value, int):
            return value
        if value.lstrip("-").isdecimal():
            return int(value)
        try:
            return epoch_ms(datetime.fromisoformat(value))
        except ValueError:
            self.fail(f"{value!r} is neither epoch milliseconds nor ISO 8601, such as 2026-03-01T12:00:00", param, ctx)


def epoch_ms(time: datetime) -> int:
    """Epoch milliseconds of a time, which is in UTC unless it says otherwise.

    >>> epoch_ms(datetime(2026, 3, 1, 12, 0, 0, 850_000))
    1772366400850
    """
    return round((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)


def iso(time_ms: int) -> str:
    """ISO 8601 in UTC, to the millisecond; :class:`EventTime` reads it back. Beyond the calendar, milliseconds.

    >>> iso(1_772_366_400_850)
    '2026-03-01T12:00:00.850Z'
    """
    try:
        return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (OverflowError, ValueError, OSError):
        return str(time_ms)
