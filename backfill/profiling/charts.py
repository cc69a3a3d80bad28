"""The small pictures of a profile's page: SVG that takes its colours from the page."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from xml.etree import ElementTree as ET

from backfill.profiling.bins import Bar, Number
from backfill.profiling.measured import REFERENCE, Change, Profile, Worth
from backfill.profiling.statistics import Numbers
from backfill.profiling.wording import brief, moment, share, shown

_WIDTH, _HEIGHT = 360, 120
_LEFT, _RIGHT = 62, 8
_FULL = 560
# More names than these cannot be read beside each other.
_MATRIX = 60
_FAINT = 0.05
# Of a 90th percentile so far from the median, a linear scale would hide what the median does.
_WIDE = 4


def element(parent: ET.Element, tag: str, text: str | None = None, **attributes: str) -> ET.Element:
    """A new child with a text; ``class_`` is its class, and ``_`` in other names stands for ``-``."""
    names = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
    child = ET.SubElement(parent, tag, names)
    child.text = text
    return child


def histogram(parent: ET.Element, bars: Sequence[Bar], scale: str | None) -> None:
    """A bar for each group of values, all of one width, with the ends of some of them below."""
    svg = _svg(parent, _WIDTH, _HEIGHT, "distribution of values")
    total, most = sum(bar.rows for bar in bars) or 1, max(bar.rows for bar in bars) or 1
    top, bottom = 14, _HEIGHT - 18
    width = min(_WIDTH / len(bars), 60)
    for place, bar in enumerate(bars):
        height = bar.rows / most * (bottom - top)
        is_tail = scale == "clipped" and place in (0, len(bars) - 1)
        rect = _rect(svg, place * width + 0.5, bottom - height, max(width - 1, 0.5), height, "tail" if is_tail else "b")
        of = shown(bar.high) if scale == "values" or bar.low == bar.high else f"{shown(bar.low)} to {shown(bar.high)}"
        element(rect, "title", f"{of}: {bar.rows:,} rows, {share(bar.rows / total)}")
    _line(svg, 0, bottom, len(bars) * width, bottom, "axis")
    _text(svg, 0, 10, f"{share(most / total)} at most in one bar", "start")
    for place in sorted({0, len(bars) // 2, len(bars) - 1}):
        value: Number = bars[place].high if place or scale == "values" else bars[0].low
        at = place * width + (width / 2 if scale == "values" else width if place else 0)
        anchor = (
            "middle" if 0 < place < len(bars) - 1 or (scale == "values" and width > 30) else "end" if place else "start"
        )
        _text(svg, at, _HEIGHT - 4, brief(value), anchor)


def spark(parent: ET.Element, rows: Sequence[int]) -> None:
    """The outline of a distribution, for a cell of a table."""
    svg, most = _svg(parent, 96, 22, "distribution"), max(rows, default=0) or 1
    width = min(96 / max(len(rows), 1), 16)
    for place, count in enumerate(rows):
        height = count / most * 21
        _rect(svg, place * width, 22 - height, max(width - 0.6, 0.4), height, "b")


def strip(parent: ET.Element, profile: Profile) -> None:
    """How each slice of time differs from the first ones, for a cell of a table."""
    svg = _svg(parent, 100, 14, "change over time")
    for place, one in enumerate(profile.slices):
        rect = _rect(svg, place * 5, 1, 4.2, 12, one.change.name.lower())
        element(rect, "title", one.change.value + ("" if one.psi is None else f", PSI {one.psi:.2f}"))


def over_time(parent: ET.Element, profile: Profile, begins: Sequence[int]) -> None:
    """Median and 90th percentile, nulls, change and worth of each slice of time, below each other."""
    has_values = profile.scale is not None and profile.present > 0
    has_nulls = profile.nulls > 0
    has_worth = profile.worth is not None and any(one.worth for one in profile.slices)
    heights = [74 * has_values, 34 * has_nulls, 46, 62 * has_worth]
    svg = _svg(parent, _FULL, sum(heights) + 12 * sum(map(bool, heights)) + 14, "over time")
    top = 8
    if has_values:
        _values(svg, profile, top, heights[0])
        top += heights[0] + 12
    if has_nulls:
        _nulls(svg, profile, top, heights[1])
        top += heights[1] + 12
    _changes(svg, profile, top, heights[2])
    top += heights[2] + 12
    if has_worth and profile.worth is not None:
        _worths(svg, profile, profile.worth, top, heights[3])
        top += heights[3] + 12
    span = begins[-1] - begins[0]
    _text(svg, _LEFT, top + 4, moment(begins[0], span), "start")
    _text(svg, _FULL - _RIGHT, top + 4, moment(begins[-1], span), "end")


def _values(svg: ET.Element, profile: Profile, top: float, height: float) -> None:
    slices = profile.slices
    finite = [
        value for one in slices for value in (one.median, one.p90) if value is not None and math.isfinite(float(value))
    ]
    if not finite:
        return
    low, high = float(min(finite)), float(max(finite))
    scale = _scale(low, high, top, height)
    if low > 0 and high / low > _WIDE:
        logarithmic = _scale(math.log(low), math.log(high), top, height)
        _text(svg, _LEFT - 6, top + height / 2 + 4, "log scale", "end")

        def scale(value: float) -> float:
            return logarithmic(math.log(value))

    _text(svg, _LEFT - 6, top + 8, brief(max(finite)), "end")
    _text(svg, _LEFT - 6, top + height, brief(min(finite)), "end")
    _line(svg, _LEFT, top + height, _FULL - _RIGHT, top + height, "axis")
    for name, values in (("p90", [one.p90 for one in slices]), ("median", [one.median for one in slices])):
        line: list[str] = []
        for place, value in enumerate([*values, None]):
            if value is not None and math.isfinite(float(value)):
                line.append(f"{_middle(place):.1f},{scale(float(value)):.1f}")
                continue
            if len(line) == 1:
                x, y = line[0].split(",")
                element(svg, "circle", cx=x, cy=y, r="2", class_=f"{name} dot")
            elif line:
                element(svg, "polyline", points=" ".join(line), class_=name)
            line = []
    for place, one in enumerate(slices):
        text = f"median {shown(one.median)}, 90th percentile {shown(one.p90)}, {one.rows:,} rows"
        element(_rect(svg, _begin(place), top, _width(), height, "hover"), "title", text)


def _nulls(svg: ET.Element, profile: Profile, top: float, height: float) -> None:
    most = max(one.null_share for one in profile.slices) or 1.0
    _text(svg, _LEFT - 6, top + 8, share(most), "end")
    _text(svg, _LEFT - 6, top + height, "nulls", "end")
    _line(svg, _LEFT, top + height, _FULL - _RIGHT, top + height, "axis")
    for place, one in enumerate(profile.slices):
        tall = one.null_share / most * height
        rect = _rect(svg, _begin(place) + 1, top + height - tall, _width() - 2, tall, "null")
        element(rect, "title", f"null in {share(one.null_share)} of {one.rows:,} rows")


def _changes(svg: ET.Element, profile: Profile, top: float, height: float) -> None:
    most = max([one.psi for one in profile.slices if one.psi is not None] + [0.3])
    bottom = top + height
    _text(svg, _LEFT - 6, top + 8, f"{most:.2f}", "end")
    _text(svg, _LEFT - 6, bottom, "PSI", "end")
    _line(svg, _LEFT, bottom, _FULL - _RIGHT, bottom, "axis")
    for place, one in enumerate(profile.slices):
        if one.psi is None:
            rect = _rect(svg, _begin(place) + 1, bottom - 5, _width() - 2, 5, one.change.name.lower())
            element(rect, "title", f"{one.change.value}, {one.rows:,} rows")
            continue
        tall = max(one.psi, 0.0) / most * height
        rect = _rect(svg, _begin(place) + 1, bottom - tall, _width() - 2, tall, one.change.name.lower())
        element(rect, "title", f"PSI {one.psi:.3f}, a change beyond {one.limit:.2f}; {one.rows:,} rows")
        if one.limit is not None and one.limit <= most:
            y = bottom - one.limit / most * height
            _line(svg, _begin(place), y, _begin(place) + _width(), y, "limit")
    if any(one.change is Change.REFERENCE for one in profile.slices):
        _text(svg, _begin(REFERENCE) - _width() * REFERENCE / 2, bottom - 9, "compared with", "middle")


def _worths(svg: ET.Element, profile: Profile, worth: Worth, top: float, height: float) -> None:
    known = [one.worth for one in profile.slices if one.worth is not None]
    neutral = 0.5 if worth.measure == "AUC" else 0.0
    low, high = min(neutral, *(one.low for one in known)), max(neutral, *(one.high for one in known))
    scale = _scale(low, high, top, height)
    _text(svg, _LEFT - 6, top + 8, f"{high:.2f}", "end")
    _text(svg, _LEFT - 6, top + height, f"{low:.2f}", "end")
    _text(svg, _LEFT - 6, top + height / 2 + 4, worth.measure if worth.measure != "information" else "info.", "end")
    _line(svg, _LEFT, scale(neutral), _FULL - _RIGHT, scale(neutral), "limit")
    for place, one in enumerate(profile.slices):
        if one.worth is None:
            continue
        x, text = _middle(place), f"{one.worth.estimate:.3f} ({one.worth.low:.3f} to {one.worth.high:.3f})"
        _line(svg, x, scale(one.worth.low), x, scale(one.worth.high), "whisker")
        dot = element(svg, "circle", cx=f"{x:.1f}", cy=f"{scale(one.worth.estimate):.1f}", r="2.6", class_="b")
        element(dot, "title", text)


def matrix(parent: ET.Element, names: Sequence[str], rho: Numbers) -> int:
    """The lower half of a matrix of correlations, and names at its left. Returns how many features it shows."""
    strongest = sorted(range(len(names)), key=lambda one: (-_strongest(rho, one), one))[:_MATRIX]
    kept = sorted(strongest)
    size = 14 if len(kept) > 25 else 20
    left = 8 + round(6.3 * max(len(names[one]) for one in kept))
    svg = _svg(parent, left + size * len(kept) + 4, size * len(kept) + 4, "rank correlations")
    for row, i in enumerate(kept):
        _text(svg, left - 6, row * size + size * 0.72, names[i], "end")
        _rect(svg, left + row * size, row * size, size - 1, size - 1, "self")
        for column, j in enumerate(kept[:row]):
            value = float(rho[i, j])
            if math.isnan(value) or abs(value) < _FAINT:
                continue
            kind = "plus" if value >= 0 else "minus"
            rect = _rect(svg, left + column * size, row * size, size - 1, size - 1, kind)
            rect.set("fill-opacity", f"{abs(value):.2f}")
            element(rect, "title", f"{names[i]}, {names[j]}: {value:.2f}")
    return len(kept)


def _strongest(rho: Numbers, place: int) -> float:
    others = [abs(float(value)) for at, value in enumerate(rho[place]) if at != place and not math.isnan(value)]
    return max(others, default=0.0)


def _svg(parent: ET.Element, width: float, height: float, title: str) -> ET.Element:
    sizes = {"width": f"{width:.0f}", "height": f"{height:.0f}", "viewBox": f"0 0 {width:.0f} {height:.0f}"}
    svg = ET.SubElement(parent, "svg", {**sizes, "role": "img", "aria-label": title})
    svg.text = None
    return svg


def _rect(svg: ET.Element, x: float, y: float, width: float, height: float, kind: str) -> ET.Element:
    return element(
        svg, "rect", x=f"{x:.1f}", y=f"{y:.1f}", width=f"{width:.1f}", height=f"{max(height, 0):.1f}", class_=kind
    )


def _line(svg: ET.Element, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
    element(svg, "line", x1=f"{x1:.1f}", y1=f"{y1:.1f}", x2=f"{x2:.1f}", y2=f"{y2:.1f}", class_=kind)


def _text(svg: ET.Element, x: float, y: float, text: str, anchor: str) -> None:
    element(svg, "text", text, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor)


def _scale(low: float, high: float, top: float, height: float) -> Callable[[float], float]:
    """Heights of values on a panel; a half each, so that the distance of two large numbers does not overflow."""
    span = high / 2 - low / 2

    def place(value: float) -> float:
        return top + height / 2 if span == 0 else top + height - (value / 2 - low / 2) / span * height

    return place


def _width() -> float:
    return (_FULL - _LEFT - _RIGHT) / 20


def _begin(place: int) -> float:
    return _LEFT + place * _width()


def _middle(place: int) -> float:
    return _begin(place) + _width() / 2
