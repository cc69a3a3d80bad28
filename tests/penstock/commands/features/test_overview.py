"""State sizes, and how ``features plan`` shows them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from penstock.cli import cli
from penstock.commands.features.overview import overview, size, tree
from penstock.commands.features.sizes import bytes_per_id, state_sizes
from streams.inprocess.kernel import Kernel
from streams.plan.compiler import compile_plan
from streams.plan.model import PipelinePlan
from tests.corpus.pipeline import pipeline
from tests.plans import make_plan, view_of

COUNT = {"name": "n", "operation": "count", "column": None, "column_type": None, "where": None, "type": "long"}
FIELDS: list[dict[str, Any]] = [
    {"name": "id", "type": "string", "roles": ["event_id"]},
    {"name": "time", "type": "long", "roles": ["event_time"]},
    {"name": "k", "type": "string", "nullable": True},
    {"name": "x", "type": "double", "nullable": True},
]


def with_features(*features: dict[str, Any]) -> PipelinePlan:
    return make_plan(fields=FIELDS, views=[view_of(*features)])


@pytest.mark.parametrize(("window_ms", "hop_ms", "tiles"), [(60_000, 1_000, 60), (10_000, 3_000, 4), (5_000, 5_000, 1)])
def test_a_hot_entity_has_events_in_every_tile_of_its_window(
    kernel: Kernel, window_ms: int, hop_ms: int, tiles: int
) -> None:
    (stage,) = state_sizes(with_features(COUNT | {"window_ms": window_ms, "hop_ms": hop_ms}), kernel, 2)
    assert [(w.view, w.window_ms, w.hop_ms, w.tiles) for w in stage.windows] == [("v", window_ms, hop_ms, tiles)]


def test_the_size_of_sketches_grows_with_the_events_of_a_tile_and_that_of_counts_does_not(kernel: Kernel) -> None:
    window = {"window_ms": 60_000, "hop_ms": 1_000}
    counts = with_features(COUNT | window)
    sketches = with_features(COUNT | window | {"operation": "approx_distinct", "column": "x", "column_type": "double"})
    sizes = {
        (name, events): state_sizes(plan, kernel, events)[0].hot_bytes
        for name, plan in (("counts", counts), ("sketches", sketches))
        for events in (1, 20)
    }
    # Only the number of the entity's events takes another byte.
    assert sizes["counts", 20] - sizes["counts", 1] <= 1
    assert sizes["sketches", 20] > 5 * sizes["sketches", 1]


def test_a_sparse_entity_is_smaller_than_a_hot_one(kernel: Kernel) -> None:
    for stage in state_sizes(compile_plan(pipeline), kernel, 1):
        assert 0 < stage.sparse_bytes < stage.hot_bytes


def test_deduplication_keeps_the_bytes_of_an_id_per_event(kernel: Kernel) -> None:
    assert 36 < bytes_per_id(compile_plan(pipeline), kernel) < 72


def test_the_overview_follows_the_plan(kernel: Kernel) -> None:
    plan = compile_plan(pipeline)
    sizes = state_sizes(plan, kernel, 1)
    found = overview(plan, sizes, id_bytes=45, events_per_tile=1, entities=1_000)
    assert [stage["entity"] for stage in found["stages"]] == ["e", "pair", "f"]
    assert found["stages"][1]["key"] == ["k", "j"]
    assert found["estimate"]["hot_bytes"] == 1_000 * sum(stage.hot_bytes for stage in sizes)
    shown = {
        aggregate for s in found["stages"] for v in s["views"] for w in v["windows"] for aggregate in w["aggregates"]
    }
    assert "count() where x > 0" in shown
    assert "last(n) where b" in shown
    assert len([w for v in found["stages"][0]["views"] if v["id"] == "edges@1" for w in v["windows"]]) == 3


def test_derived_features_come_after_the_windows(kernel: Kernel) -> None:
    half = {"name": "half", "sql": "n / 2", "type": "double", "inputs": ["v.n"], "windows": [[60_000, 1_000]]}
    view = view_of(COUNT | {"window_ms": 60_000, "hop_ms": 1_000}) | {"derived": [half]}
    plan = make_plan(fields=FIELDS, views=[view])
    found = overview(plan, state_sizes(plan, kernel, 1), id_bytes=45, events_per_tile=1, entities=1)
    assert found["derived"] == [{"name": "v.half", "type": "double", "from": "n / 2"}]
    assert found["features"] == 2
    assert "derive 1 feature" in [text.label.plain for text in tree(found).children]  # type: ignore[union-attr]


def test_the_command_prints_a_tree_or_json() -> None:
    tree = CliRunner().invoke(cli, ["features", "plan", "fraud", "--entities", "1000"])
    assert tree.exit_code == 0, tree.output
    for part in ("events.transactions", "card_spend@1", "stage terminal", "features.fraud", "of 1,000: sparse"):
        assert part in tree.output
    data = CliRunner().invoke(cli, ["features", "plan", "fraud", "--json", "--events-per-tile", "1"])
    assert json.loads(data.output)["stages"][0]["views"][0]["id"] == "card_spend@1"


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1_000, "1 kB"), (999_600, "1 MB"), (1_234_567, "1.23 MB")]
)
def test_sizes_have_three_digits(count: int, text: str) -> None:
    assert size(count) == text
