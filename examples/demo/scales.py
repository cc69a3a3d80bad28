"""Scales of Matplotlib axes: each function sets the label, limits and ticks of one axis (``ax.xaxis`` or ``ax.yaxis``).

Set up both axes before painting, because marks are placed within the limits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.scale import FuncScale, ScaleBase
from matplotlib.ticker import LogitLocator, MaxNLocator

from examples.demo.formats import clock, compact, day
from examples.demo.plots import COLOURS

Text = Callable[[float], str]

# Row names wider than this share of the plot are placed above their rows.
_NAMES_SHARE = 0.34
_TIME_TICKS = 8
_SECOND_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1_200, 1_800, 3_600)
_HOUR_MS = 3_600_000
_DATE_STEPS_MS = tuple(hours * _HOUR_MS for hours in (1, 3, 6, 12, 24, 48, 120, 168, 336, 720, 2_160, 4_320, 8_760))


def linear(axis: Axis, label: str, high: float, text: Text = compact) -> None:
    """From 0 to the first tick at or above ``high``."""
    high = high if high > 0 else 1
    ticks = MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]).tick_values(0, high)
    _set_axis(axis, label, _enclosing_ticks(ticks, 0, high), ticks, text)


def log(axis: Axis, label: str, low: float, high: float, text: Text = compact) -> None:
    """Logarithmic; the limits are the nearest 1, 2 or 5 times a power of ten at or beyond ``low`` (> 0) and ``high``.

    Ticks are powers of ten; over at most two powers of ten, also 2 and 5 times each.
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    places = [float(f"{digit}e{decade}") for decade in decades for digit in (1, 2, 5)]
    begin, end = _enclosing_ticks(places, low, high)
    _set_axis(axis, label, (begin, end), places if end / begin <= 100 else places[::3], text, "log")


def from_zero(axis: Axis, label: str, high: float) -> None:
    """Logarithmic in value + 1, so that it includes 0; up to the first power of ten at or above ``high``."""
    last = max(1, math.ceil(math.log10(max(high, 1))))
    ticks = [0.0, *(10.0**n for n in range(1, last + 1, 1 if last <= 5 else 2))]
    _set_axis(axis, label, (0, 10.0**last), ticks, compact, FuncScale(axis, (np.log1p, np.expm1)))


def probability(axis: Axis, label: str, low: float, high: float) -> None:
    """A range within 0 to 1 (both excluded) on the logit scale, which spreads both ends."""
    _set_axis(axis, label, (low, high), LogitLocator().tick_values(low, high), "{:g}".format, "logit")


def seconds(axis: Axis, label: str, high: float, low: float = 0) -> None:
    """Seconds from ``low`` to ``high``; as minutes and seconds if ``high`` is over two minutes."""
    ticks = _multiples(_SECOND_STEPS, low, high)
    _set_axis(axis, label, (low, high), ticks, clock if high > 120 else "{:.0f} s".format)


def dates(axis: Axis, label: str, low_ms: float, high_ms: float) -> None:
    """Epoch milliseconds as dates (UTC), with the hour if ticks are less than a day apart."""
    ticks = _multiples(_DATE_STEPS_MS, low_ms, high_ms)
    with_hour = any(tick % (24 * _HOUR_MS) for tick in ticks)
    _set_axis(axis, label, (low_ms, high_ms), ticks, lambda ms: day(ms, with_hour=with_hour))


def rows(ax: Axes, names: Sequence[str]) -> list[float]:
    """Divide the y axis into one row for each name, from the top down; return the y of each row's marks.

    Names are to the left of their rows, or above them if they are too long.
    """
    figure = ax.get_figure(root=True)
    assert figure is not None
    ax.set_ylim(max(1, len(names)), 0)
    ax.set_yticks([n + 0.5 for n in range(len(names))], names)
    ax.tick_params("y", labelcolor=COLOURS["ink"])
    widest = max((label.get_window_extent().width for label in ax.get_yticklabels()), default=0)
    above = widest > _NAMES_SHARE * figure.bbox.width
    if above:
        ax.set_yticks([n + 0.22 for n in range(len(names))], names, ha="left")
        ax.tick_params("y", pad=0)
        ax.grid(visible=False)
    figure.subplots_adjust(left=(10 if above else widest + 12) / figure.bbox.width)
    return [n + (0.72 if above else 0.5) for n in range(len(names))]


def _enclosing_ticks(ticks: Iterable[float], low: float, high: float) -> tuple[float, float]:
    """The last tick at or below ``low`` and the first at or above ``high``, with a relative tolerance of 1e-9."""
    begin = max(tick for tick in ticks if tick <= low * (1 + 1e-9))
    return begin, min(tick for tick in ticks if tick >= high * (1 - 1e-9) and tick > begin)


def _multiples(steps: Sequence[int], low: float, high: float) -> range:
    """Multiples within the limits of the first step that gives at most ``_TIME_TICKS`` ticks, else of the last step."""
    step = next((step for step in steps if (high - low) / step <= _TIME_TICKS), steps[-1])
    return range(math.ceil(low / step) * step, math.floor(high) + 1, step)


def _set_axis(
    axis: Axis,
    label: str,
    limits: tuple[float, float],
    ticks: Iterable[float],
    text: Text,
    scale: str | ScaleBase = "linear",
) -> None:
    which, inside = "x" if axis is axis.axes.xaxis else "y", [tick for tick in ticks if limits[0] <= tick <= limits[1]]
    axis.axes.set(**{f"{which}scale": scale, f"{which}lim": limits, f"{which}label": label})
    axis.set_ticks(inside, [text(tick) for tick in inside])
    axis.set_ticks([], minor=True)
