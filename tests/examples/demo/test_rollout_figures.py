"""The plots of rollouts: the weight of each version over time, and what guardrails measured beside their bounds."""

from __future__ import annotations

import re
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest

from examples.demo.figures import Figure
from examples.demo.plots import draw
from examples.demo.rollout_figures import guardrails, weights
from examples.demo.rollout_record import Rollouts
from tests.examples.demo.sample_rollouts import rollouts


@pytest.fixture(scope="module")
def found() -> Rollouts:
    return rollouts()


def drawn(figure: Figure) -> ET.Element:
    return draw(figure.paint, 900, figure.height, figure.title)


def tips(picture: ET.Element) -> list[str]:
    return [node.text or "" for node in picture.iter("title")]


def panel(found: Rollouts, title: str) -> Figure:
    return next(figure for figure in guardrails(found) if figure.title == title)


def test_each_change_is_a_numbered_line_with_author_and_reason_in_its_tooltip(found: Rollouts) -> None:
    picture = drawn(weights(found))
    texts = [node.text for node in picture.iter("text")]
    assert [text for text in texts if text in {"1", "2", "3", "4", "5", "6"}] == ["1", "2", "3", "4", "5", "6"]
    assert "6: rolled back, 3:52 after the start\nby controller\n" in "".join(tips(picture))


def test_between_changes_the_share_of_each_version_is_shown(found: Rollouts) -> None:
    assert "from 3:34 on\nversion 1: 80 %\nversion 2: 20 %" in tips(drawn(weights(found)))


def test_the_legend_names_every_version(found: Rollouts) -> None:
    assert [entry.text for entry in weights(found).legend] == ["version 1", "version 2", "version 3"]


def test_a_version_that_no_policy_names_any_more_drops_to_zero_and_ends(found: Rollouts) -> None:
    first, second, third = drawn(weights(found)).findall("g[@class='mark']/path")[:3]
    assert ends(first)[1] < ends(second)[1], "version 1 ends with the promotion of version 2"
    assert lowest(first) == lowest(third) == ends(first)[3]


def ends(path: ET.Element) -> tuple[float, ...]:
    """The x of the first and the last point, and the y of them."""
    points = points_of(path)
    return points[0][0], points[-1][0], points[0][1], points[-1][1]


def lowest(path: ET.Element) -> float:
    return max(y for _, y in points_of(path))


def points_of(path: ET.Element) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", path.get("d", ""))]


def test_the_axis_says_what_is_measured_as_the_controller_does_or_names_the_guardrail(found: Rollouts) -> None:
    labels = ["Quality", "Split"]
    texts = [[node.text for node in drawn(panel(found, label)).iter("text")] for label in labels]
    assert "mean loss / the champion's" in texts[0]
    assert "split" in texts[1]


def test_what_was_known_at_a_look_holds_until_the_next_one(found: Rollouts) -> None:
    band = points_of(drawn(panel(found, "Quality")).findall("g[@class='mark']/path")[0])
    steps = [(one, other) for one, other in pairwise(band) if one[0] != other[0]]
    assert steps
    assert all(one[1] == other[1] for one, other in steps)


def test_guardrails_that_measured_nothing_have_no_plot(found: Rollouts) -> None:
    few = found.model_copy(update={"looks": tuple(look for look in found.looks if look.guardrail == "quality")})
    assert [figure.title for figure in guardrails(few)] == ["Quality"]


def test_a_guardrail_shows_a_band_for_each_policy_in_the_colour_of_its_version(found: Rollouts) -> None:
    picture = ET.tostring(drawn(panel(found, "Decisions")), encoding="unicode")
    filled = re.findall(r"fill: var\(--(c\d)\); (?:fill-)?opacity: 0.16", picture)
    assert filled == ["c1", "c1", "c1", "c2"]


def test_what_a_guardrail_said_at_last_has_a_mark_that_is_hollow_if_unsure_and_red_if_it_failed(
    found: Rollouts,
) -> None:
    picture = drawn(panel(found, "Decisions"))
    marks = [node for node in picture.findall("g[@class='mark']") if node.find("title") is not None]
    assert [node.findtext("title", "").splitlines()[-1] for node in marks] == ["equivalent"] * 3 + ["worse"]
    assert "var(--bad)" in ET.tostring(marks[-1], encoding="unicode")
    unsure = drawn(panel(found, "Split")).findall("g[@class='mark']")[-1]
    assert "fill: var(--page)" in ET.tostring(unsure, encoding="unicode")


def test_what_is_far_outside_of_the_bounds_is_marked_at_the_edge(found: Rollouts) -> None:
    picture = drawn(panel(found, "Decisions"))
    failed = picture.findall("g[@class='mark']")[-1]
    place = re.search(r"translate\([\d.]+ ([\d.]+)\)", ET.tostring(failed, encoding="unicode"))
    band = picture.findall("g[@class='mark']/path")[0]
    assert place is not None
    assert float(place[1]) == min(y for _, y in points_of(band)), "the top of the plot"


def test_the_tooltip_has_the_interval_the_bounds_and_the_verdict(found: Rollouts) -> None:
    assert "3:51 after the start\nversion 3: above 20\nallowed: 0.333 to 3\nworse" in tips(
        drawn(panel(found, "Decisions"))
    )


def test_the_caption_says_what_each_version_was_found_to_be(found: Rollouts) -> None:
    assert panel(found, "Decisions").caption == (
        "Version 2: 0.55 to 1.65, surely within its bounds. Version 3: above 20, surely outside of its bounds."
    )
