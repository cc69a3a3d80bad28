"""``penstock sink``: runs and rewinds sinks.

The modules in :mod:`sinks.stores` declare the commands and their options; no code here depends on a particular store.
"""

from __future__ import annotations

import json
import random
import signal
import time
from typing import Annotated, Any, get_args

import click
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from penstock.commands.errors import pipeline_argument
from penstock.commands.options import metrics_option, skip_deleted_option
from penstock.counts import counted
from penstock.kafka.lag_watch import LagWatch
from penstock.kafka.names import dead_letters_of
from penstock.kafka.topics import require_topics
from penstock.settings import Settings
from penstock.telemetry import ProgressTracker, configure_logging, serve
from sinks.rewind import rewind as rewind_group
from sinks.runner import Sink, group_id
from sinks.store_interface import EnvironmentVariable, StoreType
from sinks.store_registry import find_stores
from streams.definitions.loading import load_pipeline
from streams.definitions.windows import Duration, duration_text
from streams.plan.project import open_project


@click.group()
def sink() -> None:
    """Write features and predictions to Redis and Cassandra."""


@sink.group()
def run() -> None:
    """Run a sink in the foreground. Several processes share the partitions."""


def run_command(store_type: StoreType[Any]) -> click.Command:
    """``penstock sink run <store>``, with the options that the store declares."""

    @pipeline_argument
    def run_store(pipeline: str, metrics_port: int | None, skip_deleted: bool, **options: Any) -> None:
        _run(store_type, store_type.options(**options), pipeline, metrics_port, skip_deleted=skip_deleted)

    options: list[click.Parameter] = [_option(name, field) for name, field in store_type.options.model_fields.items()]
    command = click.command(store_type.name, params=options, help=store_type.summary)(run_store)
    return skip_deleted_option(metrics_option(command))


def _run(
    store_type: StoreType[Any], options: Any, reference: str, metrics_port: int | None, *, skip_deleted: bool
) -> None:
    configure_logging()
    project, settings = open_project(reference), Settings()
    store = store_type.create(project, settings, options)
    topics = [name for topic in store.topics for name in (topic, dead_letters_of(topic))]
    kafka = settings.kafka.access
    require_topics(topics, kafka, partitions=project.plan.source.partitions, pipeline=reference)
    progress = ProgressTracker(time.monotonic)
    watch = LagWatch(kafka, project.name, f"sink-{store.name}", progress)
    jitter = random.Random()  # noqa: S311 - no secret
    runner = Sink(
        store,
        project.name,
        kafka,
        watch,
        jitter,
        reference=reference,
        wait_ms=store_type.wait_ms,
        skip_deleted=skip_deleted,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: runner.stop())
    with serve(metrics_port, settings.metrics_host, progress.health), watch:
        runner.run()


class _FieldType(click.ParamType):
    """The type of an option that a field of an options model declares; the field validates the value."""

    def __init__(self, field: FieldInfo) -> None:
        annotated: Any = Annotated[field.annotation, field]
        self._adapter: TypeAdapter[Any] = TypeAdapter(annotated)
        self._is_json = _is_json(field)
        self.name = "duration" if _is_duration(field) else "integer" if field.annotation is int else "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return self._adapter.validate_python(json.loads(value) if self._is_json else value)
        except json.JSONDecodeError as error:
            self.fail(f"not JSON: {error}", param, ctx)
        except ValidationError as error:
            problem = error.errors()[0]
            self.fail(str(problem.get("ctx", {}).get("error", problem["msg"])), param, ctx)


def _option(name: str, field: FieldInfo) -> click.Option:
    default = field.default
    if _is_json(field):
        default = json.dumps(default)
    elif _is_duration(field):
        default = duration_text(default)
    return click.Option(
        [f"--{name.replace('_', '-')}"],
        type=_FieldType(field),
        envvar=next((extra.name for extra in field.metadata if isinstance(extra, EnvironmentVariable)), None),
        default=default,
        show_default=not _is_json(field),
        help=field.description,
    )


def _is_json(field: FieldInfo) -> bool:
    return isinstance(field.default, dict)


def _is_duration(field: FieldInfo) -> bool:
    return get_args(Duration)[1] in field.metadata


_STORES = find_stores()
for _store_type in _STORES.values():
    run.add_command(run_command(_store_type))


@sink.command()
@click.argument("store", type=click.Choice(list(_STORES)))
@pipeline_argument
def rewind(store: str, pipeline: str) -> None:
    """Restore a store that lost data: make its stopped sink read its topics from the start.

    Records that the store still has are not written twice.
    """
    definition, kafka = load_pipeline(pipeline), Settings().kafka.access
    topics = _STORES[store].topics(definition)
    require_topics(topics, kafka, partitions=definition.source.partitions, pipeline=pipeline)
    for topic, records in rewind_group(kafka, group_id(definition.name, store), topics).items():
        click.echo(f"{topic}: {counted(records, 'record')} to read again")
    click.echo(f"next: penstock sink run {store} {pipeline}")
