"""`penstock topics create | show`."""

from __future__ import annotations

import json
import time
from dataclasses import asdict

import click
from rich.table import Table

from penstock.commands.console import console_on
from penstock.commands.errors import pipeline_argument
from penstock.commands.options import json_option
from penstock.commands.running.screen import seconds
from penstock.counts import counted
from penstock.kafka.names import Topic
from penstock.kafka.topics import admin_client, create_topics, largest_messages, partition_counts, require_room
from penstock.running.topic_figures import TopicFigures, figures_of
from penstock.settings import Settings
from streams.definitions.loading import load_pipeline
from streams.definitions.windows import duration_text
from streams.plan.pipeline_topics import pipeline_topics, room_of_data_quality, room_of_job, room_of_scorer


@click.group()
def topics() -> None:
    """Create a pipeline's topics, or show them."""


@topics.command()
@pipeline_argument
@click.option(
    "--replication",
    type=click.IntRange(min=1),
    help="Replication factor of new topics.  [default: the brokers' default.replication.factor]",
)
def create(pipeline: str, replication: int | None) -> None:
    """Create the topics that PIPELINE reads and writes; existing topics are not changed."""
    definition, kafka = load_pipeline(pipeline), Settings().kafka.access
    wanted = pipeline_topics(definition)
    created = create_topics(wanted, kafka, replication=replication)
    for topic in wanted:
        state = "created" if topic.name in created else "exists "
        click.echo(f"{state}  {topic.name}  ({counted(topic.partitions, 'partition')})")
    largest = largest_messages([topic.name for topic in wanted], kafka)
    room = room_of_job(definition, largest) | room_of_scorer(definition, largest)
    require_room(room | room_of_data_quality(definition), largest, kafka)


@topics.command()
@pipeline_argument
@json_option
def show(pipeline: str, *, as_json: bool) -> None:
    """Show the topics of PIPELINE: whether each exists with the right number of partitions, and what is in it.

    Records are offsets, and those of transactions count their markers. The rate is that of the last minute. Behind is
    who has not done how many yet, and how long the oldest of them waits. Who has not begun has committed nothing: the
    feature job does so with its first checkpoint.
    """
    definition, kafka = load_pipeline(pipeline), Settings().kafka.access
    existing = partition_counts(admin_client(kafka), kafka)
    wanted = pipeline_topics(definition)
    there = [Topic(topic.name, existing[topic.name]) for topic in wanted if topic.name in existing]
    figures = figures_of(definition, there, kafka, time.time_ns() // 1_000_000)
    if as_json:
        found = [_as_object(topic, existing.get(topic.name), figures.get(topic.name)) for topic in wanted]
        click.echo(json.dumps(found, indent=2))
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("topic", "partitions", "state", "records", "per second", "kept", "behind"):
        right = title in ("partitions", "records", "per second")
        table.add_column(title, justify="right" if right else "left", no_wrap=True)
    for topic in wanted:
        cells = _cells(figures[topic.name]) if topic.name in figures else ()
        table.add_row(topic.name, str(topic.partitions), _state(topic, existing.get(topic.name)), *cells)
    console_on(highlight=False).print(table)


def _state(topic: Topic, partitions: int | None) -> str:
    if partitions is None:
        return "missing"
    return "ok" if partitions == topic.partitions else f"has {counted(partitions, 'partition')}"


def _cells(figures: TopicFigures) -> tuple[str, str, str, str]:
    return f"{figures.records:,}", f"{figures.per_second:,.1f}", _kept(figures), _behind(figures)


def _behind(figures: TopicFigures) -> str:
    behind = [
        f"{name} all {lag.records:,} (not begun)"
        if name in figures.not_begun
        else f"{name} {lag.records:,} ({seconds(lag.seconds)})"
        for name, lag in figures.behind.items()
        if lag.records
    ]
    if behind or not figures.behind:
        return ", ".join(behind)
    return "no reader yet" if set(figures.behind) == set(figures.not_begun) else "nobody"


def _kept(figures: TopicFigures) -> str:
    if figures.is_compacted:
        return "the newest of each key"
    age = "for ever" if figures.retention_ms is None else duration_text(figures.retention_ms)
    size = figures.retention_bytes
    return age if size is None else f"{age}, {size / 2**20:,.0f} MiB a partition"


def _as_object(topic: Topic, partitions: int | None, figures: TopicFigures | None) -> dict[str, object]:
    found: dict[str, object] = {"topic": topic.name, "state": _state(topic, partitions), "partitions": partitions}
    if figures is None:
        return found
    behind = {part: {"records": lag.records, "seconds": lag.seconds} for part, lag in figures.behind.items()}
    return found | asdict(figures) | {"behind": behind}
