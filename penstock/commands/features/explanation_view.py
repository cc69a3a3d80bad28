"""Prints an explanation on a terminal, or converts it to JSON data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from penstock.commands.features.explanation import ExplainedWindow, Explanation
from penstock.commands.features.online import value_text
from penstock.time import readable
from schemas.feature_types import FeatureValue
from sinks.vector_format import FeatureVector
from streams.definitions.windows import duration_text
from streams.plan.model import DerivedFeaturePlan, FeaturePlan, ViewPlan


def as_data(view: ViewPlan, vector: FeatureVector, explanation: Explanation) -> dict[str, Any]:
    """The explanation as JSON data; times in epoch ms. ``again`` is the recomputed value where it differs."""
    return {
        "view": view.id,
        "entity": vector.entity,
        "as_of": vector.as_of,
        "events": explanation.events,
        "features": [
            {"name": feature.name, "value": vector.values[feature.name], "from": _origin(feature)}
            | ({"again": explanation.values[feature.name]} if feature.name in explanation.differing else {})
            for feature in view.outputs
        ],
        "windows": [
            {
                "window_ms": window.window_ms,
                "hop_ms": window.hop_ms,
                "empties_ms": window.empties_ms,
                "tiles": [
                    {"start_ms": tile.start_ms, "leaves_ms": tile.leaves_ms, "values": dict(tile.values)}
                    for tile in window.tiles
                ],
            }
            for window in explanation.windows
        ],
    }


def print_explanation(
    console: Console, view: ViewPlan, vector: FeatureVector, explanation: Explanation, *, topic: str, tiles: int
) -> None:
    """Print the vector, and the newest ``tiles`` tiles of each window."""
    assert vector.as_of is not None
    console.print(Text.assemble((view.id, "bold"), f"  {view.entity} ", (vector.entity, "bold")))
    console.print(
        f"[dim]as of[/] {readable(vector.as_of)} [dim]seq[/] {vector.seq}  "
        f"[dim]recomputed from {explanation.events} events in {topic}[/]",
        highlight=False,
    )
    console.print(_values(view, vector.values, explanation))
    for name in explanation.differing:
        console.print(
            f"[yellow]{name}[/] is {value_text(explanation.values[name])} if recomputed: the topic no longer has all "
            "events, or the job processed them in another order",
            highlight=False,
        )
    for window in explanation.windows:
        console.print()
        console.print(_heading(window))
        console.print(_tiles(view, window, tiles))
        if len(window.tiles) > tiles:
            console.print(f"[dim]and {len(window.tiles) - tiles} older tiles: --tiles {len(window.tiles)}[/]")


def _values(view: ViewPlan, values: Mapping[str, FeatureValue], explanation: Explanation) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("feature")
    table.add_column("value", justify="right")
    table.add_column("from")
    for feature in view.outputs:
        mark = " ≠" if feature.name in explanation.differing else ""
        table.add_row(feature.name + mark, value_text(values[feature.name]), Text(_origin(feature), "dim"))
    return table


def _origin(feature: FeaturePlan | DerivedFeaturePlan) -> str:
    if isinstance(feature, DerivedFeaturePlan):
        return feature.sql
    return f"{feature.call} over {duration_text(feature.window_ms)}"


def _heading(window: ExplainedWindow) -> Text:
    if window.empties_ms is None:
        return Text.assemble(("lifetime", "bold"), ("  no event leaves it", "dim"))
    hop, empties = duration_text(window.hop_ms), readable(window.empties_ms)
    return Text.assemble(
        (duration_text(window.window_ms), "bold"),
        (f"  in tiles of {hop}; without another event, empty at {empties}", "dim"),
    )


def _tiles(view: ViewPlan, window: ExplainedWindow, count: int) -> Table:
    """Newest first; each value is that of the feature over the events of this tile alone."""
    names = [f.name for f in view.features if (f.window_ms, f.hop_ms) == (window.window_ms, window.hop_ms)]
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    if window.empties_ms is not None:
        table.add_column("tile from", no_wrap=True)
        table.add_column("leaves at", no_wrap=True)
    for name in names:
        table.add_column(name, justify="right", overflow="fold")
    for tile in list(reversed(window.tiles))[:count]:
        values = [value_text(tile.values[name]) for name in names]
        if tile.start_ms is None or tile.leaves_ms is None:
            table.add_row(*values)
        else:
            table.add_row(readable(tile.start_ms), readable(tile.leaves_ms), *values)
    return table
