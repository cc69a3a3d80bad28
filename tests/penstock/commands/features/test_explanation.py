"""The tiles behind a vector, and when they leave their windows."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from penstock.commands.features.explanation import Explanation, explain
from penstock.commands.features.explanation_view import as_data, print_explanation
from penstock.errors import PenstockError
from schemas.feature_types import FeatureValue
from sinks.vector_format import FeatureVector, VectorState
from streams.definitions.windows import LIFETIME_MS
from streams.inprocess.kernel import Kernel
from streams.plan.model import PipelinePlan
from tests.plans import make_plan, view_of

FIELDS: list[dict[str, Any]] = [
    {"name": "id", "type": "string", "roles": ["event_id"]},
    {"name": "time", "type": "long", "roles": ["event_time"]},
    {"name": "k", "type": "string"},
    {"name": "x", "type": "double", "nullable": True},
]
COUNT = {"name": "n", "operation": "count", "column": None, "column_type": None, "where": None, "type": "long"}
SUM = COUNT | {"name": "s", "operation": "sum", "column": "x", "column_type": "double", "type": "double"}
LAST = SUM | {"name": "l", "operation": "last"}
MINUTE = {"window_ms": 60_000, "hop_ms": 10_000}
EVER = {"window_ms": LIFETIME_MS, "hop_ms": LIFETIME_MS // 2}


def plan_with(*features: dict[str, Any]) -> PipelinePlan:
    return make_plan(fields=FIELDS, views=[view_of(*features)])


def row(number: int, time: int, x: float) -> dict[str, Any]:
    return {"id": f"{number}", "time": time, "k": "a", "x": x}


def vector(as_of: int, **values: FeatureValue) -> FeatureVector:
    return FeatureVector("v@1", "a", VectorState.PRESENT, values, as_of, 1, 1, 1)


def explained(kernel: Kernel, plan: PipelinePlan, rows: list[dict[str, Any]], stored: FeatureVector) -> Explanation:
    return explain(plan, plan.view("v"), rows, stored, kernel, "p")


ROWS = [row(1, 5_000, 1.0), row(2, 31_000, 2.0), row(3, 32_000, 4.0), row(4, 70_000, 8.0)]


def test_a_tile_has_the_features_of_its_events_and_leaves_a_window_length_after_its_start(kernel: Kernel) -> None:
    found = explained(kernel, plan_with(COUNT | MINUTE, SUM | MINUTE), ROWS, vector(70_000, n=3, s=14.0))
    (window,) = found.windows
    assert [(t.start_ms, t.leaves_ms, t.values) for t in window.tiles] == [
        (30_000, 90_000, {"n": 2, "s": 6.0}),
        (70_000, 130_000, {"n": 1, "s": 8.0}),
    ]
    assert window.empties_ms == 130_000
    assert (found.events, found.values, found.differing) == (4, {"n": 3, "s": 14.0}, ())


def test_events_after_the_vector_do_not_count(kernel: Kernel) -> None:
    found = explained(kernel, plan_with(SUM | MINUTE), ROWS, vector(32_000, s=7.0))
    assert (found.events, found.values, found.differing) == (3, {"s": 7.0}, ())


def test_among_events_with_the_same_as_of_the_one_with_the_stored_values_is_explained(kernel: Kernel) -> None:
    rows = [row(1, 5_000, 1.0), row(2, 5_000, 2.0), row(3, 4_000, 4.0)]
    for events, total in ((1, 1.0), (2, 3.0), (3, 7.0)):
        assert explained(kernel, plan_with(SUM | MINUTE), rows, vector(5_000, s=total)).events == events


def test_a_value_that_differs_from_the_recomputed_one_is_listed(kernel: Kernel) -> None:
    found = explained(kernel, plan_with(SUM | MINUTE, LAST | MINUTE), ROWS[:2], vector(31_000, s=99.0, l=2.0))
    assert (found.values, found.differing) == ({"s": 3.0, "l": 2.0}, ("s",))


def test_a_timers_vector_shows_only_the_tiles_in_its_windows(kernel: Kernel) -> None:
    found = explained(kernel, plan_with(SUM | MINUTE), ROWS[:3], vector(65_000, s=6.0))
    assert (found.values, found.differing) == ({"s": 6.0}, ())
    assert [tile.start_ms for tile in found.windows[0].tiles] == [30_000]


def test_no_event_leaves_a_lifetime(kernel: Kernel) -> None:
    found = explained(kernel, plan_with(SUM | EVER), ROWS, vector(70_000, s=15.0))
    (window,) = found.windows
    assert window.empties_ms is None
    assert [(tile.leaves_ms, tile.values) for tile in window.tiles] == [(None, {"s": 15.0})]


def test_a_vector_whose_events_are_gone_is_refused(kernel: Kernel) -> None:
    with pytest.raises(PenstockError, match="the topic no longer has any event"):
        explained(kernel, plan_with(SUM | MINUTE), ROWS[3:], vector(32_000, s=7.0))


def test_the_terminal_shows_the_newest_tiles_and_differences(kernel: Kernel) -> None:
    plan, stored = (
        plan_with(COUNT | MINUTE, SUM | MINUTE, SUM | EVER | {"name": "all"}),
        vector(70_000, n=3, s=1.0, all=15.0),
    )
    found = explained(kernel, plan, ROWS, stored)
    console = Console(record=True, width=160, no_color=True)
    print_explanation(console, plan, plan.view("v"), stored, found, tiles=1)
    text = console.export_text()
    for part in (
        "v@1  e a",
        f"recomputed from 4 events in {plan.source.topic}",
        "s ≠",
        "s is 14 if recomputed",
        "sum(x) over 1m",
        "1m  in tiles of 10s; without another event, empty at 1970-01-01 00:02:10.000",
        "1970-01-01 00:01:10  1970-01-01 00:02:10",
        "and 1 older tile: --tiles 2",
        "lifetime  no event leaves it",
    ):
        assert part in text, text
    assert "00:00:30" not in text


def test_a_terminal_of_80_columns_shows_every_name_and_value_whole(kernel: Kernel) -> None:
    names = [f"amount_in_euros_of_kind_{number}_sum_1m" for number in range(5)]
    plan = plan_with(*(SUM | MINUTE | {"name": name} for name in names))
    stored = vector(70_000, **dict.fromkeys(names, 14.0))
    console = Console(record=True, width=80, no_color=True)
    print_explanation(console, plan, plan.view("v"), stored, explained(kernel, plan, ROWS, stored), tiles=2)
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= 80
    for name in names:
        heads = [number for number, line in enumerate(lines) if name in line.split()]
        assert len(heads) == 2, name  # with the vector's value, and above its tiles
        newest = lines[heads[1] + 1]
        assert newest.startswith("1970-01-01 00:01:10  ")
        assert newest.split()[-1] == "8"


def test_the_condition_of_a_feature_is_shown(kernel: Kernel) -> None:
    plan = make_plan(
        fields=FIELDS,
        views=[view_of(COUNT | MINUTE | {"where": "is_big"})],
        filters=[{"name": "is_big", "type": "boolean", "sql": "x > 3"}],
    )
    rows = [event | {"is_big": event["x"] > 3} for event in ROWS]
    stored = vector(70_000, n=1)
    found = explained(kernel, plan, rows, stored)
    assert as_data(plan, plan.view("v"), stored, found)["features"][0]["from"] == "count() over 1m where x > 3"
    console = Console(record=True, width=80, no_color=True)
    print_explanation(console, plan, plan.view("v"), stored, found, tiles=1)
    assert "count() over 1m where x > 3" in console.export_text()


def test_the_json_data_has_every_tile_and_the_recomputed_values(kernel: Kernel) -> None:
    plan, stored = plan_with(COUNT | MINUTE), vector(70_000, n=2)
    data = as_data(plan, plan.view("v"), stored, explained(kernel, plan, ROWS, stored))
    assert data["features"] == [{"name": "n", "value": 2, "from": "count() over 1m", "again": 3}]
    assert [tile["start_ms"] for tile in data["windows"][0]["tiles"]] == [30_000, 70_000]
