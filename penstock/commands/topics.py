"""`penstock topics create | show`."""

from __future__ import annotations

import click
from rich.table import Table

from penstock.commands.console import console_on
from penstock.commands.errors import pipeline_argument
from penstock.counts import counted
from penstock.kafka.topics import admin_client, create_topics, largest_messages, partition_counts, require_room
from penstock.settings import Settings
from streams.definitions.loading import load_pipeline
from streams.plan.pipeline_topics import pipeline_topics, room_of_job, room_of_scorer


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
    require_room(room, largest, kafka)


@topics.command()
@pipeline_argument
def show(pipeline: str) -> None:
    """Show the topics of PIPELINE, and whether each exists with the right number of partitions."""
    kafka = Settings().kafka.access
    existing = partition_counts(admin_client(kafka), kafka)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("topic", "partitions", "state"):
        table.add_column(title)
    for topic in pipeline_topics(load_pipeline(pipeline)):
        count = existing.get(topic.name)
        state = (
            "missing" if count is None else "ok" if count == topic.partitions else f"has {counted(count, 'partition')}"
        )
        table.add_row(topic.name, str(topic.partitions), state)
    console_on().print(table)
