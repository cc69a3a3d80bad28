"""``penstock job start | stop | status``."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from penstock.settings import Settings
from streams import jobs
from streams.loading import load_pipeline


@click.group()
def job() -> None:
    """Start, stop (with savepoint) or show the feature job of a pipeline."""


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
@click.option("--unless-running", is_flag=True, help="Do nothing, successfully, if the job runs or is recovering.")
def start(
    pipeline: str,
    savepoint: str | None,
    parallelism: int,
    exactly_once: bool,
    checkpoint_interval_ms: int,
    python_mode: str,
    unless_running: bool,
) -> None:
    """Submit the feature job of PIPELINE to Flink and wait until it runs.

    Without --from-savepoint its windows are empty at first.
    """
    definition, settings = load_pipeline(pipeline), Settings()
    found = jobs.status(definition, settings) if unless_running else None
    if found is not None and found.is_active:
        click.echo(f"{found.name} is {found.state.lower()} already: job {found.id}")
        return
    started = jobs.start(
        definition,
        settings,
        savepoint=savepoint,
        parallelism=parallelism,
        exactly_once=exactly_once,
        checkpoint_interval_ms=checkpoint_interval_ms,
        python_mode=python_mode,
    )
    click.echo(f"{started.name} is running: job {started.id}, {started.tasks} tasks")


@job.command()
@click.argument("pipeline")
def stop(pipeline: str) -> None:
    """Stop the job of PIPELINE with a savepoint, and print where it lies."""
    path = jobs.stop(load_pipeline(pipeline), Settings())
    click.echo(f"stopped; savepoint {path}")
    click.echo(f"continue with: penstock job start {pipeline} --from-savepoint latest")


@job.command()
@click.argument("pipeline")
def status(pipeline: str) -> None:
    """Show the job of PIPELINE; exits with 1 unless it runs."""
    found = jobs.status(load_pipeline(pipeline), Settings())
    if found is None:
        click.echo(f"Flink knows no job of {pipeline}")
        raise SystemExit(1)
    started = datetime.fromtimestamp(found.start_ms / 1000, UTC)
    for label, value in (
        ("job", f"{found.name} ({found.id})"),
        ("state", found.state),
        ("since", f"{started:%Y-%m-%d %H:%M:%S} UTC"),
        ("tasks", f"{found.tasks_running} of {found.tasks} running"),
        ("restarts", str(found.restarts)),
        ("checkpoints", f"{found.checkpoints}, newest {found.checkpoint or 'none'}"),
        ("failure", found.failure),
    ):
        if value:
            click.echo(f"{label + ':':<13}{value}")
    if found.state != "RUNNING":
        raise SystemExit(1)
