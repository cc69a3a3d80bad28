"""``penstock backfill``: writes the features of past events to Parquet."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from types import FrameType

import click
from rich.console import Console

from backfill.progress_bar import ProgressBar
from backfill.replay_job import StoppedError
from backfill.run import BackfillRequest, run_backfill
from penstock.commands.errors import pipeline_argument
from penstock.commands.options import EventTime
from penstock.counts import counted
from penstock.settings import Settings
from penstock.time import iso
from streams.plan.project import open_project


@click.group()
def backfill() -> None:
    """Write the features of past events to Parquet, computed by the code of the live job."""


@backfill.command()
@pipeline_argument
@click.option("--from", "from_ms", type=EventTime(), required=True, help="Write rows from this event time on.")
@click.option("--to", "to_ms", type=EventTime(), required=True, help="Write rows before this event time.")
@click.option("--view", "views", multiple=True, metavar="NAME", help="A view to write; may be repeated (default: all).")
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="The folder to write.")
def run(pipeline: str, from_ms: int, to_ms: int, views: tuple[str, ...], out: Path) -> None:
    """Write the features of past events of PIPELINE, as they were served, to Parquet files.

    The live job is not affected. Ctrl-C cancels the backfill and keeps its progress; the same command continues it.
    """
    stop = threading.Event()

    def request_stop(number: int, _frame: FrameType | None) -> None:
        # An exception raised here may pass through C code of a library, which would replace it.
        stop.set()
        signal.signal(number, signal.SIG_DFL)  # a second signal ends the process at once

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, request_stop)
    try:
        with ProgressBar(Console()) as progress:
            request = BackfillRequest(from_ms, to_ms, views)
            manifest = run_backfill(open_project(pipeline), Settings(), request, out, progress, stop)
    except StoppedError:
        click.echo("\nstopped; the progress is kept, and the same command continues", err=True)
        click.echo(f"to discard it, delete {out}; Kafka deletes the records of its topic within a week", err=True)
        sys.exit(130)
    click.echo(
        f"{counted(manifest.rows, 'row')} of {iso(manifest.replay.from_ms)} to {iso(manifest.replay.to_ms)} "
        f"in {counted(len(manifest.parts), 'file')} under {out}"
    )
    views_written = (f"{name}@{version.partition(':')[0]}" for name, version in manifest.views.items())
    click.echo(f"views {', '.join(views_written)}")
