"""The result for programs and people."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from backfill.parity.check import Parity
from backfill.parity.report import as_json, conclusion, page, summary
from tests.backfill.parity.test_check import interleaved, payments
from tests.backfill.parity.worlds import predictions_of, run

TOPICS = ["events.parity"]


@pytest.fixture
def parity(tmp_path: Path) -> Parity:
    world = run(interleaved(payments()), tmp_path)
    part = world.feature("e20")["spend"]
    part["amount_sum_10m"] += 0.5
    part["entity"] = "<b>c</b>"
    world.predictions = predictions_of(world.project, world.features)
    return world.check()


def test_the_json_has_the_counts_of_each_cause_and_the_roots(parity: Parity) -> None:
    content: dict[str, Any] = json.loads(as_json(parity, TOPICS))
    assert content["differences"]["interleaving"] > 0
    assert content["unexplained"] == content["differences"]["unexplained"] == parity.unexplained > 0
    assert sum(one["values"] for one in content["by_name"]) == sum(content["differences"].values())
    root = content["roots"]["unexplained"]["most_followers"][0]
    assert root["event"].startswith("events.parity[")
    assert root["served_at"].startswith("features.parity[")


def test_the_page_is_whole_and_quotes_no_markup_of_a_value(parity: Parity) -> None:
    class Tags(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[str] = []

        def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002 - the base's signature
            self.seen.append(tag)

    text, tags = page(parity, TOPICS), Tags()
    tags.feed(text)
    assert {"h1", "table"} <= set(tags.seen)
    assert "b" not in tags.seen
    assert "&lt;b&gt;" in text
    assert conclusion(parity) in text


def test_the_summary_says_what_was_compared_with_what(parity: Parity) -> None:
    assert "40 events" in summary(parity)
    assert "all entities, compared with the kernel" in summary(parity)
