"""Plots as SVG that takes its colours, fonts and line widths from the page's style sheet, and so its colour scheme.

A :class:`Chart` is two axes and marks in the order in which they are painted; :func:`draw` makes the picture. Marks
name a colour by its class (``c1`` ... ``c6``, ``bad``, ``quiet``), and tell their values in a ``<title>``, which
browsers show as a tooltip.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from examples.demo.axes import Axis
from examples.demo.markup import Element, el

Point = tuple[float, float]
Shape = Literal["circle", "square", "triangle", "diamond", "cross"]

# Widths of the style sheet's 12 px font: close enough to leave room, and never measured.
_LETTER = 6.6
_LINE = 16.0
_LEFT, _RIGHT, _BOTTOM = 58.0, 14.0, 42.0
_ROW_LABEL_SHARE = 0.34


@dataclass(frozen=True)
class Frame:
    """Where a chart's plane lies in its picture, and where values lie in it."""

    left: float
    top: float
    width: float
    height: float
    x_axis: Axis
    y_axis: Axis

    @property
    def label_y(self) -> float:
        """The height at which rules and spans are named: above the plane, where no mark is in the way."""
        return self.top - 6

    def x(self, value: float) -> float:
        """Pixels from the picture's left edge."""
        return self.left + self.width * self.x_axis.share(value)

    def y(self, value: float) -> float:
        """Pixels from the picture's top edge."""
        return self.top + self.height * (1 - self.y_axis.share(value))

    @property
    def bottom(self) -> float:
        """The plane's lower edge."""
        return self.top + self.height


class Mark(Protocol):
    """Something painted on a chart's plane."""

    def elements(self, frame: Frame) -> Iterator[Element]:
        """What to paint."""
        ...


@dataclass(frozen=True)
class Line:
    """Points joined by a line; a None in between leaves a gap. ``step`` holds each value until the next point."""

    points: Sequence[Point | None]
    colour: str
    step: bool = False

    def elements(self, frame: Frame) -> Iterator[Element]:  # noqa: D102 - as Mark says, here and below
        path, last = [], None
        for point in self.points:
            if point is None:
                last = None
                continue
            x, y = frame.x(point[0]), frame.y(point[1])
            if last is None:
                path.append(f"M{x:.1f} {y:.1f}")
            elif self.step:
                path.append(f"H{x:.1f}V{y:.1f}")
            else:
                path.append(f"L{x:.1f} {y:.1f}")
            last = point
        yield el("path", {"class": f"mark line {self.colour}", "d": "".join(path)})


@dataclass(frozen=True)
class Area:
    """The surface between two lines over the same x."""

    low: Sequence[Point]
    high: Sequence[Point]
    colour: str

    def elements(self, frame: Frame) -> Iterator[Element]:  # noqa: D102
        corners = [*self.high, *reversed(self.low)]
        points = " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in corners)
        yield el("polygon", {"class": f"mark area {self.colour}", "points": points})


@dataclass(frozen=True)
class Bar:
    """A bar along a row of the y axis, with a whisker from ``low`` to ``high`` if they differ."""

    row: int
    value: float
    low: float
    high: float
    colour: str
    tip: str

    def elements(self, frame: Frame) -> Iterator[Element]:  # noqa: D102
        middle, begin, end = frame.y(self.row + 0.5), frame.x(0), frame.x(self.value)
        thick = min(14.0, frame.height / len(frame.y_axis.ticks) * (0.34 if _labels_above(frame) else 0.62))
        shift = _LINE * 0.45 if _labels_above(frame) else 0.0
        yield el(
            "rect",
            {
                "class": f"mark bar {self.colour}",
                "x": min(begin, end),
                "y": middle - thick / 2 + shift,
                "width": max(1.0, abs(end - begin)),
                "height": thick,
                "rx": 2,
            },
            el("title", {}, self.tip),
        )
        if self.high > self.low:
            y = middle + shift
            yield el("path", {"class": "whisker", "d": f"M{frame.x(self.low):.1f} {y:.1f}H{frame.x(self.high):.1f}"})


@dataclass(frozen=True)
class Dot:
    """A point with its tooltip, and a whisker between ``low`` and ``high`` on the y axis if given."""

    x: float
    y: float
    colour: str
    tip: str
    shape: Shape = "circle"
    size: float = 5.0
    low: float | None = None
    high: float | None = None
    hollow: bool = False

    def elements(self, frame: Frame) -> Iterator[Element]:  # noqa: D102
        x, y = frame.x(self.x), frame.y(self.y) + (_LINE * 0.5 if _labels_above(frame) else 0)
        if self.low is not None and self.high is not None:
            path = f"M{x:.1f} {frame.y(self.low):.1f}V{frame.y(self.high):.1f}"
            yield el("path", {"class": f"whisker {self.colour}", "d": path})
        look = f"mark dot {self.colour}{' hollow' if self.hollow else ''}"
        yield symbol(self.shape, x, y, self.size, look, self.tip)


@dataclass(frozen=True)
class Rule:
    """A line across the plane at an x, named above it on one side."""

    at: float
    label: str
    colour: str = "quiet"
    side: Literal["right", "left"] = "right"

    def elements(self, frame: Frame) -> Iterator[Element]:  # noqa: D102
        x, wide = frame.x(self.at), len(self.label) * _LETTER
        yield el("path", {"class": f"rule {self.colour}", "d": f"M{x:.1f} {frame.top:.1f}V{frame.bottom:.1f}"})
        left = self.side == "left" or x + wide > frame.left + frame.width + _RIGHT
        place: dict[str, str | float] = {"x": x + 2 if left else x - 2, "y": frame.label_y}
        anchor = "end" if left else "start"
        yield el("text", {"class": f"label {self.colour}", "text-anchor": anchor, **place}, self.label)


@dataclass(frozen=True)
class Diagonal:
    """Where y equals x."""

    def elements(self, frame: Frame) -> Iterator[Element]:  # noqa: D102
        low, high = max(frame.x_axis.low, frame.y_axis.low), min(frame.x_axis.high, frame.y_axis.high)
        path = f"M{frame.x(low):.1f} {frame.y(low):.1f}L{frame.x(high):.1f} {frame.y(high):.1f}"
        yield el("path", {"class": "rule quiet", "d": path})


@dataclass(frozen=True)
class Span:
    """A part of the x axis, shaded by its ``look`` and named above it, if there is room or it is ``strong``."""

    low: float
    high: float
    label: str
    look: Literal["even", "odd", "strong"] = "odd"

    def elements(self, frame: Frame) -> Iterator[Element]:  # noqa: D102
        begin, end = frame.x(self.low), frame.x(self.high)
        place: dict[str, str | float] = {"x": begin, "y": frame.top, "width": end - begin, "height": frame.height}
        yield el("rect", {"class": f"span {self.look}", **place}, el("title", {}, self.label))
        if self.look == "strong" or len(self.label) * _LETTER + 8 <= end - begin:
            yield el("text", {"class": "label", "x": begin + 2, "y": frame.label_y}, self.label)


@dataclass(frozen=True)
class Readings:
    """Invisible columns, each of which tells the values there as a tooltip."""

    columns: Sequence[tuple[float, float, str]]

    def elements(self, frame: Frame) -> Iterator[Element]:  # noqa: D102
        for low, high, tip in self.columns:
            begin, end = frame.x(low), frame.x(high)
            place: dict[str, str | float] = {"x": begin, "y": frame.top, "width": end - begin, "height": frame.height}
            yield el("rect", {"class": "reading", **place}, el("title", {}, tip))


@dataclass(frozen=True)
class Chart:
    """Two axes and what is painted on their plane, first to last."""

    x: Axis
    y: Axis
    marks: tuple[Mark, ...]


def draw(chart: Chart, width: float, height: float, description: str, look: str = "") -> Element:
    """The chart as an ``<svg>`` that scales to the room it is given; ``description`` is what it says without eyes."""
    frame = _frame(chart, width, height)
    picture = el(
        "svg",
        {
            "class": f"plot {look}".strip(),
            "viewBox": f"0 0 {width:g} {height:g}",
            "role": "img",
            "aria-label": description,
        },
    )
    spans = [mark for mark in chart.marks if isinstance(mark, Span)]
    others = [mark for mark in chart.marks if not isinstance(mark, Span)]
    parts: list[Mark] = [*spans, _Grid(), *others]
    for part in parts:
        picture.extend(part.elements(frame))
    return picture


def symbol(shape: Shape, x: float, y: float, size: float, look: str, tip: str = "") -> Element:
    """A small figure around (x, y), with a tooltip if there is one."""
    children = (el("title", {}, tip),) if tip else ()
    if shape == "circle":
        return el("circle", {"class": look, "cx": x, "cy": y, "r": size}, *children)
    s = size * 1.15
    path = {
        "square": f"M{x - s:.1f} {y - s:.1f}h{2 * s:.1f}v{2 * s:.1f}h{-2 * s:.1f}z",
        "triangle": f"M{x:.1f} {y - 1.2 * s:.1f}l{1.2 * s:.1f} {2.1 * s:.1f}h{-2.4 * s:.1f}z",
        "diamond": f"M{x:.1f} {y - 1.4 * s:.1f}l{1.3 * s:.1f} {1.4 * s:.1f}l{-1.3 * s:.1f} {1.4 * s:.1f}"
        f"l{-1.3 * s:.1f} {-1.4 * s:.1f}z",
        "cross": f"M{x - s:.1f} {y - s:.1f}l{2 * s:.1f} {2 * s:.1f}m0 {-2 * s:.1f}l{-2 * s:.1f} {2 * s:.1f}",
    }[shape]
    return el("path", {"class": f"{look} {shape}", "d": path}, *children)


def _frame(chart: Chart, width: float, height: float) -> Frame:
    longest = max((len(text) for _, text in chart.y.ticks), default=0) * _LETTER
    # Charts under one another have their left edges in line.
    left = 10.0 if chart.y.rows and longest > width * _ROW_LABEL_SHARE else max(_LEFT, longest + 12)
    named = any(isinstance(mark, Rule | Span) for mark in chart.marks)
    top = (_LINE if chart.y.label else 0) + (_LINE if named else 0) + 6
    return Frame(left, top, width - left - _RIGHT, height - top - _BOTTOM, chart.x, chart.y)


def _labels_above(frame: Frame) -> bool:
    """Names of rows that would take too much of the width stand above what they name."""
    return frame.y_axis.rows and frame.left <= 10


class _Grid:
    """Ticks, their lines, and the names of the axes."""

    def elements(self, frame: Frame) -> Iterator[Element]:
        x_axis, y_axis = frame.x_axis, frame.y_axis
        yield from self._across(frame)
        for value, text in self._readable(frame):
            x = frame.x(value)
            yield el("path", {"class": "tick", "d": f"M{x:.1f} {frame.bottom:.1f}v4"})
            half = len(text) * _LETTER / 2
            inside = min(x, frame.left + frame.width + _RIGHT - half)
            yield el("text", {"class": "axis", "x": inside, "y": frame.bottom + 18, "text-anchor": "middle"}, text)
        yield el("path", {"class": "base", "d": f"M{frame.left:.1f} {frame.bottom:.1f}h{frame.width:.1f}"})
        middle = frame.left + frame.width / 2
        name: dict[str, str | float] = {"x": middle, "y": frame.bottom + 35, "text-anchor": "middle"}
        yield el("text", {"class": "axis name", **name}, x_axis.label)
        if y_axis.label:
            yield el("text", {"class": "axis name", "x": 0, "y": 12}, y_axis.label)

    def _across(self, frame: Frame) -> Iterator[Element]:
        rows = frame.y_axis.rows
        for value, text in frame.y_axis.ticks:
            y = frame.y(value)
            if _labels_above(frame):
                row = frame.height / len(frame.y_axis.ticks)
                yield el("text", {"class": "axis row", "x": frame.left, "y": y - row / 2 + 13}, text)
                continue
            yield el("path", {"class": "grid", "d": f"M{frame.left:.1f} {y:.1f}h{frame.width:.1f}"})
            place: dict[str, str | float] = {"x": frame.left - 8, "y": y + 4, "text-anchor": "end"}
            yield el("text", {"class": "axis row" if rows else "axis", **place}, text)

    def _readable(self, frame: Frame) -> Iterator[tuple[float, str]]:
        """The x ticks that do not run into the one before."""
        free_from = -1.0
        for value, text in frame.x_axis.ticks:
            x, half = frame.x(value), len(text) * _LETTER / 2
            if x - half >= free_from:
                free_from = x + half + 8
                yield value, text
