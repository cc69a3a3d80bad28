"""``penstock scorer``: options of the scoring consumer; :mod:`scoring.service` does the work."""

from __future__ import annotations

import signal
import threading
import time

import click

from penstock.commands.errors import pipeline_argument
from penstock.commands.options import metrics_option, skip_deleted_option
from penstock.settings import Settings
from penstock.telemetry import ProgressTracker, configure_logging, serve
from scoring.scorer_components import BatchLimits
from scoring.served import Deadlines
from scoring.service import ScorerOptions, run_scorer
from sinks.feature_reader import other_views_reader
from streams.plan.project import open_project


@click.group()
def scorer() -> None:
    """Score features through Triton, exactly once."""


@scorer.command()
@pipeline_argument
@click.option(
    "--instance",
    envvar="PENSTOCK_SCORER_INSTANCE",
    default="0",
    show_default=True,
    show_envvar=True,
    help="Name of this instance, unique within the pipeline and the same across restarts.",
)
@click.option(
    "--max-batch",
    type=click.IntRange(1, 100_000),
    default=1024,
    show_default=True,
    help="Maximum number of records per batch.",
)
@click.option(
    "--linger-ms",
    type=click.IntRange(0, 1000),
    default=2,
    show_default=True,
    help="Time to collect a batch under load; an idle scorer scores a record at once.",
)
@click.option(
    "--deadline-ms",
    type=click.IntRange(1, 10_000),
    default=200,
    show_default=True,
    help="Time limit for Triton per batch; after it, this process scores the batch.",
)
@click.option(
    "--strong-deadline-ms",
    type=click.IntRange(1, 10_000),
    help="The same for the strong model of a cascade (default: --deadline-ms).",
)
@skip_deleted_option
@metrics_option
def run(
    pipeline: str,
    instance: str,
    max_batch: int,
    linger_ms: int,
    deadline_ms: int,
    strong_deadline_ms: int | None,
    metrics_port: int | None,
    skip_deleted: bool,
) -> None:
    """Score the features of PIPELINE until stopped (SIGTERM or Ctrl-C).

    Each batch is one call to Triton and one Kafka transaction with predictions, dead letters and offsets. If Triton
    fails or is late, this process scores with the same model version, and the prediction has route "fallback".
    """
    configure_logging()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    project, settings = open_project(pipeline), Settings()
    deadlines = Deadlines(deadline_ms / 1000, (strong_deadline_ms or deadline_ms) / 1000)
    options = ScorerOptions(instance, BatchLimits(max_batch, linger_ms / 1000), deadlines, skip_deleted)
    progress = ProgressTracker(time.monotonic)
    with serve(metrics_port, settings.metrics_host, progress.health):
        run_scorer(project, settings, options, progress, stop, other_views_reader(project, settings))
