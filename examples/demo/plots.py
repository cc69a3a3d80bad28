"""Draws Matplotlib plots as small inline SVG that takes colours and fonts from the page's style sheet.

A plot is a function that paints on a Matplotlib ``Axes`` with the marks below; :func:`draw` returns the SVG. Colours
are names of the style sheet's variables (``c1`` ... ``c6``, ``bad``, ``muted``), so that plots follow the light or dark
scheme. A mark states its values in a ``<title>``, which browsers show as a tooltip.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal
from xml.etree import ElementTree as ET

import numpy as np
from matplotlib import style
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text

Paint = Callable[[Axes], None]
Point = tuple[float, float]

# Matplotlib accepts only real colours. These are placeholders that _inline_svg replaces by the style sheet's variables.
_NAMES = ("ink", "muted", "grid", "page", "odd", "strong", "bad", "c1", "c2", "c3", "c4", "c5", "c6")
COLOURS = {name: f"#c0de{number:02x}" for number, name in enumerate(_NAMES)} | {"even": "none"}
_MUTED = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
_LOOK = {
    "svg.fonttype": "none",
    "svg.hashsalt": "plot",
    "font.size": 12,
    **dict.fromkeys(_MUTED, COLOURS["muted"]),
    **dict.fromkeys(("axes.spines.left", "axes.spines.top", "axes.spines.right"), False),
    "axes.facecolor": "none",
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": COLOURS["grid"],
    "grid.linewidth": 1,
    "xtick.major.size": 4,
    "ytick.major.size": 0,
    "ytick.major.pad": 8,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "butt",
    "patch.linewidth": 1.8,
}
_WHISKER: dict[str, Any] = {"linewidth": 1.3, "alpha": 0.75}
_DASHED: dict[str, Any] = {"linewidth": 1, "linestyle": (0, (4, 4))}
# Margins around the plot area in pixels; the same for all plots, so that their left edges align.
_LEFT, _RIGHT, _TOP, _BOTTOM, _LINE = 58.0, 14.0, 8.0, 42.0, 16.0


def draw(paint: Paint, width: float, height: float, description: str, look: str = "") -> ET.Element:
    """Draw a plot as an ``<svg>`` element.

    ``width`` and ``height`` (pixels) give its aspect ratio: it scales to the width of its container. ``description`` is
    the text for screen readers, ``look`` a CSS class. The output is deterministic.
    """
    with style.context(["default", _LOOK]):
        figure = Figure((width / 72, height / 72), dpi=72, frameon=False)
        figure.subplots_adjust(_LEFT / width, _BOTTOM / height, 1 - _RIGHT / width)
        ax = figure.add_subplot()
        paint(ax)
        # The label of the y axis is in the top corner; labels of lines and spans are between it and the plot area.
        ax.yaxis.label.set(rotation=0, ha="left", va="top")
        ax.yaxis.set_label_coords(0, 1, transform=figure.transFigure)
        lines_above = bool(ax.get_ylabel()) + bool(ax.texts)
        figure.subplots_adjust(top=1 - (_TOP + lines_above * _LINE) / height)
        _hide_overlapping(ax.get_xticklabels())
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = _inline_svg(file.getvalue())
    svg.attrib = {"class": f"plot {look}".strip(), "viewBox": f"0 0 {width:g} {height:g}"}
    svg.attrib |= {"role": "img", "aria-label": description}
    return svg


def line(ax: Axes, points: Sequence[Point], colour: str, **options: Any) -> None:
    """Points joined by a line, with a gap where y is NaN; ``options`` are those of ``Axes.plot``."""
    _set_tooltip(ax.plot([x for x, _ in points], [y for _, y in points], color=COLOURS[colour], **options)[0])


def band(ax: Axes, points: Sequence[tuple[float, float, float]], colour: str) -> None:
    """The area between two lines, given as (x, low, high), cut at the edges of the plot area."""
    limits = ax.get_ylim()
    x = [x for x, _, _ in points]
    lows, highs = ([_clamp(y, limits) for y in ys] for ys in ([p[1] for p in points], [p[2] for p in points]))
    _set_tooltip(ax.fill([*x, *reversed(x)], [*lows, *reversed(highs)], color=COLOURS[colour], alpha=0.16, lw=0)[0])
    for edge in (lows, highs):
        ax.plot(x, edge, color=COLOURS[colour], linewidth=1.3)


def dashed_line(ax: Axes, points: Sequence[Point], colour: str = "muted") -> None:
    """A dashed line through points."""
    ax.plot([x for x, _ in points], [y for _, y in points], color=COLOURS[colour], **_DASHED)


def histogram(ax: Axes, edges: Iterable[float], heights: Iterable[float], floor: float, colour: str) -> None:
    """A histogram, filled down to ``floor``."""
    edges, tops = np.clip(list(edges), *ax.get_xlim()), np.maximum(list(heights), floor)
    ax.stairs(tops, edges, baseline=floor, fill=True, color=COLOURS[colour], alpha=0.13)
    _set_tooltip(ax.stairs(tops, edges, baseline=floor, color=COLOURS[colour]))


def bar(ax: Axes, y: float, value: float, spread: Point, colour: str, tip: str) -> None:
    """A bar from 0 to ``value`` on a row, with a whisker over ``spread``."""
    _set_tooltip(ax.barh(y, value, 0.36, color=COLOURS[colour], linewidth=0)[0], tip, "mark bar")
    ax.plot(spread, (y, y), color=COLOURS["ink"], **_WHISKER)


def dot(ax: Axes, x: float, y: float, colour: str, tip: str, marker: str = "o", *, hollow: bool = False) -> None:
    """A point with a Matplotlib marker; a point outside the plot area is drawn at its edge."""
    own, page = COLOURS[colour], COLOURS["page"]
    edge, wide = (own, 1.8) if hollow or marker == "x" else (page, 1)
    place = _clamp(x, ax.get_xlim()), _clamp(y, ax.get_ylim())
    _set_tooltip(ax.plot(*place, marker, ms=8, mfc=page if hollow else own, mec=edge, mew=wide)[0], tip)


def whisker(ax: Axes, x: float, spread: Point, colour: str) -> None:
    """A thin vertical line over ``spread``, cut at the edges of the plot area."""
    x, limits = _clamp(x, ax.get_xlim()), ax.get_ylim()
    ax.plot((x, x), [_clamp(y, limits) for y in spread], color=COLOURS[colour], **_WHISKER)


def vertical_line(
    ax: Axes, at: float, label: str, colour: str = "muted", side: Literal["left", "right"] | None = None
) -> None:
    """A dashed vertical line with a label above it; by default the label is on the side with more room."""
    at = _clamp(at, ax.get_xlim())
    along = ax.transAxes.inverted().transform(ax.transData.transform((at, 0)))[0]
    ax.axvline(at, color=COLOURS[colour], **_DASHED)
    _label_above(ax, at, label, colour, side or ("right" if along < 0.5 else "left"))


def span(ax: Axes, low: float, high: float, label: str, look: str = "odd") -> None:
    """A shaded range of the x axis; ``look`` is even, odd or strong. Only strong ones keep a label that is too wide."""
    shaded = ax.axvspan(low, high, color=COLOURS[look], linewidth=0, zorder=0)
    _set_tooltip(shaded, label, "span")
    name = _label_above(ax, low, label, "muted", "right")
    if look != "strong" and name.get_window_extent().width + 4 > shaded.get_window_extent().width:
        name.remove()


def diagonal(ax: Axes) -> None:
    """The dashed line y = x."""
    (x_low, x_high), (y_low, y_high) = ax.get_xlim(), ax.get_ylim()
    ends = max(x_low, y_low), min(x_high, y_high)
    ax.plot(ends, ends, color=COLOURS["muted"], **_DASHED)


def hover_column(ax: Axes, low: float, high: float, tip: str) -> None:
    """An invisible column over a range of the x axis, with a tooltip."""
    column = Rectangle((low, 0), high - low, 1, color="none", transform=ax.get_xaxis_transform(), zorder=9)
    _set_tooltip(ax.add_artist(column), tip, "hover")


def _set_tooltip(artist: Artist, tip: str = "", look: str = "mark") -> None:
    """Set the class and tooltip of the artist's SVG group, encoded in its id; :func:`_inline_svg` decodes them."""
    artist.set_gid(json.dumps([look, tip]))


def _label_above(ax: Axes, x: float, label: str, colour: str, side: Literal["left", "right"]) -> Text:
    shift, anchor = (2, "left") if side == "right" else (-2, "right")
    place: dict[str, Any] = {"xycoords": ax.get_xaxis_transform(), "textcoords": "offset points", "ha": anchor}
    return ax.annotate(label, (x, 1), (shift, 5), color=COLOURS[colour], **place)


def _clamp(value: float, limits: Point) -> float:
    return min(max(value, min(limits)), max(limits))


def _hide_overlapping(labels: Iterable[Text]) -> None:
    """Hide each label that would overlap the one before it."""
    free_from = -np.inf
    for label in labels:
        box = label.get_window_extent()
        label.set_visible(box.x0 >= free_from)
        free_from = box.x1 + 6 if label.get_visible() else free_from


def _inline_svg(text: str) -> ET.Element:
    """Matplotlib's SVG without ids, namespaces, global styles and fonts, and with colours as CSS variables."""
    text = re.sub(r'<style.*?</style>| xmlns(:\w+)?="[^"]*"|(?<= )xlink:(?=href=")', "", text)
    text = re.sub(r"#c0de(\w\w)", lambda match: f"var(--{_NAMES[int(match[1], 16)]})", text)
    svg = ET.fromstring(text)  # noqa: S314 - what Matplotlib has just written
    shapes = {f"#{shape.get('id')}": shape.get("d", "") for shape in svg.iter("path")}
    for node in list(svg.iter()):
        node.text, node.tail = (node.text or "").strip() or None, None
        node.attrib.pop("clip-path", None)
        name, look = node.attrib.pop("id", ""), node.attrib.pop("style", "")
        if node.tag == "use":
            place = f"translate({node.attrib.pop('x')} {node.attrib.pop('y')})"
            node.tag, node.attrib = "path", {"d": shapes[node.attrib["href"]], "transform": place}
        elif node.tag == "text":
            del node.attrib["transform"]
        node.attrib = {key: _round_numbers(value) for key, value in node.attrib.items()}
        if look := re.sub(r"(font-|fill: none)[^;]*(; )?", "", look):
            node.set("style", look)
        if name.startswith("["):
            node.attrib["class"], tip = json.loads(name)
            if tip:
                node.insert(0, ET.Element("title"))
                node[0].text = tip
    for node in svg.iter():
        node[:] = _without_bare_groups(node)
    return svg


def _without_bare_groups(node: ET.Element) -> Iterator[ET.Element]:
    """The children of a node without definitions; a group without attributes is replaced by its children."""
    for child in node:
        if child.tag == "g" and not child.attrib:
            yield from _without_bare_groups(child)
        elif child.tag != "defs":
            yield child


def _round_numbers(places: str) -> str:
    """Round coordinates to a tenth of a pixel: more digits are invisible, and would be most of a plot's size."""
    places = re.sub(r"\d+\.\d+", lambda match: f"{float(match[0]):.1f}".removesuffix(".0"), places)
    return re.sub(r"\s+(?=[A-Zz]|$)|(?<=[A-Z])\s+", "", places)
