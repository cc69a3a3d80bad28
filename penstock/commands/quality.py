"""``penstock quality``: count how good predictions are as their labels become final, and show it."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Mapping
from functools import partial
from math import isnan
from typing import cast, get_args

import click
from rich.table import Table

from penstock.commands.console import console_on, printable
from penstock.commands.errors import pipeline_argument
from penstock.commands.options import EventTime, Finite, metrics_option, skip_deleted_option
from penstock.counts import counted
from penstock.kafka.reading import read_topic
from penstock.settings import Settings
from penstock.telemetry import ProgressTracker, configure_logging, serve
from penstock.time import readable
from scoring.gates.statistics import Interval
from scoring.quality.facts import QualityFacts
from scoring.quality.label_watch import LabelWatch
from scoring.quality.measures import ASSUMPTION
from scoring.quality.report import By, QualityReport, report_of
from scoring.quality.store import KeptQuality, read_quality, require_counted
from streams.definitions.windows import duration_text
from streams.plan.project import open_project

_SHOWN = {
    "auc": "AUC",
    "average_precision": "PR-AUC",
    "brier": "Brier",
    "log_loss": "log-loss",
    "calibration_error": "ECE",
    "precision": "precision",
    "recall": "recall",
    "cost": "cost",
    "decision_rate": "decided",
    "positive_rate": "positive",
}


@click.group()
def quality() -> None:
    """Count how good predictions are as their labels become final, and show it."""


@quality.command()
@pipeline_argument
@skip_deleted_option
@metrics_option
def run(pipeline: str, metrics_port: int | None, skip_deleted: bool) -> None:
    """Count the quality of PIPELINE until stopped (SIGTERM or Ctrl-C).

    Reads predictions, shadow predictions and labels, and joins them when a label is final, as Labels(horizon=...) says.
    A pipeline has one such process: a second one replaces the first.
    """
    from scoring.quality.service import run_quality  # noqa: PLC0415 - its imports are not needed to show

    configure_logging()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    project, settings = open_project(pipeline), Settings()
    progress = ProgressTracker(time.monotonic)
    with serve(metrics_port, settings.metrics_host, progress.health):
        run_quality(project, settings, progress, stop, skip_deleted=skip_deleted)


@quality.command()
@pipeline_argument
@click.option(
    "--by",
    type=click.Choice(get_args(By)),
    multiple=True,
    default=("version", "arm"),
    show_default=True,
    help="What to tell apart; several times for several.",
)
@click.option("--from", "from_ms", type=EventTime(), help="Only hours of events (days of groups) from this time on.")
@click.option("--to", "to_ms", type=EventTime(), help="Only hours of events (days of groups) that begin before.")
@click.option(
    "--false-positive-cost", type=Finite(min=0), default=1.0, show_default=True, help="Of a decision in error."
)
@click.option(
    "--false-negative-cost", type=Finite(min=0), default=1.0, show_default=True, help="Of a positive event missed."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(
    pipeline: str,
    by: tuple[str, ...],
    from_ms: int | None,
    to_ms: int | None,
    false_positive_cost: float,
    false_negative_cost: float,
    as_json: bool,
) -> None:
    """Show how good the predictions of PIPELINE were, with 95 % intervals, and what is expected before labels come.

    Everything follows from the histograms that `penstock quality run` has saved.
    """
    project, settings = open_project(pipeline), Settings()
    facts = QualityFacts.of(project.pipeline)
    kept = read_quality(partial(read_topic, settings.kafka.access), project.pipeline)
    note = require_counted(kept, facts, project.pipeline)
    report = report_of(
        kept.histograms,
        facts,
        note.reached,
        by=cast("tuple[By, ...]", by),
        from_ms=from_ms,
        to_ms=to_ms,
        costs=(false_positive_cost, false_negative_cost),
        late=note.late,
        unmatched=note.unmatched,
    )
    watched = LabelWatch(facts.false_alarm_every, note.watch, kept.odd).content()
    if as_json:
        content = {"horizon_ms": facts.horizon_ms, **report.content(), "label_watch": watched}
        click.echo(json.dumps({"pipeline": project.name, **content}, indent=2))
        return
    _print(report, kept, facts, by)
    for version, one in watched.items():
        click.echo(
            f"labels and scores of version {version}: {counted(int(one['alarms']), 'alarm')} after "
            f"{counted(int(one['labels']), 'label')}, and {one['part']:.2%} of what makes the next one"
        )


def _print(report: QualityReport, kept: KeptQuality, facts: QualityFacts, by: tuple[str, ...]) -> None:
    console = console_on(highlight=False)
    mature_ms = report.reached.mature_ms
    if mature_ms is None:
        console.print("no label is final yet: either no label has come, or not everything is read")
    else:
        last = readable(mature_ms - facts.horizon_ms, "minutes", zone=" UTC")
        console.print(
            f"labels are final {duration_text(facts.horizon_ms)} after an event: those of events until {last}"
        )
    if not report.rows:
        console.print(_why_empty(kept, facts, by))
        return
    names = list(report.rows[0].of)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(name, no_wrap=True)
    for title in ("scored", "known", "hidden", *_SHOWN.values()):
        table.add_column(title, justify="right", no_wrap=True)
    for row in report.rows:
        counts = row.counts
        table.add_row(
            *(printable(value) or "-" for value in row.of.values()),
            f"{counts['scored']:,}",
            f"{counts['positive'] + counts['negative']:,}",
            f"{counts['hidden']:,}",
            *(_cell(row.measures[name]) for name in _SHOWN),
        )
        table.add_row(*("" for _ in names), "", "", "expected", *(_expected(row.expected, name) for name in _SHOWN))
    console.print(table)
    console.print(f"expected: of all scored events, if {ASSUMPTION}")
    for one in report.fairness:
        of = ", ".join(f"{name} {printable(value) or '-'}" for name, value in one.of.items())
        console.print(
            f"{one.group}: {one.measure} of {printable(one.lowest)} is {_cell(one.ratio)} of that of "
            f"{printable(one.highest)} ({of})"
        )
    if report.late or report.unmatched:
        console.print(
            f"not counted: {counted(report.late, 'prediction')} that came more than two horizons late; "
            f"{counted(report.unmatched, 'event')} with labels have no prediction that counts"
        )


def _why_empty(kept: KeptQuality, facts: QualityFacts, by: tuple[str, ...]) -> str:
    """Why there is nothing to show, and what to do."""
    if "group" in by and not facts.groups:
        return (
            f"no column of Model(groups=...) of model {facts.model} is among its inputs, so nothing is counted by "
            "group: declare groups of few values that are inputs, then penstock quality run PIPELINE counts anew"
        )
    if kept.histograms:
        return "no predictions in that time: leave out --from and --to, or choose another time"
    return "no predictions: none has come since counting began"


def _cell(interval: Interval) -> str:
    if isnan(interval.estimate):
        return "n/a"
    if isnan(interval.low):
        return f"{interval.estimate:.4g}"
    return f"{interval.estimate:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def _expected(expected: Mapping[str, Interval], name: str) -> str:
    return _cell(expected[name]) if name in expected else ""
