"""``penstock drift``: run a pipeline's drift app, and show its state and alerts."""

from __future__ import annotations

import logging
import time
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from penstock.commands.console import console_on
from penstock.commands.data_quality import print_data_quality, saved_watch
from penstock.commands.errors import pipeline_argument
from penstock.commands.options import metrics_option, skip_deleted_option
from penstock.counts import counted
from penstock.errors import PenstockError
from penstock.kafka.names import group_of
from penstock.kafka.reading import read_topic
from penstock.settings import Settings
from penstock.telemetry import ProgressTracker, configure_logging, serve
from penstock.time import readable
from schemas.history import record_decoder
from scoring.repository import ModelRepository
from streams.drift.data_quality.quality_store import NotLearntError
from streams.drift.drift_records import monitors_by_topic
from streams.drift.drift_reference import NEVER, DriftReference
from streams.drift.incidents import incidents_of
from streams.drift.state_store import NotSavedError, read_latest_states, resume_point
from streams.drift.track import Track
from streams.plan.project import open_project

_LATEST = 15
# Minimum width of the table of monitors: in a pipe rich assumes 80 columns and would truncate it.
_WIDTH = 110


@click.group()
def drift() -> None:
    """Watch features and scores for drift."""


@drift.command()
@pipeline_argument
@click.option(
    "--instance",
    envvar="PENSTOCK_DRIFT_INSTANCE",
    default="0",
    show_default=True,
    show_envvar=True,
    help="Name of this instance, unique within the pipeline and the same across restarts.",
)
@skip_deleted_option
@metrics_option
def run(pipeline: str, instance: str, metrics_port: int | None, skip_deleted: bool) -> None:
    """Monitor the features and predictions of PIPELINE until stopped (SIGTERM or Ctrl-C).

    Compares them with the training data of the model version that is current at start, and publishes an alert for each
    detected change to drift.PIPELINE, exactly once. Several instances share the partitions. Restart them after loading
    another model version.
    """
    from streams.drift.app import run_drift  # noqa: PLC0415 - faust takes a second to import

    # aiokafka logs ten errors a second while a broker is unreachable; the app logs the cause once.
    configure_logging(faust=logging.WARNING, mode=logging.WARNING, aiokafka=logging.CRITICAL)
    project, settings = open_project(pipeline), Settings()
    progress = ProgressTracker(time.monotonic)
    with serve(metrics_port, settings.metrics_host, progress.health):
        run_drift(project, settings, instance, progress, skip_deleted=skip_deleted)


@drift.command()
@pipeline_argument
@click.option("--alerts", default=_LATEST, show_default=True, help="How many of the latest alerts to print.")
def status(pipeline: str, alerts: int) -> None:
    """Show the detectors' state and the latest alerts of PIPELINE.

    The state is the last one that was saved for the current model version.
    """
    from streams.drift.app import serving_reference  # noqa: PLC0415

    project, settings = open_project(pipeline), Settings()
    definition = project.pipeline
    reference, version = serving_reference(project, ModelRepository(settings.model_repository))
    console = console_on(highlight=False)
    console.width = max(console.width, _WIDTH)
    group = group_of(definition.name, "drift")
    tracks = []
    for partition in range(definition.source.partitions):
        try:
            states = read_latest_states(settings.kafka.access, group, definition.drift_state_topic, partition)
        except NotSavedError as error:
            raise PenstockError(str(error), where=str(settings.kafka.access), next="penstock status") from error
        for topic, names in monitors_by_topic(definition).items():
            state = resume_point(states, (topic, partition), reference).state
            if state is not None:
                tracks.append(Track.from_state(state, reference, names, topic, partition))
    console.print(
        f"compared with the training data of {reference.model} version {version}, until {_minute(reference.until_ms)}"
    )
    console.print(_monitor_table(reference, tracks))
    for refusal in reference.refusals():
        console.print(f"not watched: {refusal}", soft_wrap=True)
    still_over = {one for track in tracks if (one := track.open_incident) is not None}
    if definition.monitors is not None and definition.monitors.data_quality is not None:
        try:
            watch = saved_watch(project, settings)
        except NotLearntError as error:
            console.print(f"raw events are not watched: {error.what}; next: {error.next}", soft_wrap=True)
        else:
            print_data_quality(console, watch)
            if (of_quality := watch.open_incident) is not None:
                still_over.add(of_quality)
    decoder = record_decoder("drift_alert")
    published = [
        decoder.decode(record.value or b"") for record in read_topic(settings.kafka.access, definition.drift_topic)
    ]
    found = incidents_of(published, still_over)
    still_open = sum(not incident.ended for incident in found)
    console.print(
        f"{counted(len(published), 'alert')} in {counted(len(found), 'incident')}, {still_open} open"
        + ("; the latest:" if published and alerts else "")
    )
    for alert in sorted(published, key=lambda alert: alert["event_time"])[-alerts:] if alerts else []:
        console.print(_alert_line(alert), soft_wrap=True)


def _monitor_table(reference: DriftReference, tracks: list[Track]) -> Table:
    """One row per monitor: each statistic's maximum over the partitions, and its threshold."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("monitor", no_wrap=True)
    for title in ("events", "mean", "in training", "psi", "kl", "missing"):
        table.add_column(title, justify="right", no_wrap=True)
    for monitor in reference.monitors:
        partitions = [(track, track.detectors[monitor.name]) for track in tracks if monitor.name in track.detectors]
        events = sum(track.observed for track, _ in partitions)
        mean = sum(track.observed * detectors.mean for track, detectors in partitions) / events if events else None
        limits = monitor.thresholds.windowed()
        cells = [
            _against_limit(max((d.statistics.get(kind, 0.0) for _, d in partitions), default=0.0), limit)
            for kind, limit in limits.items()
        ]
        table.add_row(
            monitor.name, f"{events:,}", "n/a" if mean is None else f"{mean:.4g}", f"{monitor.mean:.4g}", *cells
        )
    return table


def _against_limit(value: float, limit: float) -> Text:
    if limit >= NEVER:
        return Text(f"{value:.2f}/refused", style="dim")
    return Text(f"{value:.2f}/{limit:.2f}", style="red" if value > limit else "")


def _alert_line(alert: dict[str, Any]) -> Text:
    where = f"{alert['topic']}[{alert['partition']}]@{alert['offset']}"
    return Text.assemble(
        (_minute(alert["event_time"]), "dim"), f"  {alert['detector']:<12}  {alert['message']}  ", (where, "dim")
    )


def _minute(ms: int) -> str:
    return readable(ms, "minutes", zone="")
