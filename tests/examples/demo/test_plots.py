"""Plots of the report: positions on the scales, ticks, labels, tooltips and SVG."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from xml.etree import ElementTree as ET

import pytest
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure

from examples.demo import scales
from examples.demo.plots import bar, dot, draw, line, span

DAY_MS = 86_400_000


def scaled(scale: Callable[..., None], *limits: float) -> Axes:
    ax = Figure().add_subplot()
    scale(ax.xaxis, "", *limits)
    return ax


def ticks(ax: Axes) -> list[str]:
    return [label.get_text() for label in ax.get_xticklabels()]


def share(ax: Axes, value: float) -> float:
    """The position of a value on the x axis: 0 at its begin, 1 at its end."""
    return float(ax.transAxes.inverted().transform(ax.transData.transform((value, 0.5)))[0])


@pytest.mark.parametrize("high", [0, 0.0007, 1, 7, 4_300, 98_765])
def test_a_linear_axis_includes_all_values_and_has_2_to_8_ticks(high: float) -> None:
    ax = scaled(scales.linear, high)
    assert ax.get_xlim()[1] >= high
    assert 2 <= len(ticks(ax)) <= 8


def test_a_linear_axis_ends_at_a_tick() -> None:
    assert ticks(scaled(scales.linear, 4_300)) == ["0", "1k", "2k", "3k", "4k", "5k"]


def test_the_logarithmic_axis_of_counts_includes_zero() -> None:
    ax = scaled(scales.from_zero, 5_000)
    assert ticks(ax) == ["0", "10", "100", "1k", "10k"]
    assert share(ax, 0) == 0
    assert 0 < share(ax, 1) < share(ax, 100) < share(ax, 10_000) == pytest.approx(1)


def test_powers_of_ten_are_evenly_spaced_on_a_logarithmic_axis() -> None:
    ax = scaled(scales.log, 13, 9_000)
    assert ax.get_xlim() == (10, 10_000)
    assert share(ax, 100) == pytest.approx(1 / 3)


def test_a_logarithmic_axis_over_few_powers_of_ten_has_ticks_between_them() -> None:
    assert ticks(scaled(scales.log, 13, 900)) == ["10", "20", "50", "100", "200", "500", "1k"]
    assert ticks(scaled(scales.log, 3, 9_000)) == ["10", "100", "1k", "10k"]


def test_the_probability_axis_spreads_both_ends() -> None:
    ax = scaled(scales.probability, 0.001, 0.999)
    assert ticks(ax) == ["0.001", "0.01", "0.1", "0.5", "0.9", "0.99", "0.999"]
    assert share(ax, 0.5) == pytest.approx(0.5)
    assert share(ax, 0.01) == pytest.approx(1 - share(ax, 0.99))


def test_times_up_to_two_minutes_are_in_seconds_and_longer_ones_in_minutes() -> None:
    assert ticks(scaled(scales.seconds, 40))[:3] == ["0 s", "5 s", "10 s"]
    assert ticks(scaled(scales.seconds, 400))[:3] == ["0:00", "1:00", "2:00"]


def test_ticks_of_dates_show_the_hour_if_they_are_less_than_a_day_apart() -> None:
    assert ticks(scaled(scales.dates, 0, 6 * DAY_MS))[:2] == ["1 Jan", "2 Jan"]
    assert ticks(scaled(scales.dates, 0, DAY_MS))[1] == "1 Jan 03:00"


def test_rows_are_ordered_from_the_top_down() -> None:
    ax = Figure().add_subplot()
    first, second = (ax.transData.transform((0, y))[1] for y in scales.rows(ax, ["first", "second"]))
    assert first > second


def drawn(paint: Callable[[Axes], None], y: Callable[[Axis], None] | None = None) -> ET.Element:
    def scaled_and_painted(ax: Axes) -> None:
        scales.linear(ax.xaxis, "x", 10)
        (y or partial(scales.linear, label="y", high=10))(ax.yaxis)
        paint(ax)

    return draw(scaled_and_painted, 300, 200, "what it says")


def test_nan_makes_a_gap_in_a_line() -> None:
    path = drawn(lambda ax: line(ax, [(0, 1), (1, 1), (1, float("nan")), (5, 2), (6, 3)], "c1")).find(
        "g[@class='mark']/path"
    )
    assert path is not None
    assert path.get("d", "").count("M") == 2


def test_a_mark_outside_the_plot_area_is_drawn_at_its_edge_with_its_tooltip() -> None:
    mark = drawn(lambda ax: dot(ax, 99, -5, "c1", "far away")).find("g[@class='mark']")
    assert mark is not None
    place = re.search(r"translate\(([\d.]+) ([\d.]+)\)", ET.tostring(mark, encoding="unicode"))
    assert place
    corner = 300 - 14, 200 - 42  # without the margins
    assert (float(place[1]), float(place[2])) == corner
    assert mark.findtext("title") == "far away"


def test_a_label_that_does_not_fit_its_span_is_only_in_the_tooltip() -> None:
    def paint(ax: Axes) -> None:
        span(ax, 0, 0.5, "a very long name")
        span(ax, 1, 9, "short")

    picture = drawn(paint)
    texts = [node.text for node in picture.iter("text")]
    assert "short" in texts
    assert "a very long name" not in texts
    assert [node.text for node in picture.iter("title")] == ["a very long name", "short"]


def test_long_row_names_are_above_their_rows() -> None:
    name = "a_view_with_a_long_name.and_a_feature_24h"

    def paint(ax: Axes) -> None:
        (y,) = scales.rows(ax, [name])
        bar(ax, y, 5, (4, 6), "c1", "5")

    picture = drawn(paint)
    label = next(node for node in picture.iter("text") if node.text == name)
    path = picture.find("g[@class='mark bar']/path")
    assert path is not None
    assert "text-anchor: start" in label.get("style", "")
    assert float(label.get("y", "")) < min(float(y) for _, y in re.findall(r"([\d.]+) ([\d.]+)", path.get("d", "")))


def test_tick_labels_that_would_overlap_are_hidden() -> None:
    narrow = draw(lambda ax: scales.dates(ax.xaxis, "", 0, DAY_MS), 250, 200, "")
    texts = [node.text or "" for node in narrow.iter("text")]
    assert "1 Jan 00:00" in texts
    assert "1 Jan 03:00" not in texts


def test_colours_are_css_variables() -> None:
    style = ET.tostring(drawn(lambda ax: line(ax, [(0, 1), (1, 1)], "c4")), encoding="unicode")
    assert "stroke: var(--c4)" in style
    assert not re.search("#[0-9a-f]{6}", style)


def test_the_svg_has_no_ids_that_could_collide_on_a_page() -> None:
    picture = drawn(lambda ax: dot(ax, 5, 5, "c1", "here"))
    assert not [node for node in picture.iter() if {"id", "href"} & node.attrib.keys()]


def test_the_same_plot_gives_the_same_svg() -> None:
    first, second = (ET.tostring(drawn(lambda ax: dot(ax, 5, 5, "c1", "here"))) for _ in range(2))
    assert first == second
