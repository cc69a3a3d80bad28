"""``penstock job start | run | stop | upgrade | rescale | status``."""

from __future__ import annotations

import logging
from typing import Any

import click

from penstock.commands.errors import pipeline_argument
from penstock.commands.exit_codes import ExitCode
from penstock.commands.options import skip_deleted_option
from penstock.commands.stopping import stop_event
from penstock.errors import PenstockError
from penstock.settings import Settings
from penstock.time import readable
from streams.flink import lifecycle
from streams.flink.keeping import keep_job
from streams.flink.upgrade import ReplacedJob, UpgradePlan, plan_upgrade
from streams.flink.upgrade import rescale as rescale_job
from streams.flink.upgrade import upgrade as upgrade_job
from streams.plan.project import open_project


@click.group()
def job() -> None:
    """Start, stop (with a savepoint), upgrade, rescale or show the feature job of a pipeline."""


@job.command()
@pipeline_argument
@click.option(
    "--from-savepoint",
    "savepoint",
    metavar="latest|PATH",
    help="Continue from the savepoint of the last `job stop`, or from a savepoint or retained checkpoint at PATH: "
    "a URL, a path on Flink's machines, or a relative path on this one.",
)
@click.option("--empty", is_flag=True, help="Start with empty windows even if there is state to continue from.")
@click.option("--parallelism", type=click.IntRange(1, 128), default=1, show_default=True, help="Tasks per operator.")
@click.option(
    "--exactly-once", is_flag=True, help="Publish in Kafka transactions: features become visible at each checkpoint."
)
@click.option(
    "--checkpoint-interval-ms",
    type=click.IntRange(100),
    default=2_000,
    show_default=True,
    help="Time between checkpoints.",
)
@click.option(
    "--python-mode",
    type=click.Choice(["thread", "process"]),
    default="thread",
    show_default=True,
    help="Where Python columns run: in threads of the JVM, or in processes beside it.",
)
@click.option(
    "--state-backend",
    type=click.Choice(["heap", "rocksdb"]),
    default="heap",
    show_default=True,
    help="Where state is kept: as objects on the heap, or on the TaskManager's disk with incremental checkpoints.",
)
@click.option(
    "--forget-after-days",
    type=click.IntRange(1, 36_500),
    default=30,
    show_default=True,
    help="How long to keep the state of an idle entity beyond its longest window; at least the raw topic's retention.",
)
@click.option(
    "--drop-state",
    is_flag=True,
    help="Start even if the savepoint has state of entities that the pipeline no longer has.",
)
@skip_deleted_option
@click.option("--unless-running", is_flag=True, help="If the job already runs or recovers, do nothing and exit with 0.")
def start(pipeline: str, savepoint: str | None, empty: bool, unless_running: bool, **options: Any) -> None:
    """Submit the feature job of PIPELINE to Flink and wait until it runs.

    The first start has empty windows. A later one needs --from-savepoint, or --empty to discard what an earlier job
    left: the savepoint of `job stop`, or the last checkpoint of a job that was cancelled or failed.
    """
    if savepoint is not None and empty:
        raise click.UsageError("--from-savepoint and --empty exclude each other")
    project, settings = open_project(pipeline), Settings()
    found = lifecycle.status(project, settings) if unless_running else None
    if found is not None and found.is_active:
        click.echo(f"{found.name} is already {found.state.lower()}: job {found.id}")
        return
    started = lifecycle.start(project, settings, savepoint=savepoint, empty=empty, **options)
    click.echo(f"{started.name} is running: job {started.id}, {started.tasks} tasks")


@job.command()
@pipeline_argument
def run(pipeline: str) -> None:
    """Keep the feature job of PIPELINE going until stopped (SIGTERM or Ctrl-C), which takes a savepoint.

    A job that runs already goes on. Otherwise one is started from what the last one left: its savepoint or its last
    checkpoint, with its options. Events that arrive meanwhile wait in Kafka.
    """
    from penstock.telemetry import configure_logging  # noqa: PLC0415 - the image of jobs serves no metrics

    configure_logging(httpx=logging.WARNING)
    stop = stop_event()
    path = keep_job(open_project(pipeline), Settings(), stop)
    click.echo("the job does not run" if path is None else f"stopped; savepoint {path}")


@job.command()
@pipeline_argument
def stop(pipeline: str) -> None:
    """Stop the job of PIPELINE with a savepoint, and print the savepoint's path."""
    path = lifecycle.stop(open_project(pipeline), Settings())
    click.echo(f"stopped; savepoint {path}")
    click.echo(f"continue with: penstock job start {pipeline} --from-savepoint latest")


@job.command()
@pipeline_argument
@click.option("--empty", is_flag=True, help="Begin new views with empty windows.")
@click.option("--dry-run", is_flag=True, help="Only say what would become of each view; change nothing.")
def upgrade(pipeline: str, empty: bool, dry_run: bool) -> None:
    """Replace the running job by one with the current definitions and release, from a savepoint.

    The job keeps its options, and unchanged views their state. If there are new views, it is refused without --empty:
    `penstock backfill run PIPELINE --into live` replaces the job, too, and fills them with their history first. Before,
    restart the sinks, the scorers and the drift app, so that they can read the new records.
    """
    project, settings = open_project(pipeline), Settings()
    plan = plan_upgrade(project, settings)
    if dry_run:
        _print_plan(pipeline, plan)
        return
    if plan.added and not empty:
        raise PenstockError(
            f"new views would begin empty, and count too little until their windows have filled: "
            f"{', '.join(plan.added)}",
            where=f"{settings.flink.rest}, job {plan.job.id}",
            safe="the job keeps running unchanged",
            next=f"penstock backfill run {pipeline} --into live, which fills them with their history; "
            f"or penstock job upgrade {pipeline} --empty",
        )
    replaced = upgrade_job(project, settings)
    _print_change(pipeline, replaced)
    for what, views in (("started empty", replaced.added), ("removed, with their state", replaced.removed)):
        if views:
            click.echo(f"{what}: {', '.join(views)}")


def _print_plan(pipeline: str, plan: UpgradePlan) -> None:
    kept = [view for view in plan.target.views if view in plan.running.views]
    for what, views in (
        ("kept, with their state", kept),
        ("would begin empty", plan.added),
        ("would be removed, with their state", plan.removed),
    ):
        if views:
            click.echo(f"{what}: {', '.join(views)}")
    if plan.added:
        click.echo(f"to fill them with their history: penstock backfill run {pipeline} --into live")


@job.command()
@pipeline_argument
@click.option("--parallelism", type=click.IntRange(1, 128), required=True, help="Tasks per operator.")
def rescale(pipeline: str, parallelism: int) -> None:
    """Change the parallelism of the running job of PIPELINE: stop it with a savepoint and start from it."""
    _print_change(pipeline, rescale_job(open_project(pipeline), Settings(), parallelism))


def _print_change(pipeline: str, replaced: ReplacedJob) -> None:
    click.echo(
        f"{replaced.job.name} is running: job {replaced.job.id}, {replaced.job.tasks} tasks, from {replaced.savepoint}"
    )
    options = f"{replaced.options.arguments()} --from-savepoint latest"
    click.echo(f"after a stop, start it again with: penstock job start {pipeline}{options}")


@job.command()
@pipeline_argument
def status(pipeline: str) -> None:
    """Show the job of PIPELINE. Exits with 3 unless it is running."""
    project, settings = open_project(pipeline), Settings()
    found = lifecycle.status(project, settings)
    if found is None:
        click.echo(f"Flink has no job of {pipeline}")
        raise SystemExit(ExitCode.CHECK_FAILED)
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
    deleted = lifecycle.failure_of(project, settings, found) if found.restarts else None
    if deleted is not None:
        raise deleted
    if found.state != "RUNNING":
        raise SystemExit(ExitCode.CHECK_FAILED)
