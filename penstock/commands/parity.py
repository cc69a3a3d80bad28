"""``penstock parity``: compares what was served with what is recomputed, value by value."""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import FrameType

import click
from prometheus_client import REGISTRY
from rich.table import Table
from rich.text import Text

from backfill.parity.check import Parity, check_parity
from backfill.parity.kafka import kafka_sources, newest_event_ms
from backfill.parity.report import as_json as parity_json
from backfill.parity.report import conclusion, ordered, page, place_text, summary, what
from backfill.parity.rows import BackfillRows
from backfill.parity.sample import Sample
from backfill.parity.schedule import ParityMetrics, run_scheduled
from backfill.parity.sources import Range
from backfill.parity.values import Cause
from backfill.parquet import read_backfill
from penstock.commands.console import console_on, printable
from penstock.commands.errors import pipeline_argument
from penstock.commands.exit_codes import ExitCode
from penstock.commands.options import DurationType, EventTime, NewFile, json_option, metrics_option, source_option
from penstock.errors import PenstockError
from penstock.settings import Settings
from penstock.telemetry import Health, configure_logging, serve
from streams.inprocess.features_of import shared_kernel
from streams.plan.project import Project, open_project

_MOST_ROOTS = 10


class _Share(click.ParamType):
    """A share of the entities, such as 1/64."""

    name = "1/N"

    def convert(self, value: str | Sample, param: click.Parameter | None, ctx: click.Context | None) -> Sample:
        if isinstance(value, Sample):
            return value
        try:
            return Sample.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command()
@pipeline_argument
@click.option("--from", "from_ms", type=EventTime(), help="Compare events from this event time on.")
@click.option("--to", "to_ms", type=EventTime(), help="Compare events before this event time.")
@click.option(
    "--last",
    "last_ms",
    type=DurationType(),
    help="Compare the latest stretch of event time, such as 1h, instead of --from and --to.",
)
@click.option(
    "--sample",
    type=_Share(),
    default="1",
    show_default=True,
    help="Compare one in N entities, each with all of its events; 1 for all entities.",
)
@click.option(
    "--seed", default=1, show_default=True, help="Draws the sample; each scheduled run draws another from it."
)
@click.option(
    "--backfill",
    "folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Compare with the rows of this complete backfill; by default features are recomputed from the raw events.",
)
@source_option
@json_option
@click.option("--html", type=NewFile(), help="Also write the result to this file, as one HTML page.")
@click.option(
    "--every",
    "every_ms",
    type=DurationType(),
    help="Compare again and again, until stopped; needs --last. Results go to the log and the metrics only.",
)
@metrics_option
def parity(
    *,
    pipeline: str,
    from_ms: int | None,
    to_ms: int | None,
    last_ms: int | None,
    sample: Sample,
    seed: int,
    folder: Path | None,
    archive: str | None,
    as_json: bool,
    html: Path | None,
    every_ms: int | None,
    metrics_port: int | None,
) -> None:
    """Compare what PIPELINE served with what is recomputed from its raw events, value by value.

    Values must be equal bit for bit; those that SQL computes, up to rounding. The command looks for the cause of each
    difference, and exits with 3 if one is unexplained. It changes nothing, and the pipeline may be running.
    """
    _require_one_range(from_ms, to_ms, last_ms, folder, every_ms)
    if every_ms is not None and (as_json or html is not None):
        raise click.UsageError("--every writes to the log and the metrics: leave --json and --html out")
    project, settings, sample = open_project(pipeline), Settings(), replace(sample, seed=seed)
    if every_ms is not None:
        assert last_ms is not None
        _scheduled(project, settings, sample, last_ms, every_ms / 1000, metrics_port, archive)
        return
    rows = None if folder is None else BackfillRows(read_backfill(folder), project.plan)
    if rows is not None and from_ms is None and last_ms is None:
        from_ms, to_ms = rows.backfill.manifest.replay.from_ms, rows.backfill.manifest.replay.to_ms
    found = _compare(project, settings, sample, from_ms, to_ms, last_ms, archive, rows)
    topics = [source.topic for source in project.plan.sources]
    if html is not None:
        html.write_text(page(found, topics), encoding="utf-8")
    if as_json:
        click.echo(parity_json(found, topics))
    else:
        _print(found, topics)
    if not found.findings.values:
        raise PenstockError(
            "nothing could be compared: no event of the sample is in the range, or Kafka keeps too little of it",
            where=summary(found),
            safe="nothing was changed",
            next="penstock parity PIPELINE --last 1h; or a larger --sample",
        )
    sys.exit(ExitCode.CHECK_FAILED if found.unexplained else ExitCode.DONE)


def _require_one_range(
    from_ms: int | None, to_ms: int | None, last_ms: int | None, folder: Path | None, every_ms: int | None
) -> None:
    if (from_ms is None) != (to_ms is None):
        raise click.UsageError("give --from and --to together")
    if from_ms is not None and last_ms is not None:
        raise click.UsageError("give either --from and --to, or --last")
    if from_ms is None and last_ms is None and folder is None:
        raise click.UsageError("give --from and --to, or --last, or --backfill")
    if every_ms is not None and (last_ms is None or folder is not None):
        raise click.UsageError("--every needs --last, and does not go with --backfill")


def _compare(
    project: Project,
    settings: Settings,
    sample: Sample,
    from_ms: int | None,
    to_ms: int | None,
    last_ms: int | None,
    archive: str | None,
    rows: BackfillRows | None = None,
) -> Parity:
    if from_ms is None or to_ms is None:
        newest = newest_event_ms(project, settings, archive)
        if newest is None:
            raise PenstockError(
                "the pipeline has no valid event",
                where=", ".join(project.plan.triggering_topics),
                next="penstock topics show PIPELINE",
            )
        to_ms = newest + 1
        from_ms = to_ms - (last_ms or 0)
    if from_ms >= to_ms:
        raise PenstockError("the range is empty", next="give --from an earlier time than --to")
    sources = kafka_sources(project, settings, from_ms, archive, to_ms)
    return check_parity(project, sources, Range(from_ms, to_ms, sample), shared_kernel(), rows)


def _scheduled(
    project: Project,
    settings: Settings,
    sample: Sample,
    last_ms: int,
    every_s: float,
    metrics_port: int | None,
    archive: str | None,
) -> None:
    configure_logging()
    stop = threading.Event()

    def request_stop(number: int, _frame: FrameType | None) -> None:
        stop.set()
        signal.signal(number, signal.SIG_DFL)  # a second signal ends the process at once

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, request_stop)
    metrics = ParityMetrics(REGISTRY, project.name, every_s, time.time())

    def compare(number: int) -> Parity:
        # Over time, every entity is compared.
        return _compare(project, settings, replace(sample, seed=sample.seed + number), None, None, last_ms, archive)

    with serve(metrics_port, settings.metrics_host, lambda: Health(True, "compares on a schedule")):
        run_scheduled(compare, metrics, every_s, stop, monotonic=time.monotonic, now_s=time.time)
    logging.getLogger(__name__).info("stopped")


def _print(found: Parity, topics: list[str]) -> None:
    console, findings = console_on(highlight=False), found.findings
    console.print(summary(found), soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("step", "view", "name", "cause"):
        table.add_column(title, no_wrap=True)
    table.add_column("values", justify="right", no_wrap=True)
    for tally, count in ordered(findings):
        style = "red" if tally.cause is Cause.UNEXPLAINED else ""
        table.add_row(tally.step, tally.view, tally.name, Text(tally.cause.value, style=style), f"{count:,}")
    if findings.differing:
        console.print(table)
    for cause in reversed(Cause):
        for root in findings.roots.get(cause, ())[:_MOST_ROOTS]:
            first = root.first
            values = "" if first.step == "record" else f": served {first.served!r}, recomputed {first.recomputed!r}"
            entity = "" if first.entity is None else f" of {first.entity}"
            line = f"{cause.value}: {what(first)}{entity} at event {place_text(first.place, topics)}"
            line += f" ({first.served_at or 'no record'}){values}; {root.followers:,} followers"
            console.print(Text(printable(line)), soft_wrap=True)
    for reason, count in sorted(findings.not_compared.items()):
        console.print(Text(f"not compared: {count:,} {reason}", style="yellow"), soft_wrap=True)
    console.print(Text(conclusion(found), style="red" if found.unexplained else "green"), soft_wrap=True)
