"""``penstock backfill run --into live``: fills new views of a running pipeline, which then take over."""

from __future__ import annotations

import sys

import click
from rich.console import Console

from backfill.live.run import FillPlan, FillRequest, discard_fill, plan_fill, run_fill
from backfill.progress_bar import ProgressBar
from backfill.resumable import StoppedError
from penstock.commands.exit_codes import ExitCode
from penstock.commands.stopping import stop_event
from penstock.counts import counted
from penstock.settings import Settings
from penstock.time import iso
from streams.plan.project import Project, open_project


def fill_live(pipeline: str, request: FillRequest, *, discard: bool = False, dry_run: bool = False) -> None:
    """Run, plan or discard the fill of a pipeline, and say what was done.

    Raises:
        PenstockError: as :func:`backfill.live.run.run_fill`.
    """
    project, settings = open_project(pipeline), Settings()
    if discard:
        run = discard_fill(project, settings)
        click.echo("no fill has begun" if run is None else f"fill {run} was given up; the running job goes on")
        return
    if dry_run:
        _show(project, plan_fill(project, settings, request))
        return
    stop = stop_event()
    try:
        with ProgressBar(Console()) as progress:
            job = run_fill(project, settings, request, progress, stop)
    except StoppedError:
        click.echo("\nstopped; the running job goes on, and the same command continues", err=True)
        click.echo(f"to give it up: penstock backfill run {pipeline} --into live --discard", err=True)
        sys.exit(ExitCode.INTERRUPTED)
    if job is None:
        click.echo("nothing to fill: the running job has every view")
        return
    click.echo(f"{job.name} is running: job {job.id}, {job.tasks} tasks; the new views have their history")


def _show(project: Project, plan: FillPlan | None) -> None:
    if plan is None:
        click.echo("nothing to fill: the running job has every view")
        return
    fill, upgrade = plan.fill, plan.upgrade
    click.echo(f"filled with their history: {', '.join(fill.views)}")
    for what, views in (
        ("kept, with their state", [view for view in upgrade.target.views if view in upgrade.running.views]),
        ("would begin empty", [view for view in upgrade.added if view not in fill.views]),
        ("would be removed, with their state", upgrade.removed),
    ):
        if views:
            click.echo(f"{what}: {', '.join(views)}")
    for source, offsets in zip(project.plan.sources, fill.segments[0].sources, strict=True):
        for number, start in sorted(offsets.start.items()):
            click.echo(f"{source.topic}[{number}] {start} to {offsets.end[number]}, and what comes meanwhile")
    click.echo(counted(fill.segments[0].records, "record"))
    since = "the first event" if fill.complete_from_ms <= 0 else iso(fill.complete_from_ms)
    click.echo(
        f"values as of {since} or later are complete" + ("" if plan.is_complete else ": not yet at the takeover")
    )
