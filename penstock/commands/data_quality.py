"""``penstock data-quality``: learn what raw events are like, watch them, and show what is unusual."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import click
from rich.table import Table
from rich.text import Text

from penstock.commands.console import console_on
from penstock.commands.errors import pipeline_argument
from penstock.commands.options import EventTime, json_option, metrics_option, skip_deleted_option, source_option
from penstock.counts import counted
from penstock.kafka.reading import RecordsGoneError, read_topic
from penstock.kafka.topics import require_topics
from penstock.settings import Settings
from penstock.telemetry import ProgressTracker, configure_logging, serve
from penstock.time import iso, readable
from schemas.registry import registry_schemas
from streams.drift.data_quality.quality_reference import QualityReference
from streams.drift.data_quality.quality_store import (
    read_kept,
    require_declared,
    require_reference,
    write_reference,
)
from streams.drift.data_quality.quality_watch import QualityWatch
from streams.drift.data_quality.raw_events import RawReader, watched_topics
from streams.plan.project import Project, open_project

if TYPE_CHECKING:
    from rich.console import Console

    from backfill.topic_reading import Topics
    from schemas.codec import Registry
    from streams.drift.data_quality.learning import Watched


@click.group("data-quality")
def data_quality() -> None:
    """Watch raw events for faults of their producers, before the contract refuses any."""


@data_quality.command()
@pipeline_argument
@click.option("--from", "from_ms", type=EventTime(), help="Learn from this event time on (default: all).")
@click.option("--to", "to_ms", type=EventTime(), help="Learn from events before this event time (default: all).")
@click.option("--seed", type=int, default=1, show_default=True, help="The same events and seed give the same.")
@source_option
@json_option
def profile(
    pipeline: str, *, from_ms: int | None, to_ms: int | None, seed: int, archive: str | None, as_json: bool
) -> None:
    """Learn from a good time what the raw events of PIPELINE are like, as of when its model was trained.

    Reads the topics of its sources and labels twice, and replaces what was learnt before. A process of `penstock
    data-quality run` takes it up.
    """
    from backfill.topic_reading import topics_of  # noqa: PLC0415 - slow to import
    from streams.drift.data_quality.learning import learn  # noqa: PLC0415

    project, settings = open_project(pipeline), Settings()
    definition = project.pipeline
    monitors = require_declared(definition)
    # Now, and not when all events have been read twice: a stack that an earlier release set up may lack it.
    require_topics([definition.data_quality_topic], settings.kafka.access, partitions=1, pipeline=pipeline)
    topics = topics_of(settings.kafka.access, archive)
    registry = registry_schemas(settings.schema_registry_url)
    watched = list(_watched(project, topics, registry, 0 if from_ms is None else from_ms, to_ms))
    reference = learn(definition.name, watched, monitors.window, monitors.false_alarm_every, seed)
    write_reference(settings.kafka.access, definition, reference, _now())
    if as_json:
        click.echo(reference.model_dump_json(indent=2))
        return
    console = console_on(highlight=False)
    for one in reference.topics:
        span = f"{readable(one.from_ms, 'minutes', zone='')} to {readable(one.until_ms, 'minutes', zone=' UTC')}"
        console.print(f"{one.topic}: {counted(one.events, 'event')}, {span}", soft_wrap=True)
    _print_refusals(console, reference)
    if missing := {topic.topic for topic in watched_topics(definition)} - {one.topic for one in reference.topics}:
        console.print(f"not watched, as nothing has come yet: {', '.join(sorted(missing))}")


@data_quality.command()
@pipeline_argument
@skip_deleted_option
@metrics_option
def run(pipeline: str, metrics_port: int | None, skip_deleted: bool) -> None:
    """Watch the raw events of PIPELINE until stopped (SIGTERM or Ctrl-C).

    Publishes an alert for each fault to drift.PIPELINE, exactly once. A pipeline has one such process: a second one
    replaces the first.
    """
    from streams.drift.data_quality.quality_service import run_data_quality  # noqa: PLC0415 - not needed to show

    configure_logging()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    project, settings = open_project(pipeline), Settings()
    progress = ProgressTracker(time.monotonic)
    with serve(metrics_port, settings.metrics_host, progress.health):
        run_data_quality(project, settings, progress, stop, skip_deleted=skip_deleted)


@data_quality.command()
@pipeline_argument
@json_option
def show(pipeline: str, as_json: bool) -> None:
    """Show what of the raw events of PIPELINE is unusual now, as last saved, and what is not watched."""
    project, settings = open_project(pipeline), Settings()
    watch = saved_watch(project, settings)
    if as_json:
        click.echo(json.dumps(_as_json(watch), indent=2))
    else:
        print_data_quality(console_on(highlight=False), watch)


def saved_watch(project: Project, settings: Settings) -> QualityWatch:
    """The state that was saved last.

    Raises:
        PenstockError: if nothing was learnt, or Kafka does not answer.
    """
    pipeline = project.pipeline
    require_declared(pipeline)
    kept = read_kept(partial(read_topic, settings.kafka.access), pipeline)
    reference = require_reference(kept, pipeline, project.reference)
    watch = QualityWatch(watched_topics(pipeline), reference, pipeline.source.partitions)
    if kept.note is not None and kept.note.state.reference == reference.hash:
        watch.restore(kept.note.state, kept.partitions)
    return watch


def print_data_quality(console: Console, watch: QualityWatch) -> None:
    """Print what is watched, what is unusual, and what is refused."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("topic", "events", "until", "unusual now"):
        table.add_column(title, justify="right" if title == "events" else "left", no_wrap=title != "unusual now")
    for topic, one in watch.topics.items():
        until = readable(one.newest_ms, "minutes", zone="") if one.newest_ms else "-"
        unusual = ", ".join(_named(key) for key in sorted(one.over))
        table.add_row(topic, f"{one.observed:,}", until, Text(unusual or "-", style="red" if unusual else ""))
    console.print(table)
    _print_refusals(console, watch.reference)


def _print_refusals(console: Console, reference: QualityReference) -> None:
    for one in reference.topics:
        for refusal in one.refused:
            console.print(f"not watched: {refusal}", soft_wrap=True)


def _named(key: str) -> str:
    """A check as a person reads it: ``amount by range (4.2)``."""
    producer, _, check = key.rpartition("|")
    column, _, kind = check.rpartition(":")
    return f"{column} by {kind}".removeprefix(" by ") + (f" ({producer})" if producer else "")


def _as_json(watch: QualityWatch) -> dict[str, object]:
    return {
        "pipeline": watch.reference.pipeline,
        "incident": watch.open_incident,
        "topics": {
            topic: {
                "events": one.observed,
                "until": iso(one.newest_ms) if one.newest_ms else None,
                "unusual": [_named(key) for key in sorted(one.over)],
                "refused": list(one.reference.refused),
            }
            for topic, one in watch.topics.items()
        },
    }


def _now() -> int:
    return time.time_ns() // 1_000_000


def _watched(
    project: Project, topics: Topics, registry: Registry | None, from_ms: int, to_ms: int | None
) -> Iterator[Watched]:
    from streams.drift.data_quality.learning import Watched  # noqa: PLC0415
    from streams.drift.data_quality.period import Period  # noqa: PLC0415

    for topic in watched_topics(project.pipeline):
        try:
            ranges = topics.ranges(topic.topic)
        except RecordsGoneError:
            if topic.is_labels:
                continue
            raise
        starts, ends = {n: first for n, (first, _) in ranges.items()}, {n: end for n, (_, end) in ranges.items()}
        read = partial(topics.read, topic.topic, start=starts, end=ends)
        period = Period(read, RawReader(topic, project, _now, registry), from_ms, to_ms, ends)
        yield Watched(topic.topic, topic.columns, topic.has_ids, period.events, period.start)
