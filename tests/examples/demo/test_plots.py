"""Values come to lie where the axes say, ticks are sensible, and marks tell their values."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from examples.demo import axes
from examples.demo.axes import dates, from_zero, linear, log, probability, rows, seconds
from examples.demo.plots import Bar, Chart, Dot, Line, Span, draw

DAY_MS = 86_400_000


@pytest.mark.parametrize("high", [0, 0.0007, 1, 7, 4_300, 98_765])
def test_a_linear_axis_holds_all_values_with_a_few_ticks(high: float) -> None:
    axis = linear("", 0, high)
    assert axis.high >= high
    assert 2 <= len(axis.ticks) <= 8


def test_zero_has_a_place_on_an_axis_of_powers() -> None:
    axis = from_zero("", 5_000)
    assert [text for _, text in axis.ticks] == ["0", "10", "100", "1k", "10k"]
    assert axis.share(0) == 0
    assert 0 < axis.share(1) < axis.share(100) < axis.share(10_000) == 1


def test_powers_are_evenly_spaced_and_what_lies_beyond_is_at_the_end() -> None:
    axis = log("", 13, 9_000)
    assert (axis.low, axis.high) == (10, 10_000)
    assert axis.share(100) == pytest.approx(1 / 3)
    assert axis.share(0.001) == 0


def test_both_ends_of_a_probability_are_spread() -> None:
    axis = probability("", 0.001, 0.999)
    assert axis.share(0.5) == pytest.approx(0.5)
    assert axis.share(0.01) == pytest.approx(1 - axis.share(0.99))


def test_time_is_in_seconds_then_in_minutes() -> None:
    assert [text for _, text in seconds("", 0, 40).ticks][:3] == ["0 s", "5 s", "10 s"]
    assert [text for _, text in seconds("", 0, 400).ticks][:3] == ["0:00", "1:00", "2:00"]


def test_days_are_named_and_hours_where_days_are_too_coarse() -> None:
    assert [text for _, text in dates("", 0, 6 * DAY_MS).ticks][:2] == ["1 Jan", "2 Jan"]
    assert dates("", 0, DAY_MS).ticks[1][1] == "1 Jan 03:00"


def test_rows_go_down() -> None:
    axis = rows(["first", "second"])
    assert axis.share(0.5) > axis.share(1.5)


def drawn(*marks: object, y: axes.Axis | None = None) -> ET.Element:
    return draw(Chart(linear("x", 0, 10), y or linear("y", 0, 10), marks), 300, 200, "what it says")  # type: ignore[arg-type]


def test_a_gap_in_a_line_lifts_the_pen() -> None:
    line = drawn(Line([(0, 1), (1, 1), None, (5, 2), (6, 3)], "c1")).find("./path[@class='mark line c1']")
    assert line is not None
    assert line.get("d", "").count("M") == 2


def test_marks_stay_in_the_picture_and_tell_their_values() -> None:
    circle = drawn(Dot(99, -5, "c1", "far away")).find("circle")
    assert circle is not None
    assert 0 <= float(circle.get("cx", "")) <= 300
    assert 0 <= float(circle.get("cy", "")) <= 200
    assert circle.findtext("title") == "far away"


def test_a_name_that_does_not_fit_its_span_is_in_the_tooltip_alone() -> None:
    picture = drawn(Span(0, 0.5, "a very long name"), Span(1, 9, "short"))
    assert [node.text for node in picture.iter("text") if node.get("class") == "label"] == ["short"]
    assert [node.text for node in picture.iter("title")] == ["a very long name", "short"]


def test_long_names_of_rows_stand_above_them() -> None:
    name = "a_view_with_a_long_name.and_a_feature_24h"
    picture = drawn(Bar(0, 5, 4, 6, "c1", "5"), y=rows([name]))
    label, bar = (node for node in picture.iter() if node.get("class") in ("axis row", "mark bar c1"))
    assert label.get("text-anchor") is None
    assert float(label.get("y", "")) < float(bar.get("y", ""))
