"""Axes: from values to places, and where the ticks go. Pure arithmetic."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

Scale = Literal["linear", "log", "from zero", "logit"]
Tick = tuple[float, str]

_SECOND_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1_200, 1_800, 3_600)
_HOUR_MS = 3_600_000
_DATE_STEPS_MS = tuple(hours * _HOUR_MS for hours in (1, 3, 6, 12, 24, 48, 120, 168, 336, 720, 2_160, 4_320, 8_760))
_LOGIT_TICKS = (1e-5, 1e-4, 1e-3, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999)


@dataclass(frozen=True)
class Axis:
    """Values from ``low`` to ``high``, put to scale.

    ``from zero`` is logarithmic in value + 1, so that 0 has a place; ``logit`` spreads both ends of 0 to 1.
    ``rows`` marks an axis of names: a tick each, low to high from the top down.
    """

    label: str
    low: float
    high: float
    ticks: tuple[Tick, ...]
    scale: Scale = "linear"
    rows: bool = False

    def share(self, value: float) -> float:
        """How far along the axis: 0 at ``low``, 1 at ``high``; what lies beyond is at the end."""
        put = _SCALES[self.scale]
        low, high = put(self.low), put(self.high)
        along = (put(min(max(value, self.low), self.high)) - low) / (high - low) if high > low else 0.5
        return 1 - along if self.rows else along


_SCALES: dict[Scale, Callable[[float], float]] = {
    "linear": lambda value: value,
    "log": math.log10,
    "from zero": lambda value: math.log10(value + 1),
    "logit": lambda value: math.log10(value / (1 - value)),
}


def linear(label: str, low: float, high: float, *, ticks: int = 5, text: Callable[[float], str] | None = None) -> Axis:
    """From ``low`` to the first tick at or above ``high``.

    >>> linear("events/s", 0, 4_300).ticks
    ((0.0, '0'), (1000.0, '1k'), (2000.0, '2k'), (3000.0, '3k'), (4000.0, '4k'), (5000.0, '5k'))
    """
    high = high if high > low else low + 1
    step = _nice((high - low) / ticks)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    write = text or compact
    values = [round(n * step, 12) for n in range(first, last + 1)]
    return Axis(label, values[0], values[-1], tuple((value, write(value)) for value in values))


def log(label: str, low: float, high: float, *, text: Callable[[float], str] | None = None) -> Axis:
    """From the 1, 2 or 5 of a power of ten at or below ``low`` (> 0) to the one at or above ``high``.

    Ticks are powers of ten, and the 2 and 5 of each where there are few of those.

    >>> [text for _, text in log("", 13, 900).ticks], [text for _, text in log("", 3, 9_000).ticks]
    (['10', '20', '50', '100', '200', '500', '1k'], ['10', '100', '1k', '10k'])
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(max(high, low))) + 1)
    places = [float(f"{digit}e{decade}") for decade in decades for digit in (1, 2, 5)]
    begin = max(place for place in places if place <= low * (1 + 1e-9))
    end = min(place for place in places if place >= high * (1 - 1e-9) and place > begin)
    write, fine = text or compact, end / begin <= 100
    ticks = tuple((p, write(p)) for p in places if begin <= p <= end and (fine or _is_power(p)))
    return Axis(label, begin, end, ticks, "log")


def from_zero(label: str, high: float) -> Axis:
    """From 0, through the powers of ten, to the one at or above ``high``."""
    last = max(1, math.ceil(math.log10(max(high, 1))))
    every = 1 if last <= 5 else 2
    powers = [10.0**n for n in range(1, last + 1, every)]
    return Axis(label, 0, 10.0**last, ((0, "0"), *((value, compact(value)) for value in powers)), "from zero")


def probability(label: str, low: float, high: float) -> Axis:
    """Part of 0 to 1 (both excluded) on the logit scale."""
    ticks = tuple((value, f"{value:g}") for value in _LOGIT_TICKS if low <= value <= high)
    return Axis(label, low, high, ticks, "logit")


def seconds(label: str, low: float, high: float, *, ticks: int = 8) -> Axis:
    """Seconds of a run; minutes and seconds from two minutes on."""
    step = next((s for s in _SECOND_STEPS if (high - low) / s <= ticks), _SECOND_STEPS[-1])
    values = range(math.ceil(low / step) * step, math.floor(high) + 1, step)
    minutes = high > 120
    return Axis(label, low, high, tuple((v, f"{v // 60}:{v % 60:02}" if minutes else f"{v} s") for v in values))


def dates(label: str, low_ms: float, high_ms: float, *, ticks: int = 8) -> Axis:
    """Epoch milliseconds as days of the year (UTC), with the hour where days are too coarse."""
    step = next((s for s in _DATE_STEPS_MS if (high_ms - low_ms) / s <= ticks), _DATE_STEPS_MS[-1])
    values = range(math.ceil(low_ms / step) * step, math.floor(high_ms) + 1, step)
    return Axis(label, low_ms, high_ms, tuple((v, day(v, with_hour=step < 24 * _HOUR_MS)) for v in values))


def rows(names: list[str]) -> Axis:
    """One row for each name, from the top down; row n is at n + 0.5."""
    return Axis("", 0, len(names), tuple((n + 0.5, name) for n, name in enumerate(names)), rows=True)


def day(ms: float, *, with_hour: bool = False) -> str:
    """A date as people say it.

    >>> day(1_770_249_600_000), day(1_770_249_600_000, with_hour=True)
    ('5 Feb', '5 Feb 00:00')
    """
    time = datetime.fromtimestamp(ms / 1000, UTC)
    return f"{time.day} {time:%b %H:%M}" if with_hour else f"{time.day} {time:%b}"


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
    """A share in percent, with as many digits as it needs.

    >>> [percent(share) for share in (0, 0.25, 0.0123, 0.00012)]
    ['0 %', '25 %', '1.23 %', '0.012 %']
    """
    return f"{share * 100:.3g} %"


def _is_power(value: float) -> bool:
    return f"{value:e}".startswith("1.0")


def _nice(step: float) -> float:
    """The first of 1, 2, 2.5, 5 times a power of ten that is not less."""
    power: float = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= step * (1 - 1e-9))
