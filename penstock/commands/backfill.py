"""``penstock backfill``: writes the features and scores of past events, and shows and cancels what does so."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from backfill.live.run import FillRequest
from backfill.manifest import BackfillManifest
from backfill.overview import backfill_of, cancel_backfill, find_backfills
from backfill.progress_bar import ProgressBar
from backfill.resumable import StoppedError
from backfill.run import BackfillRequest, plan_backfill, run_backfill
from penstock.commands.backfill_live import fill_live
from penstock.commands.console import console_on
from penstock.commands.errors import pipeline_argument
from penstock.commands.lazy import Entry, LazyGroup
from penstock.commands.options import EventTime, source_option
from penstock.commands.stopping import stop_event
from penstock.counts import counted
from penstock.errors import PenstockError
from penstock.settings import Settings
from penstock.time import iso
from streams.flink.rest import Flink, Job
from streams.plan.project import Project, open_project

# For the estimate of a dry run: start-up, and the pace on two cores with 42 features an event.
_START_UP_S = 6.0
_USUAL_PER_S = 50_000
# MAX_PARALLELISM in streams/flink/job_graph.py.
_MOST_TASKS = 128


# The image of jobs runs backfills, and has nothing to score with.
_HERE = "penstock.commands.backfill"
backfill = LazyGroup(
    "backfill",
    help="Write the features of past events to Parquet, computed by the code of the live job; score past events.",
    entries={
        "run": Entry(
            f"{_HERE}:run", "Write the features of past events to Parquet files; or fill new views of a running job."
        ),
        "list": Entry(f"{_HERE}:list_backfills", "Show backfills and their jobs."),
        "show": Entry(f"{_HERE}:show", "Show what a backfill replays, and how far it is."),
        "cancel": Entry(f"{_HERE}:cancel", "Cancel the job of a backfill."),
        "score": Entry("penstock.commands.backfill_score:score", "Score past events with a version, or by a policy."),
    },
)


@click.command()
@pipeline_argument
@click.option(
    "--into",
    type=click.Choice(["parquet", "live"]),
    default="parquet",
    show_default=True,
    help="Write rows to files; or fill the views that the running job lacks, and let them take over.",
)
@click.option(
    "--from",
    "from_ms",
    type=EventTime(),
    help="Write rows from this event time on. With --into live: values as of then or later must be complete.",
)
@click.option("--to", "to_ms", type=EventTime(), help="Write rows before this event time.")
@click.option("--view", "views", multiple=True, metavar="NAME", help="A view to write; may be repeated (default: all).")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="The folder to write.")
@source_option
@click.option("--max-rate", type=click.IntRange(1), metavar="N", help="Replay at most this many events per second.")
@click.option(
    "--parallelism",
    type=click.IntRange(1, _MOST_TASKS),
    default=1,
    show_default=True,
    help="How many tasks each stage of the job has, and how many slots it takes in Flink; the rows are the same.",
)
@click.option(
    "--allow-incomplete",
    is_flag=True,
    help="With --into live: fill with what there is if it is less than the longest window.",
)
@click.option("--discard", is_flag=True, help="With --into live: give up what has begun; the running job goes on.")
@click.option("--dry-run", is_flag=True, help="Only show what would be replayed; start and write nothing.")
def run(
    pipeline: str,
    into: str,
    from_ms: int | None,
    to_ms: int | None,
    out: Path | None,
    dry_run: bool,
    **given: Any,
) -> None:
    """Write the features of past events of PIPELINE, computed by the code of the live job, to Parquet files.

    The live job is not affected. Ctrl-C cancels the backfill and keeps its progress; the same command continues it.

    With --into live, it fills the views that the running job lacks with their history, and replaces the job by one that
    has them.
    """
    views, archive, max_per_s = given["views"], given["archive"], given["max_rate"] or 0
    if into == "live":
        if to_ms is not None or out is not None:
            raise click.UsageError("--into live takes neither --to nor --out")
        if given["parallelism"] != 1:
            raise click.UsageError("--parallelism is for files")
        request = FillRequest(views, from_ms, archive, max_per_s, given["allow_incomplete"])
        fill_live(pipeline, request, discard=given["discard"], dry_run=dry_run)
        return
    if from_ms is None or to_ms is None or out is None:
        raise click.UsageError("give --from, --to and --out; or --into live")
    if given["allow_incomplete"] or given["discard"]:
        raise click.UsageError("--allow-incomplete and --discard are for --into live")
    project = open_project(pipeline)
    wanted = BackfillRequest(from_ms, to_ms, views, max_per_s, archive, given["parallelism"])
    if dry_run:
        _show_plan(project, plan_backfill(project, Settings(), wanted))
        return
    stop = stop_event()
    try:
        with ProgressBar(Console()) as progress:
            manifest = run_backfill(project, Settings(), wanted, out, progress, stop)
    except StoppedError:
        click.echo("\nstopped; the progress is kept, and the same command continues", err=True)
        click.echo(
            f"to discard it: penstock backfill cancel {shlex.quote(str(out))} --discard, and delete it", err=True
        )
        sys.exit(130)
    click.echo(
        f"{counted(manifest.rows, 'row')} of {iso(manifest.replay.from_ms)} to {iso(manifest.replay.to_ms)} "
        f"in {counted(len(manifest.parts), 'file')} under {out}"
    )
    views_written = (f"{name}@{version.partition(':')[0]}" for name, version in manifest.views.items())
    click.echo(f"views {', '.join(views_written)}")


@click.command("list")
@click.argument("folder", default=".", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_backfills(folder: Path, as_json: bool) -> None:
    """Show the backfills in FOLDER, and those whose jobs Flink knows."""
    found = find_backfills(folder, _jobs())
    if as_json:
        click.echo(json.dumps([one.as_json() for one in found], indent=2))
        return
    table = Table("run", "pipeline", "state", "rows", "folder", box=None, header_style="bold", pad_edge=False)
    for one in found:
        rows = "" if one.manifest is None else f"{one.manifest.rows:,}"
        table.add_row(one.run, one.pipeline, one.state, rows, "" if one.folder is None else str(one.folder))
    if found:
        console_on().print(table)
    else:
        click.echo(f"no backfill in {folder}, and none in Flink")


@click.command()
@click.argument("place", metavar="FOLDER-or-RUN")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(place: str, as_json: bool) -> None:
    """Show a backfill: what it replays, how far it is, and its job."""
    one = backfill_of(place, find_backfills(_folder_of(place), _jobs()))
    if as_json:
        click.echo(json.dumps(one.as_json(), indent=2))
        return
    for name, value in one.as_json().items():
        if value is not None:
            click.echo(f"{name:<11} {_text(value)}")


@click.command()
@click.argument("place", metavar="FOLDER-or-RUN")
@click.option("--discard", is_flag=True, help="Also delete its topics and consumer group; then it cannot be continued.")
def cancel(place: str, discard: bool) -> None:
    """Cancel the job of a backfill; its last checkpoint and its parts are kept."""
    with Flink(Settings().flink.rest) as flink:
        jobs = flink.every_job()
    one = backfill_of(place, find_backfills(_folder_of(place), jobs))
    was_active = cancel_backfill(one, Settings(), discard=discard)
    click.echo(f"{one.run}: {'cancelled' if was_active else 'no job runs'}")
    if discard:
        click.echo("its topic and consumer group are deleted" + (f"; delete {one.folder}, too" if one.folder else ""))
    elif one.state != "complete":
        click.echo("the command that began it continues it")


def _jobs() -> list[Job]:
    """The jobs that Flink knows; none if it cannot be reached."""
    try:
        with Flink(Settings().flink.rest) as flink:
            return flink.every_job()
    except PenstockError as error:
        click.echo(f"jobs are not shown: {error.what} at {error.where}", err=True)
        return []


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(value.values())
    return ", ".join(value) if isinstance(value, list) else f"{value:,}" if isinstance(value, int) else str(value)


def _folder_of(reference: str) -> Path:
    return Path(reference) if Path(reference).is_dir() else Path()


def _show_plan(project: Project, manifest: BackfillManifest) -> None:
    """Print what a backfill would replay."""
    rate = min(manifest.replay.max_per_s or _USUAL_PER_S, _USUAL_PER_S)
    for source, offsets in zip(project.pipeline.sources, manifest.replay.sources, strict=True):
        for number, start in sorted(offsets.start.items()):
            click.echo(f"{source.topic}[{number}] {start} to {offsets.end[number]}")
    seconds = _START_UP_S + manifest.events / rate
    click.echo(f"{counted(manifest.events, 'record')}, about {seconds:,.0f} s at {rate:,} events/s")
    with Flink(Settings().flink.rest) as flink:
        slots = flink.free_slots()
    takes = manifest.replay.parallelism
    click.echo(
        f"{counted(slots, 'free slot')} in Flink, of which it takes {takes}" if slots else "Flink has no free slot"
    )
