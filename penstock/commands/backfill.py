"""``penstock backfill``: writes the features and scores of past events, and shows and cancels what does so."""

from __future__ import annotations

import json
import shlex
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from backfill.live.run import FillRequest
from backfill.manifest import BackfillManifest, load_manifest
from backfill.overview import backfill_of, cancel_backfill, find_backfills
from backfill.progress_bar import ProgressBar
from backfill.resumable import StoppedError, exclusive_lock
from backfill.run import BackfillRequest, plan_backfill, run_backfill
from penstock.commands.backfill_live import fill_live
from penstock.commands.console import console_on
from penstock.commands.errors import pipeline_argument
from penstock.commands.exit_codes import ExitCode
from penstock.commands.lazy import Entry, LazyGroup
from penstock.commands.options import EventTime, json_option, source_option
from penstock.commands.stopping import stop_event
from penstock.counts import counted
from penstock.errors import PenstockError
from penstock.settings import Settings
from penstock.time import iso
from streams.flink.rest import Flink, Job
from streams.plan.project import Project, open_project

if TYPE_CHECKING:
    from backfill.cassandra_history import Upserted

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
    type=click.Choice(["parquet", "cassandra", "live"]),
    default="parquet",
    show_default=True,
    help="Write rows to files, and to the history, too; or fill views that the running job lacks, which take over.",
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
@json_option
def run(
    pipeline: str,
    *,
    into: str,
    from_ms: int | None,
    to_ms: int | None,
    views: tuple[str, ...],
    out: Path | None,
    archive: str | None,
    max_rate: int | None,
    parallelism: int,
    allow_incomplete: bool,
    discard: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Write the features of past events of PIPELINE, computed by the code of the live job, to Parquet files.

    With --into cassandra, they also become rows of the history, which count where the live job has written none.

    The live job is not affected. Ctrl-C cancels the backfill and keeps its progress; the same command continues it.
    Exits with 99 if the folder has the complete backfill already.

    With --into live, it fills the views that the running job lacks with their history, and replaces the job by one that
    has them.
    """
    if into == "live":
        _require_none("--into live", {"--to": to_ms, "--out": out, "--json": as_json, "--parallelism": parallelism > 1})
        request = FillRequest(views, from_ms, archive, max_rate or 0, allow_incomplete)
        fill_live(pipeline, request, discard=discard, dry_run=dry_run)
        return
    if from_ms is None or to_ms is None or out is None:
        raise click.UsageError("give --from, --to and --out; or --into live")
    _require_none(f"--into {into}", {"--allow-incomplete": allow_incomplete, "--discard": discard})
    project = open_project(pipeline)
    wanted = BackfillRequest(from_ms, to_ms, views, max_rate or 0, archive, parallelism)
    if dry_run:
        _require_none("--dry-run", {"--json": as_json})
        _show_plan(project, plan_backfill(project, Settings(), wanted))
        return
    settings, upserted = Settings(), None
    stop, before = stop_event(), load_manifest(out)
    if into == "cassandra":
        _require_history(project, settings)
    try:
        with ProgressBar(Console(stderr=as_json)) as progress:
            manifest = run_backfill(project, settings, wanted, out, progress, stop)
            if into == "cassandra":
                upserted = _upsert(project, settings, out, manifest, progress, stop, wanted.max_per_s)
    except StoppedError:
        click.echo("\nstopped; the progress is kept, and the same command continues", err=True)
        click.echo(
            f"to discard it: penstock backfill cancel {shlex.quote(str(out))} --discard, and delete it", err=True
        )
        sys.exit(ExitCode.INTERRUPTED)
    _tell(manifest, out, upserted, as_json=as_json)
    if before is not None and before.state == "complete" and not (upserted and upserted.vectors):
        sys.exit(ExitCode.NOTHING_TO_DO)


def _require_none(what: str, given: Mapping[str, object]) -> None:
    """Refuse options that do not go with another."""
    if wrong := [name for name, value in given.items() if value]:
        raise click.UsageError(f"{what} does not go with {' and '.join(wrong)}")


def _tell(manifest: BackfillManifest, out: Path, upserted: Upserted | None, *, as_json: bool) -> None:
    begin, end = iso(manifest.replay.from_ms), iso(manifest.replay.to_ms)
    views_written = [f"{name}@{version.partition(':')[0]}" for name, version in manifest.views.items()]
    if as_json:
        written = {"folder": str(out), "from": begin, "to": end, "rows": manifest.rows, "files": len(manifest.parts)}
        brought = {} if upserted is None else {"upserted": upserted.vectors, "epoch": manifest.epoch}
        click.echo(json.dumps(written | {"views": views_written} | brought))
    else:
        rows, files = counted(manifest.rows, "row"), counted(len(manifest.parts), "file")
        click.echo(f"{rows} of {begin} to {end} in {files} under {out}")
        click.echo(f"views {', '.join(views_written)}")
        if upserted is not None:
            click.echo(f"{counted(upserted.vectors, 'vector')} brought to cassandra, under epoch {manifest.epoch}")
    if upserted is not None and upserted.left_out:
        click.echo(f"{counted(upserted.left_out, 'vector')} left out: too long for a row or a key", err=True)


def _require_history(project: Project, settings: Settings) -> None:
    """Check that Cassandra has the tables, before the hours that a backfill may take."""
    from sinks.stores.cassandra import existing_store  # noqa: PLC0415 - slow to import

    store = existing_store(project, settings)
    store.open()
    store.close()


def _upsert(
    project: Project,
    settings: Settings,
    out: Path,
    manifest: BackfillManifest,
    progress: ProgressBar,
    stop: threading.Event,
    max_per_s: int,
) -> Upserted:
    from backfill.cassandra_history import upsert_history  # noqa: PLC0415 - slow to import
    from sinks.stores.cassandra import existing_store  # noqa: PLC0415

    store = existing_store(project, settings)
    with exclusive_lock(out):
        store.open()
        try:
            return upsert_history(out, manifest, project.plan, store, progress, stop, max_per_s=max_per_s)
        finally:
            store.close()


@click.command("list")
@click.argument("folder", default=".", type=click.Path(path_type=Path, exists=True, file_okay=False))
@json_option
def list_backfills(folder: Path, as_json: bool) -> None:
    """Show the backfills in FOLDER, and those whose jobs Flink knows."""
    found = find_backfills(folder, _jobs())
    if as_json:
        click.echo(json.dumps([one.as_json() for one in found], indent=2))
        return
    table = Table("run", "pipeline", "state", "rows", "into", box=None, header_style="bold", pad_edge=False)
    for one in found:
        rows = "" if one.manifest is None else f"{one.manifest.rows:,}"
        into = "live" if one.fills_live else "" if one.folder is None else str(one.folder)
        table.add_row(one.run, one.pipeline, one.state, rows, into)
    if found:
        console_on().print(table)
    else:
        click.echo(f"no backfill in {folder}, and none in Flink")


@click.command()
@click.argument("place", metavar="FOLDER-or-RUN")
@json_option
def show(place: str, as_json: bool) -> None:
    """Show a backfill: what it replays, how far it is, and its job."""
    one = backfill_of(place, find_backfills(_folder_of(place), _jobs()))
    if as_json:
        click.echo(json.dumps(one.as_json(), indent=2))
        return
    for name, value in one.as_json().items():
        if name == "cassandra":
            for where, parts in value.items():
                click.echo(f"{name:<11} {counted(parts, 'part')} in {where}")
        elif value is not None:
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
