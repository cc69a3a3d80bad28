"""``penstock job start | stop | upgrade | rescale | status``."""

from __future__ import annotations

from typing import Any

import click

from penstock.settings import Settings
from penstock.time import readable
from streams.flink import lifecycle
from streams.flink.upgrade import JobChange
from streams.flink.upgrade import rescale as rescale_job
from streams.flink.upgrade import upgrade as upgrade_job
from streams.plan.project import open_project


@click.group()
def job() -> None:
    """Start, stop (with savepoint), upgrade, rescale or show the feature job of a pipeline."""


@job.command()
@click.argument("pipeline")
@click.option(
    "--from-savepoint",
    "savepoint",
    metavar="latest|PATH",
    help="Continue from the savepoint that `job stop` left, or from a savepoint or retained checkpoint at PATH.",
)
@click.option("--parallelism", type=click.IntRange(1, 128), default=1, show_default=True, help="Tasks per operator.")
@click.option(
    "--exactly-once", is_flag=True, help="Publish in Kafka transactions: visible at each checkpoint, not at once."
)
@click.option(
    "--checkpoint-interval-ms", type=click.IntRange(100), default=2_000, show_default=True, help="How often to save."
)
@click.option(
    "--python-mode",
    type=click.Choice(["thread", "process"]),
    default="thread",
    show_default=True,
    help="How Python columns run: inside the JVM, or in processes beside it.",
)
@click.option(
    "--state-backend",
    type=click.Choice(["heap", "rocksdb"]),
    default="heap",
    show_default=True,
    help="Where state lives: as objects on the heap, or on the TaskManager's disk with incremental checkpoints.",
)
@click.option(
    "--forget-after-days",
    type=click.IntRange(1, 36_500),
    default=30,
    show_default=True,
    help="Keep the state of a silent entity so long beyond its longest window: longer than the raw topic keeps events.",
)
@click.option(
    "--drop-state",
    "drops_state",
    is_flag=True,
    help="Go on although the savepoint has state of entities that are gone.",
)
@click.option("--unless-running", is_flag=True, help="Do nothing, successfully, if the job runs or is recovering.")
def start(pipeline: str, savepoint: str | None, drops_state: bool, unless_running: bool, **options: Any) -> None:
    """Submit the feature job of PIPELINE to Flink and wait until it runs.

    Without --from-savepoint its windows are empty at first.
    """
    project, settings = open_project(pipeline), Settings()
    found = lifecycle.status(project, settings) if unless_running else None
    if found is not None and found.is_active:
        click.echo(f"{found.name} is {found.state.lower()} already: job {found.id}")
        return
    started = lifecycle.start(project, settings, savepoint=savepoint, drops_state=drops_state, **options)
    click.echo(f"{started.name} is running: job {started.id}, {started.tasks} tasks")


@job.command()
@click.argument("pipeline")
def stop(pipeline: str) -> None:
    """Stop the job of PIPELINE with a savepoint, and print where it lies."""
    path = lifecycle.stop(open_project(pipeline), Settings())
    click.echo(f"stopped; savepoint {path}")
    click.echo(f"continue with: penstock job start {pipeline} --from-savepoint latest")


@job.command()
@click.argument("pipeline")
def upgrade(pipeline: str) -> None:
    """Replace the running job by one of the current definitions and release, from a savepoint.

    The job keeps its options. Views that mean the same keep their state, new ones begin empty. Before, start the sinks,
    scorers and the drift app anew, so that they can read the new records.
    """
    done = upgrade_job(open_project(pipeline), Settings())
    _print_change(pipeline, done)
    for what, views in (("begin empty", done.added), ("are gone, with their state", done.removed)):
        if views:
            click.echo(f"{', '.join(views)} {what}")


@job.command()
@click.argument("pipeline")
@click.option("--parallelism", type=click.IntRange(1, 128), required=True, help="Tasks per operator.")
def rescale(pipeline: str, parallelism: int) -> None:
    """Give the running job of PIPELINE more tasks, or fewer: stop with a savepoint, start from it."""
    _print_change(pipeline, rescale_job(open_project(pipeline), Settings(), parallelism))


def _print_change(pipeline: str, done: JobChange) -> None:
    click.echo(f"{done.job.name} is running: job {done.job.id}, {done.job.tasks} tasks, from {done.savepoint}")
    click.echo(f"as by: penstock job start {pipeline}{done.options.arguments()}")


@job.command()
@click.argument("pipeline")
def status(pipeline: str) -> None:
    """Show the job of PIPELINE; exits with 1 unless it runs."""
    found = lifecycle.status(open_project(pipeline), Settings())
    if found is None:
        click.echo(f"Flink knows no job of {pipeline}")
        raise SystemExit(1)
    for label, value in (
        ("job", f"{found.name} ({found.id})"),
        ("state", found.state),
        ("since", readable(found.start_ms, "seconds", zone=" UTC")),
        ("tasks", f"{found.tasks_running} of {found.tasks} running"),
        ("restarts", str(found.restarts)),
        ("checkpoints", f"{found.checkpoints}, newest {found.checkpoint or 'none'}"),
        ("failure", found.failure),
    ):
        if value:
            click.echo(f"{label + ':':<13}{value}")
    if found.state != "RUNNING":
        raise SystemExit(1)
