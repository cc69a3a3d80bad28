"""`penstock topics show` says of each topic who is how far behind."""

from __future__ import annotations

import pytest

from penstock.commands.topics import _behind
from penstock.running.figures import Backlog
from penstock.running.topic_figures import TopicFigures

DONE, LATE, ALL = Backlog(0, 0.0), Backlog(1_200, 3.0), Backlog(15_015, None)


@pytest.mark.parametrize(
    ("behind", "not_begun", "shown"),
    [
        ({}, (), ""),
        ({"scorer": DONE}, (), "nobody"),
        ({"scorer": DONE, "drift": DONE}, ("drift",), "nobody"),
        ({"scorer": DONE}, ("scorer",), "no reader yet"),
        ({"sink-redis": LATE, "scorer": ALL}, ("scorer",), "sink-redis 1,200 (3.0 s), scorer all 15,015 (not begun)"),
    ],
)
def test_it_says_how_far_each_reader_is_also_before_it_has_begun(
    behind: dict[str, Backlog], not_begun: tuple[str, ...], shown: str
) -> None:
    assert _behind(TopicFigures(15_015, 0.0, behind, not_begun, None, None, is_compacted=False)) == shown
