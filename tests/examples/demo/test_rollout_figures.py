"""The plots of rollouts: the weight of each version over time, and what guardrails measured beside their bounds."""

from __future__ import annotations

import re
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


def test_a_version_that_no_policy_names_any_more_has_dropped_to_zero(found: Rollouts) -> None:
    first = drawn(weights(found)).findall("g[@class='mark']/path")[0].get("d", "")
    (_, top), (_, bottom) = [(0, min(ys)) if n == 0 else (0, max(ys)) for n, ys in enumerate([heights(first)] * 2)]
    assert top < bottom == heights(first)[-1]


def heights(path: str) -> list[float]:
    return [float(y) for _, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", path)]


def test_guardrails_that_measured_nothing_have_no_plot(found: Rollouts) -> None:
    few = found.model_copy(update={"looks": tuple(look for look in found.looks if look.guardrail == "quality")})
    assert [figure.title for figure in guardrails(few)] == ["Quality"]


def test_a_guardrail_shows_a_band_for_each_policy_in_the_colour_of_its_version(found: Rollouts) -> None:
    picture = ET.tostring(drawn(panel(found, "Decisions")), encoding="unicode")
    filled = re.findall(r'fill: var\(--(c\d)\); (?:fill-)?opacity: 0.16', picture)
    assert filled == ["c1", "c1", "c1", "c2"]


def test_what_is_known_at_last_holds_until_the_next_policy(found: Rollouts) -> None:
    picture = drawn(panel(found, "Decisions"))
    shapes = [node.get("d", "") for node in picture.findall("g[@class='mark']/path")]
    x = [float(x) for x, _ in re.findall(r"[ML]([\d.]+) ([\d.]+)", shapes[0])]
    change = min(x for x in (float(x) for x, _ in re.findall(r"[ML]([\d.]+) ([\d.]+)", shapes[1])))
    assert max(x) < change  # the next band begins with its first look, after the change


def test_the_tooltip_has_the_interval_the_bounds_and_the_verdict(found: Rollouts) -> None:
    assert "3:31 after the start\nversion 3: 0 to ∞\nallowed: 0.3333 to 3\nworse" not in tips(
        drawn(panel(found, "Decisions"))
    )
    assert any(tip.endswith("allowed: 0.3333 to 3\nworse") for tip in tips(drawn(panel(found, "Decisions"))))


def test_the_caption_says_what_each_version_was_found_to_be(found: Rollouts) -> None:
    assert panel(found, "Decisions").caption == (
        "Version 2: at last 0.55 to 1.65, surely within its bounds. "
        "Version 3: at last 0 to ∞, surely outside of its bounds."
    )
