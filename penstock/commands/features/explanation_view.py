"""Prints an explanation on a terminal, or converts it to JSON data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from penstock.commands.features.explanation import ExplainedWindow, Explanation
from penstock.commands.features.online import value_text
from penstock.counts import counted
from penstock.time import readable
from schemas.feature_types import FeatureValue
from sinks.vector_format import FeatureVector
from streams.definitions.windows import duration_text
from streams.plan.model import DerivedFeaturePlan, FeaturePlan, PipelinePlan, ViewPlan

_UNLIMITED = 100_000


def as_data(plan: PipelinePlan, view: ViewPlan, vector: FeatureVector, explanation: Explanation) -> dict[str, Any]:
    """The explanation as JSON data; times in epoch ms. ``again`` is the recomputed value where it differs."""
    return {
        "view": view.id,
        "entity": vector.entity,
        "as_of": vector.as_of,
        "events": explanation.events,
        "features": [
            {"name": feature.name, "value": vector.values[feature.name], "from": _origin(plan, feature)}
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
    console: Console,
    plan: PipelinePlan,
    view: ViewPlan,
    vector: FeatureVector,
    explanation: Explanation,
    *,
    tiles: int,
) -> None:
    """Print the vector, and the newest ``tiles`` tiles of each window."""
    topics = ", ".join(source.topic for source in plan.sources)
    assert vector.as_of is not None
    console.print(Text.assemble((view.id, "bold"), f"  {view.entity} ", (vector.entity, "bold")))
    console.print(
        f"[dim]as of[/] {readable(vector.as_of)} [dim]seq[/] {vector.seq}  "
        f"[dim]recomputed from {counted(explanation.events, 'event')} in {topics}[/]",
        highlight=False,
    )
    console.print(_values(plan, view, vector.values, explanation))
    for name in explanation.differing:
        console.print(
            f"[yellow]{name}[/] is {value_text(explanation.values[name])} if recomputed: the topic no longer has all "
            "events, or the job processed them in another order",
            highlight=False,
        )
    for window in explanation.windows:
        console.print()
        console.print(_heading(window))
        for table in _tiles(console, view, window, tiles):
            console.print(table)
        if len(window.tiles) > tiles:
            older = counted(len(window.tiles) - tiles, "older tile")
            console.print(f"[dim]and {older}: --tiles {len(window.tiles)}[/]")


def _values(plan: PipelinePlan, view: ViewPlan, values: Mapping[str, FeatureValue], explanation: Explanation) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("feature", no_wrap=True)
    table.add_column("value", justify="right", overflow="fold")
    table.add_column("from")
    for feature in view.outputs:
        mark = " ≠" if feature.name in explanation.differing else ""
        table.add_row(feature.name + mark, value_text(values[feature.name]), Text(_origin(plan, feature), "dim"))
    return table


def _origin(plan: PipelinePlan, feature: FeaturePlan | DerivedFeaturePlan) -> str:
    if isinstance(feature, DerivedFeaturePlan):
        return feature.sql
    where = f" where {plan.conditions[feature.where]}" if feature.where else ""
    return f"{feature.call} over {duration_text(feature.window_ms)}{where}"


def _heading(window: ExplainedWindow) -> Text:
    if window.empties_ms is None:
        return Text.assemble(("lifetime", "bold"), ("  no event leaves it", "dim"))
    hop, empties = duration_text(window.hop_ms), readable(window.empties_ms)
    return Text.assemble(
        (duration_text(window.window_ms), "bold"),
        (f"  in tiles of {hop}; without another event, empty at {empties}", "dim"),
    )


def _tiles(console: Console, view: ViewPlan, window: ExplainedWindow, count: int) -> Iterator[Table]:
    """The tiles, newest first, in as many tables below each other as the console's width takes.

    Each value is that of the feature over the events of this tile alone.
    """
    rest = [f.name for f in view.features if (f.window_ms, f.hop_ms) == (window.window_ms, window.hop_ms)]
    first = True
    while rest:
        fitting = 1
        while fitting < len(rest) and _fits(console, _table(window, rest[: fitting + 1], count, leaves=first)):
            fitting += 1
        yield _table(window, rest[:fitting], count, leaves=first)
        rest, first = rest[fitting:], False


def _fits(console: Console, table: Table) -> bool:
    return console.measure(table, options=console.options.update(width=_UNLIMITED)).maximum <= console.width


def _table(window: ExplainedWindow, names: Sequence[str], count: int, *, leaves: bool) -> Table:
    """One table; ``leaves``: with the time at which each tile leaves the window."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    lasting = window.empties_ms is None
    for title in () if lasting else ("tile from, UTC", "leaves at, UTC") if leaves else ("tile from, UTC",):
        table.add_column(title, no_wrap=True)
    for name in names:
        table.add_column(name, justify="right", overflow="fold")
    for tile in list(reversed(window.tiles))[:count]:
        times = () if lasting else (tile.start_ms, tile.leaves_ms) if leaves else (tile.start_ms,)
        table.add_row(
            *(_time(window, time) for time in times if time is not None),
            *(value_text(tile.values[name]) for name in names),
        )
    return table


def _time(window: ExplainedWindow, time_ms: int) -> str:
    return readable(time_ms, "milliseconds" if window.hop_ms % 1_000 else "seconds", zone="")
