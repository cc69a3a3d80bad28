"""``penstock sink`` carries records to the stores."""

from __future__ import annotations

import json
import logging
import random
import signal
import time
from typing import Any

import click

from penstock.commands.options import metrics_option
from penstock.kafka.lag_watch import LagWatch
from penstock.kafka.names import dead_letters_of
from penstock.kafka.topics import require_topics
from penstock.settings import Settings
from penstock.telemetry import Progress, configure_logging, serve
from sinks.cassandra_sink import LOCAL_REPLICATION, CassandraStore
from sinks.redis_sink import RedisStore, connect
from sinks.rewind import rewind as rewind_group
from sinks.runner import Sink, group_id
from sinks.store import Store
from streams.definitions.loading import load_pipeline
from streams.definitions.pipeline import Pipeline
from streams.definitions.windows import duration_ms
from streams.plan.compiler import compile_plan
from streams.plan.feature_records import features_decoder

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
    plan = compile_plan(definition)
    decoder = features_decoder(plan, settings.schemas)
    _run(RedisStore(plan, connect(settings.redis), grace, decoder), definition, settings, metrics_port)


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
    # The driver logs every lost connection; the sink says once what it means.
    configure_logging(cassandra=logging.CRITICAL)
    topics = [name for topic in store.topics for name in (topic, dead_letters_of(topic))]
    require_topics(topics, settings.kafka.access, partitions=pipeline.source.partitions, pipeline=pipeline.name)
    progress = Progress(time.monotonic)
    watch = LagWatch(settings.kafka.access, pipeline.name, f"sink-{store.name}", progress)
    runner = Sink(store, pipeline.name, settings.kafka.access, watch, random.Random())  # noqa: S311 - jitter
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
    require_topics(topics, settings.kafka.access, partitions=definition.source.partitions, pipeline=definition.name)
    for topic, records in rewind_group(settings.kafka.access, group_id(definition.name, store), topics).items():
        click.echo(f"{topic}: {records} records to read again")
    click.echo(f"next: penstock sink run {store} {pipeline}")
