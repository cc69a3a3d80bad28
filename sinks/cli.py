"""``penstock sink`` carries records to the stores; ``penstock features`` shows what the online store says."""

from __future__ import annotations

import importlib
import json
import logging
import random
import signal
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import click
import redis
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from penstock.errors import PenstockError
from penstock.event_time import EventTime
from penstock.settings import Settings
from penstock.telemetry import Progress, metrics_option, serve
from schemas.contract import Pii
from schemas.features import features_decoder
from sinks.cassandra_sink import LOCAL_REPLICATION, CassandraStore
from sinks.cassandra_tables import history_table
from sinks.redis_sink import FeatureReader, RedisStore, connect, redis_key
from sinks.rewind import rewind as rewind_group
from sinks.runner import Sink, group_id
from sinks.store import Store
from sinks.vectors import State, Vector
from streams.definitions import Pipeline
from streams.entities import hashed_text
from streams.feature_types import FeatureValue
from streams.lag_watch import LagWatch
from streams.loading import load_pipeline
from streams.plan import PipelinePlan, ViewPlan, plan
from streams.topics import dead_letters_of, require_topics
from streams.words import duration_ms, span

_COLOURS = {State.PRESENT: "green", State.STALE: "yellow", State.EXPIRED: "red", State.MISSING: "red"}
_STORES = {"redis": ("features_topic",), "cassandra": ("features_topic", "predictions_topic")}


class _Duration(click.ParamType):
    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return duration_ms(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _replication(_: click.Context, __: click.Parameter, value: str) -> dict[str, str | int]:
    try:
        replication = json.loads(value)
    except json.JSONDecodeError as error:
        raise click.BadParameter(f"not JSON: {error}") from error
    if not isinstance(replication, dict) or "class" not in replication or "'" in value:
        raise click.BadParameter("a JSON object with a class, as Cassandra has it")
    return replication


@click.group()
def sink() -> None:
    """Carry features and predictions to Redis and Cassandra."""


@sink.group()
def run() -> None:
    """Run a sink in the foreground; start more of them to share the partitions."""


@run.command("redis")
@click.argument("pipeline")
@click.option(
    "--grace",
    type=_Duration(),
    default="7d",
    show_default=True,
    help="Keep a vector this long after its longest window has passed: raise it for replays that pause longer.",
)
@metrics_option
def run_redis(pipeline: str, grace: int, metrics_port: int | None) -> None:
    """Keep the latest vector of every entity in Redis."""
    definition, settings = load_pipeline(pipeline), Settings()
    decoder = features_decoder(definition, settings.schemas)
    _run(RedisStore(plan(definition), connect(settings), grace, decoder), definition, settings, metrics_port)


@run.command("cassandra")
@click.argument("pipeline")
@click.option(
    "--replication",
    envvar="PENSTOCK_CASSANDRA_REPLICATION",
    default=json.dumps(dict(LOCAL_REPLICATION)),
    callback=_replication,
    help="Replication of the keyspace as JSON, used if the keyspace has to be created.",
)
@click.option(
    "--history-ttl",
    type=_Duration(),
    default="90d",
    show_default=True,
    help="Life of feature rows, in tables it creates.",
)
@click.option(
    "--prediction-ttl", type=_Duration(), default="400d", show_default=True, help="Life of predictions, likewise."
)
@metrics_option
def run_cassandra(
    pipeline: str, replication: dict[str, str | int], history_ttl: int, prediction_ttl: int, metrics_port: int | None
) -> None:
    """Keep the history of all vectors, and the log of all predictions, in Cassandra."""
    definition, settings = load_pipeline(pipeline), Settings()
    store = CassandraStore(
        definition,
        settings,
        replication=replication,
        history_ttl_s=history_ttl // 1000,
        prediction_ttl_s=prediction_ttl // 1000,
    )
    _run(store, definition, settings, metrics_port)


def _run(store: Store[Any], pipeline: Pipeline, settings: Settings, metrics_port: int | None) -> None:
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # The driver tells of every lost connection; the sink says once what it means.
    logging.getLogger("cassandra").setLevel(logging.CRITICAL)
    topics = [name for topic in store.topics for name in (topic, dead_letters_of(topic))]
    require_topics(pipeline, settings.kafka, topics)
    progress = Progress(time.monotonic)
    watch = LagWatch(settings.kafka, pipeline.name, f"sink-{store.name}", progress)
    runner = Sink(store, pipeline.name, settings.kafka, watch, random.Random())  # noqa: S311 - jitter
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: runner.stop())
    with serve(metrics_port, settings.metrics_host, progress.health), watch:
        runner.run()


@sink.command()
@click.argument("store", type=click.Choice(list(_STORES)))
@click.argument("pipeline")
def rewind(store: str, pipeline: str) -> None:
    """Fill a store again that has lost its data: its stopped sink will read its topics from the start.

    Records that the store still has are recognised; nothing is written twice.
    """
    definition, settings = load_pipeline(pipeline), Settings()
    topics = [getattr(definition, name) for name in _STORES[store]]
    require_topics(definition, settings.kafka, topics)
    for topic, records in rewind_group(settings.kafka, group_id(definition.name, store), topics).items():
        click.echo(f"{topic}: {records} records to read again")
    click.echo(f"next: penstock sink run {store} {pipeline}")


class _Features(click.Group):
    """With the commands that run the kernel, which are imported when they are used."""

    _IN_PROCESS = ("plan", "test")

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
    """Describe feature views, test them, or get an entity's latest vector."""


@features.command()
@click.argument("pipeline")
@click.argument("view")
@click.argument("entity")
@click.option("--at", type=EventTime(), help="Event time at which to read (epoch ms or ISO 8601, UTC); default now.")
@click.option(
    "--hash", "hashed", is_flag=True, help="ENTITY is the personal value itself: hash it first (- reads it from stdin)."
)
def get(pipeline: str, view: str, entity: str, at: int | None, hashed: bool) -> None:
    r"""Show an entity's features as the online store has them.

    An entity that is personal data is known by its hash alone, as records and predictions show it; --hash makes it
    from the value, with the pipeline's PII key. One that several columns name is written as their values joined by |,
    with a \ before each | or \ within a value.
    """
    definition, settings = load_pipeline(pipeline), Settings()
    pipeline_plan = plan(definition)
    view_plan = _view(pipeline_plan, view)
    if hashed:
        entity = _hashed(
            pipeline_plan, view_plan, sys.stdin.readline().rstrip("\n") if entity == "-" else entity, settings
        )
    now_ms = time.time_ns() // 1_000_000 if at is None else at
    try:
        vector = FeatureReader(pipeline_plan, connect(settings)).get(view, entity, now_ms)
    except redis.RedisError as error:
        raise PenstockError(
            f"Redis does not answer: {error}", where=settings.redis_url, next="penstock status"
        ) from error
    _show(Console(), view_plan, vector, now_ms, at is None)
    personal = _personal(pipeline_plan, view_plan)
    if vector.state is State.MISSING and not hashed and personal:
        click.echo(
            f"{', '.join(sorted(personal))} is personal, known by its hash alone: for the value itself, use --hash"
        )
    click.get_current_context().exit(1 if vector.state is State.MISSING else 0)


@features.command()
@click.argument("pipeline")
@click.argument("view", required=False)
def describe(pipeline: str, view: str | None) -> None:
    """Show what the features of a pipeline, or of one view, are and where they are kept."""
    pipeline_plan, console = plan(load_pipeline(pipeline)), Console()
    for view_plan in (_view(pipeline_plan, view),) if view else pipeline_plan.views:
        _describe(console, pipeline_plan, view_plan)


def _view(pipeline_plan: PipelinePlan, name: str) -> ViewPlan:
    try:
        return pipeline_plan.view(name)
    except KeyError as error:
        raise PenstockError(error.args[0], next=f"penstock features describe {pipeline_plan.pipeline}") from error


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
        f"[dim]as of[/] {_iso(vector.as_of)} [dim](read at {_iso(now_ms)}, {_age(now_ms - vector.as_of)})[/]  "
        f"[dim]epoch[/] {vector.epoch} [dim]seq[/] {vector.seq} [dim]attempt[/] {vector.attempt}"
    )
    table = RichTable(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("feature")
    table.add_column("value", justify="right")
    for name, value in vector.values.items():
        table.add_row(name, Text("null", "dim") if value is None else Text(_shown(value)))
    console.print(table)
    if at_now and vector.state in (State.STALE, State.EXPIRED):
        console.print(f"[dim]windows that have passed read as empty; as it was then: --at {vector.as_of}[/]")


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


def _iso(time_ms: int) -> str:
    try:
        return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(sep=" ", timespec="milliseconds")
    except (OverflowError, ValueError, OSError):
        return f"{time_ms} ms"
