"""Content of ``penstock features plan``: the path of an event through a pipeline, and the size of its state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from penstock.commands.features.sizes import StateSize
from penstock.counts import counted
from sinks.cassandra_tables import history_table
from sinks.stores.redis import redis_key
from streams.definitions.windows import LIFETIME_MS, duration_text
from streams.plan.model import ColumnPlan, FeaturePlan, PipelinePlan, SourcePlan, ViewPlan


def overview(
    plan: PipelinePlan, sizes: Sequence[StateSize], *, id_bytes: int, events_per_tile: int, entities: int
) -> dict[str, Any]:
    """The plan and the state sizes as JSON data, in the order in which an event passes through the pipeline.

    ``entities`` is the number of entities per stage in the estimate of the state.
    """
    source = plan.source
    by_entity = {size.entity: size for size in sizes}
    return {
        "pipeline": plan.pipeline,
        "sources": [_source(source, plan) for source in plan.sources],
        "columns": [_column(column) for column in plan.derived],
        "conditions": [column.sql for column in plan.filters],
        "deduplication": None
        if source.event_id is None
        else {
            "key": source.key,
            "id": source.event_id,
            "horizon_ms": source.dedup_horizon_ms,
            "bytes_per_id": id_bytes,
        },
        "stages": [
            {
                "entity": stage.entity,
                "key": list(plan.key_columns(stage.views[0])),
                "sparse_bytes": by_entity[stage.entity].sparse_bytes,
                "hot_bytes": by_entity[stage.entity].hot_bytes,
                "views": [_view(plan, view, by_entity[stage.entity]) for view in stage.views],
            }
            for stage in plan.stages
        ],
        "events_per_tile": events_per_tile,
        "estimate": {
            "entities": entities,
            "sparse_bytes": entities * sum(size.sparse_bytes for size in sizes),
            "hot_bytes": entities * sum(size.hot_bytes for size in sizes),
        },
        "features_topic": plan.features_topic,
        "derived": [
            {"name": f"{view.name}.{feature.name}", "type": feature.type, "from": feature.sql}
            for view, feature in plan.derived_features
        ],
        "features": sum(len(view.outputs) for view in plan.views),
        "passthrough": [name for name, _ in plan.passthrough],
    }


def tree(plan: Mapping[str, Any]) -> Tree:
    """The overview as a tree for the terminal."""
    dedup = plan["deduplication"]
    root = Tree(Text(plan["pipeline"], "bold"), guide_style="dim")
    for source in plan["sources"]:
        title = _line(
            "source", source["topic"], f"{counted(source['partitions'], 'partition')}, by {source['key'] or 'no key'}"
        )
        branch = root.add(title if source["triggers"] else title.append("  updates windows, emits no record"))
        branch.add(_line("decode", source["contract"], counted(len(source["fields"]), "field")))
        branch.add(_line("refused", source["refused_to"]))
        if source["filter"] is not None:
            branch.add(_line("filter", source["filter"]))
    if plan["columns"] or plan["conditions"]:
        counts = counted(len(plan["columns"]), "column"), counted(len(plan["conditions"]), "condition")
        columns = root.add(_line("derive", *counts))
        for column in plan["columns"]:
            columns.add(Text.assemble((column["name"], "cyan"), (f" {column['type']} ", "dim"), column["from"]))
    if dedup is not None:
        detail = (
            f"within {duration_text(dedup['horizon_ms'])}; keeps {dedup['bytes_per_id']} bytes per event for that time"
        )
        root.add(_line("drop duplicates", f"by {' and '.join(filter(None, (dedup['key'], dedup['id'])))}", detail))
    for stage in plan["stages"]:
        title = _line("stage", stage["entity"], f"by {', '.join(stage['key'])}")
        branch = root.add(title)
        for view in stage["views"]:
            branch.add(Group(_line("view", view["id"], f"hash {view['hash']}"), _windows(view["windows"])))
    if plan["derived"]:
        derived = root.add(_line("derive", counted(len(plan["derived"]), "feature")))
        for feature in plan["derived"]:
            derived.add(Text.assemble((feature["name"], "cyan"), (f" {feature['type']} ", "dim"), feature["from"]))
    encode = root.add(
        _line(
            "encode",
            plan["features_topic"],
            f"{counted(plan['features'], 'feature')}, {counted(len(plan['passthrough']), 'column')} passed through",
        )
    )
    for stage in plan["stages"]:
        for view in stage["views"]:
            encode.add(_line("Redis", view["redis"]))
            encode.add(_line("Cassandra", view["cassandra"]))
    return root


def state_table(plan: Mapping[str, Any]) -> RenderableType:
    """The size of the state, per entity and for ``entities`` of them."""
    count = plan["estimate"]["entities"]
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", title_justify="left")
    for title in ("state of one", "sparse", "hot", f"of {count:,}: sparse", "hot"):
        table.add_column(title, justify="left" if title == "state of one" else "right")
    for stage in plan["stages"]:
        sparse, hot = stage["sparse_bytes"], stage["hot_bytes"]
        table.add_row(stage["entity"], *map(size, (sparse, hot, count * sparse, count * hot)))
    if len(plan["stages"]) > 1:
        total = plan["estimate"]
        table.add_row(Text("all", "bold"), "", "", size(total["sparse_bytes"]), size(total["hot_bytes"]))
    note = (
        f"sparse: one event in each window; hot: at least {counted(plan['events_per_tile'], 'event')} in each tile, "
        "all values different. Bytes in a checkpoint."
    )
    return Group(table, Text(note, "dim"))


def size(count: int) -> str:
    """A number of bytes with its unit, to three digits.

    >>> size(999), size(1_234), size(56_789_000)
    ('999 B', '1.23 kB', '56.8 MB')
    """
    value, units = float(count), ["B", "kB", "MB", "GB", "TB", "PB"]
    while value >= 999.5 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.3g} {units[0]}"


def _line(what: str, name: str, detail: str = "") -> Text:
    return Text.assemble((f"{what} ", "dim"), (name, "bold"), (f"  {detail}" if detail else "", "dim"))


def _windows(windows: Iterable[Mapping[str, Any]]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for title in ("window", "hop", "tiles", "aggregates"):
        table.add_column(title, justify="right" if title == "tiles" else "left", no_wrap=title != "aggregates")
    for window in windows:
        table.add_row(
            duration_text(window["window_ms"]),
            "" if window["window_ms"] == LIFETIME_MS else duration_text(window["hop_ms"]),
            str(window["tiles"]),
            Text(", ".join(window["aggregates"])),
        )
    return table


def _source(source: SourcePlan, plan: PipelinePlan) -> dict[str, Any]:
    return {
        "topic": source.topic,
        "partitions": source.partitions,
        "key": source.key,
        "contract": f"{source.contract}@{source.contract_version}",
        "fields": [field.name for field in source.fields],
        "refused_to": source.dead_letter_topic,
        "triggers": source.triggers,
        "filter": next((c.sql for c in plan.filters if c.name == source.filter), None),
    }


def _column(column: ColumnPlan) -> dict[str, Any]:
    origin = column.sql if column.python is None else f"{column.python}({', '.join(column.arguments)})"
    return {"name": column.name, "type": column.type, "from": origin, "python": column.python is not None}


def _view(plan: PipelinePlan, view: ViewPlan, sizes: StateSize) -> dict[str, Any]:
    conditions = {column.name: column.sql for column in plan.filters}
    return {
        "id": view.id,
        "hash": view.hash,
        "windows": [
            {
                "window_ms": window.window_ms,
                "hop_ms": window.hop_ms,
                "tiles": window.tiles,
                "aggregates": [
                    _aggregate(feature, conditions)
                    for feature in view.features
                    if (feature.window_ms, feature.hop_ms) == (window.window_ms, window.hop_ms)
                ],
            }
            for window in sizes.windows
            if window.view == view.name
        ],
        "redis": redis_key(plan, view, view.entity.upper()),
        "cassandra": history_table(plan, view, 0).name,
    }


def _aggregate(feature: FeaturePlan, conditions: Mapping[str, str | None]) -> str:
    where = f" where {conditions[feature.where]}" if feature.where else ""
    return f"{feature.call}{where}"
