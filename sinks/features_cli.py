"""``penstock features``: what features are, where they are kept, and an entity's latest vector."""

from __future__ import annotations

import importlib
import json
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import cast

import click
import redis
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from penstock.errors import PenstockError
from penstock.event_time import EventTime
from penstock.settings import Settings
from schemas.contract import Pii
from sinks.cassandra_tables import history_table
from sinks.redis_sink import FeatureReader, connect, redis_key
from sinks.vectors import State, Vector
from streams.entities import hashed_text
from streams.feature_types import FeatureValue
from streams.loading import load_pipeline
from streams.plan import PipelinePlan, ViewPlan, plan
from streams.words import span

_COLOURS = {State.PRESENT: "green", State.STALE: "yellow", State.EXPIRED: "red", State.MISSING: "red"}


hash_option = click.option(
    "--hash", "hashed", is_flag=True, help="ENTITY is the personal value itself: hash it first (- reads it from stdin)."
)


class _Features(click.Group):
    """With the commands that run the kernel, which are imported when they are used."""

    _IN_PROCESS = ("explain", "plan", "test")

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All of them."""
        return [*super().list_commands(ctx), *self._IN_PROCESS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports a command."""
        if cmd_name in self._IN_PROCESS:
            return cast("click.Command", getattr(importlib.import_module("backfill.inprocess.cli"), cmd_name))
        return super().get_command(ctx, cmd_name)


@click.group(cls=_Features)
def features() -> None:
    """Describe and test feature views; get an entity's latest vector, or have it explained."""


@features.command()
@click.argument("pipeline")
@click.argument("view")
@click.argument("entity")
@click.option("--at", type=EventTime(), help="Event time at which to read (epoch ms or ISO 8601, UTC); default now.")
@hash_option
def get(pipeline: str, view: str, entity: str, at: int | None, hashed: bool) -> None:
    r"""Show an entity's features as the online store has them.

    An entity that is personal data is known by its hash alone, as records and predictions show it; --hash makes it
    from the value, with the pipeline's PII key. One that several columns name is written as their values joined by |,
    with a \ before each | or \ within a value.
    """
    definition, settings = load_pipeline(pipeline), Settings()
    pipeline_plan = plan(definition)
    view_plan = view_of(pipeline_plan, view)
    entity = entity_of(pipeline_plan, view_plan, entity, settings, hashed=hashed)
    now_ms = time.time_ns() // 1_000_000 if at is None else at
    vector = stored(pipeline_plan, view_plan, entity, now_ms, settings)
    _show(Console(), view_plan, vector, now_ms, at is None)
    if vector.state is State.MISSING and not hashed:
        hint_at_hash(pipeline_plan, view_plan)
    click.get_current_context().exit(1 if vector.state is State.MISSING else 0)


@features.command()
@click.argument("pipeline")
@click.argument("view", required=False)
def describe(pipeline: str, view: str | None) -> None:
    """Show what the features of a pipeline, or of one view, are and where they are kept."""
    pipeline_plan, console = plan(load_pipeline(pipeline)), Console()
    for view_plan in (view_of(pipeline_plan, view),) if view else pipeline_plan.views:
        _describe(console, pipeline_plan, view_plan)


def view_of(pipeline_plan: PipelinePlan, name: str) -> ViewPlan:
    """The view of that name; a PenstockError with the next command if there is none."""
    try:
        return pipeline_plan.view(name)
    except KeyError as error:
        raise PenstockError(error.args[0], next=f"penstock features describe {pipeline_plan.pipeline}") from error


def entity_of(pipeline_plan: PipelinePlan, view: ViewPlan, text: str, settings: Settings, *, hashed: bool) -> str:
    """The entity that the arguments ENTITY and --hash name, as records have it."""
    if not hashed:
        return text
    return _hashed(pipeline_plan, view, sys.stdin.readline().rstrip("\n") if text == "-" else text, settings)


def stored(pipeline_plan: PipelinePlan, view: ViewPlan, entity: str, now_ms: int, settings: Settings) -> Vector:
    """The vector in Redis as it reads at ``now_ms``; a PenstockError if Redis does not answer."""
    try:
        return FeatureReader(pipeline_plan, connect(settings)).get(view.name, entity, now_ms)
    except redis.RedisError as error:
        raise PenstockError(
            f"Redis does not answer: {error}", where=settings.redis_url, next="penstock status"
        ) from error


def hint_at_hash(pipeline_plan: PipelinePlan, view: ViewPlan) -> None:
    """Of an entity that is not there: perhaps it was given as the personal value itself."""
    personal = _personal(pipeline_plan, view)
    if personal:
        click.echo(
            f"{', '.join(sorted(personal))} is personal, known by its hash alone: for the value itself, use --hash"
        )


def _hashed(pipeline_plan: PipelinePlan, view: ViewPlan, value: str, settings: Settings) -> str:
    """The entity with its personal parts hashed; of several parts each is hashed by itself."""
    columns = pipeline_plan.key_columns(view)
    personal = _personal(pipeline_plan, view)
    if not personal:
        raise PenstockError(
            f"{', '.join(columns)}, the key of view {view.name}, is no personal data and is stored as it is",
            next="leave out --hash",
        )
    key = settings.require_pii_key().get_secret_value().encode()
    try:
        return hashed_text(value, [name in personal for name in columns], key)
    except ValueError as error:
        raise PenstockError(
            f"view {view.name} is keyed by {len(columns)} columns",
            next=f"give {'|'.join(columns)}, with a \\ before each | or \\ within a value",
        ) from error


def _personal(pipeline_plan: PipelinePlan, view: ViewPlan) -> set[str]:
    """The columns of the view's key that are known by their hash alone."""
    hashed = {field.name for source in pipeline_plan.sources for field in source.fields if field.pii is Pii.HASH}
    return hashed & set(pipeline_plan.key_columns(view))


def _show(console: Console, view: ViewPlan, vector: Vector, now_ms: int, at_now: bool) -> None:
    console.print(
        Text.assemble(
            (view.id, "bold"),
            f"  {view.entity} ",
            (vector.entity, "bold"),
            "  ",
            (vector.state, _COLOURS[vector.state]),
        )
    )
    if vector.as_of is None:
        console.print(f"[dim]nothing is stored for this {view.entity}: it has had no event, or none for long[/]")
        return
    console.print(
        f"[dim]as of[/] {iso(vector.as_of)} [dim](read at {iso(now_ms)}, {_age(now_ms - vector.as_of)})[/]  "
        f"[dim]epoch[/] {vector.epoch} [dim]seq[/] {vector.seq} [dim]attempt[/] {vector.attempt}"
    )
    table = RichTable(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("feature")
    table.add_column("value", justify="right")
    for name, value in vector.values.items():
        table.add_row(name, shown_or_null(value))
    console.print(table)
    if at_now and vector.state in (State.STALE, State.EXPIRED):
        console.print(f"[dim]windows that have passed read as empty; as it was then: --at {vector.as_of}[/]")


def shown_or_null(value: FeatureValue) -> Text:
    """A feature's value for people, or a pale null."""
    return Text("null", "dim") if value is None else Text(_shown(value))


def _shown(value: FeatureValue) -> str:
    if isinstance(value, list):
        # Without separators of thousands, which look like the list's; texts quoted, as they may be empty.
        return (
            f"[{', '.join(f'{v:.6g}' if isinstance(v, float) else json.dumps(v, ensure_ascii=False) for v in value)}]"
        )
    return f"{value:,.6g}" if isinstance(value, float) else str(value)


def _describe(console: Console, pipeline_plan: PipelinePlan, view: ViewPlan) -> None:
    conditions = {column.name: column.sql for column in pipeline_plan.filters}
    console.print(
        Text.assemble(
            (view.id, "bold"),
            f"  per {view.entity} ",
            ("keyed by ", "dim"),
            "|".join(pipeline_plan.key_columns(view)),
            ("  hash ", "dim"),
            view.hash,
        )
    )
    table = RichTable(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for title in ("feature", "aggregate", "window", "hop", "where", "type"):
        table.add_column(title)
    for feature in view.features:
        table.add_row(
            feature.name,
            feature.call,
            span(feature.window_ms),
            "" if feature.is_lifetime else span(feature.hop_ms),
            Text(str(conditions[feature.where])) if feature.where else "",
            feature.type,
        )
    for derived in view.derived:
        table.add_row(derived.name, Text(derived.sql), "", "", "", derived.type)
    console.print(table)
    console.print(f"[dim]Redis[/]     {redis_key(pipeline_plan, view, view.entity.upper())}", highlight=False)
    console.print(f"[dim]Cassandra[/] {history_table(pipeline_plan, view, 0).name}\n", highlight=False)


def _age(ms: int) -> str:
    return f"{timedelta(milliseconds=abs(ms))} {'later' if ms >= 0 else 'earlier'}"


def iso(time_ms: int) -> str:
    """Epoch milliseconds for people, in UTC."""
    try:
        return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(sep=" ", timespec="milliseconds")
    except (OverflowError, ValueError, OSError):
        return f"{time_ms} ms"
