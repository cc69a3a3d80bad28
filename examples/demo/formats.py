"""Formats numbers, durations and times as text for the plots and the page."""

from __future__ import annotations

from datetime import UTC, datetime


def compact(value: float) -> str:
    """A number short enough for a tick.

    >>> [compact(v) for v in (0, 0.25, 12, 1_500, 20_000, 3e6)]
    ['0', '0.25', '12', '1.5k', '20k', '3M']
    """
    for unit, name in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= unit:
            return f"{value / unit:g}{name}"
    return f"{value:g}"


def milliseconds(value: float) -> str:
    """A duration given in milliseconds.

    >>> [milliseconds(v) for v in (0.5, 29, 225.4, 1_000, 61_500, 90_000)]
    ['0.5 ms', '29 ms', '225 ms', '1 s', '62 s', '90 s']
    """
    if value >= 1_000:
        return f"{value / 1000:.2g} s" if value < 10_000 else f"{value / 1000:,.0f} s"
    return f"{value:.0f} ms" if value >= 1 else f"{value:g} ms"


def percent(share: float) -> str:
    """A share in percent, with three significant digits.

    >>> [percent(share) for share in (0, 0.25, 0.0123, 0.00012)]
    ['0 %', '25 %', '1.23 %', '0.012 %']
    """
    return f"{share * 100:.3g} %"


def clock(seconds: float) -> str:
    """Seconds as minutes and seconds.

    >>> clock(0), clock(125.7)
    ('0:00', '2:05')
    """
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def day(ms: float, *, with_hour: bool = False) -> str:
    """The date (UTC) of a time in epoch milliseconds.

    >>> day(1_770_249_600_000), day(1_770_249_600_000, with_hour=True)
    ('5 Feb', '5 Feb 00:00')
    """
    time = datetime.fromtimestamp(ms / 1000, UTC)
    return f"{time.day} {time:%b %H:%M}" if with_hour else f"{time.day} {time:%b}"
