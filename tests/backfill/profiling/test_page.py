"""The page and the JSON: complete, safe to show, and the same each time."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from backfill.profiling.data import as_json
from backfill.profiling.findings import summary
from backfill.profiling.measured import Profiles
from backfill.profiling.page import page
from tests.profiles import FIRST_MS, profiles_of, training_set

N = 3_000
SECRET = "0123456789abcdef0123456789abcdef"


def columns() -> dict[str, Any]:
    generator = np.random.default_rng(1)
    spread = generator.lognormal(0, 3, N)
    return {
        "event.amount": pa.array(np.where(np.arange(N) > 2_000, spread * 100, spread), mask=np.arange(N) % 9 == 0),
        "event.city": ["<script>alert(1)</script>", "a&b", "nul\0", "x" * 500, "Wien\u2028", None] * (N // 6),
        "event.card": [SECRET] * N,
        "taps.amount_mean_1h": np.append(spread[:-3], [np.inf, -np.inf, np.nan]),
        "taps.large_lifetime": pa.nulls(N, pa.float64()),
        "taps.card_last_k_1h": [[SECRET] * (row % 4) for row in range(N)],
        "taps.big": generator.integers(2**53, 2**62, N),
        "taps.flag": generator.random(N) < 0.3,
        "taps.same": spread * 3,
        "taps.gone": [SECRET, None] * (N // 2),
    }


@pytest.fixture(scope="module")
def profiles(tmp_path_factory: pytest.TempPathFactory) -> Profiles:
    labels = np.random.default_rng(2).random(N) < 0.2
    return profiles_of(training_set(tmp_path_factory.mktemp("set"), columns(), labels))


@pytest.fixture(scope="module")
def html(profiles: Profiles) -> str:
    return page(profiles, "taps", "a training set", 0)


class Reader(HTMLParser):
    """Collects what a page loads and runs, its anchors, and whether every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.ids: set[str] = set()
        self.targets: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.ids |= {str(named["id"])} if "id" in named else set()
        if tag == "a":
            self.targets.add(str(named["href"]).removeprefix("#"))
        if tag in ("script", "link", "img", "iframe") or "src" in named or any(name.startswith("on") for name in named):
            self.loads.append(tag)
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_well_formed_loads_nothing_and_runs_nothing(html: str) -> None:
    read = Reader(html)
    assert read.open == []
    assert read.loads == []
    assert "http" not in html
    assert "url(" not in html


def test_every_link_of_the_page_leads_to_a_feature(html: str, profiles: Profiles) -> None:
    read = Reader(html)
    assert read.targets <= read.ids
    assert len(read.ids) == len(profiles.features)


def test_every_feature_is_on_the_page_with_what_it_is(html: str, profiles: Profiles) -> None:
    for one in profiles.features:
        assert f">{one.column.name}<" in html
        assert one.column.description.replace(">", "&gt;") in html


def test_texts_of_events_are_escaped_shortened_and_printable(html: str) -> None:
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "a&amp;b" in html
    assert "\0" not in html
    assert "\u2028" not in html
    assert "x" * 41 not in html


def test_personal_texts_are_on_neither_the_page_nor_in_the_json(html: str, profiles: Profiles) -> None:
    assert SECRET not in html
    assert SECRET not in as_json(profiles, "taps", "a training set", 0)
    assert "Its texts are not shown" in html


def test_no_number_is_shown_as_nan_or_in_a_way_that_a_picture_cannot_have(html: str) -> None:
    assert not re.search(r"\b(nan|NaN)\b(?!\))", html)
    assert not re.search(r'"[^"<>]*\binf\b[^"<>]*"', html)


def test_the_summary_says_what_matters_first(profiles: Profiles) -> None:
    found = [(one.level, one.text) for one in summary(profiles)]
    assert found[0] == ("look", "1 changed over time")
    assert ("look", "1 is always null") in found
    assert ("look", "2 are constant") in found
    assert ("look", "1 has values that are no finite numbers") in found
    assert ("look", "1 pair of features says the same") in found
    assert ("good", "5 are never null") in found


def test_the_json_is_valid_and_complete(profiles: Profiles) -> None:
    content = json.loads(as_json(profiles, "taps", "a training set", 7), parse_constant=pytest.fail)
    assert content["rows"] == N
    assert content["seed"] == 7
    assert [one["name"] for one in content["features"]] == list(columns())
    by_name = {one["name"]: one for one in content["features"]}
    assert by_name["taps.amount_mean_1h"]["infinities"] == {"negative": 1, "positive": 1}
    assert by_name["taps.big"]["least"] >= 2**53
    assert by_name["event.card"]["top"] == []


def test_the_same_rows_give_the_same_bytes(tmp_path: Path, html: str) -> None:
    labels = np.random.default_rng(2).random(N) < 0.2
    again = profiles_of(training_set(tmp_path / "elsewhere", columns(), labels))
    assert page(again, "taps", "a training set", 0) == html


@pytest.mark.parametrize(
    "values",
    [
        [1.5],
        pa.nulls(3, pa.float64()),
        pa.nulls(3, pa.string()),
        [float("inf"), float("-inf"), float("nan")],
        [-1e308, 1e308, 5e-324] * 200,
        [1e308, 1e-300, 0.0] * 200,
        np.append(np.linspace(-1, 1, 500) * 1e308, 1e-9),
        [-(2**63), 2**63 - 1, 0] * 300,
        [[], None, [1.0]],
        [True, None, False],
        [""] * 3,
    ],
)
@pytest.mark.parametrize("task", ["binary", "regression", "multiclass", None])
def test_strange_values_make_a_page_too(tmp_path: Path, values: Any, task: Any) -> None:
    rows = len(values)
    labels = {"multiclass": ["a", None, "b"]}.get(task, [0, 1, None]) * (rows // 3 + 1)
    training_set(tmp_path, {"event.amount": values, "taps.x": range(rows)}, labels[:rows])
    found = profiles_of(tmp_path, task=task)
    text = page(found, "taps", "a training set", 0)
    assert Reader(text).open == []
    assert not re.search(r'="[^"]*\b(nan|inf)\b[^"]*"', text)
    json.loads(as_json(found, "taps", "a training set", 0), parse_constant=pytest.fail)


def test_a_short_range_says_that_hours_look_like_change(tmp_path: Path) -> None:
    training_set(tmp_path, {"event.amount": np.arange(100.0)}, times=[FIRST_MS + row for row in range(100)])
    text = page(profiles_of(tmp_path, task=None), "taps", "a training set", 0)
    assert "shorter than a day" in text
    assert "too few to tell whether anything changed" in text
