"""``penstock rollout controller``: options of the service; :mod:`scoring.rollout.controller_service` does the work."""

from __future__ import annotations

import signal
import threading
import time

import click

from penstock.commands.errors import pipeline_argument
from penstock.commands.options import metrics_option
from penstock.settings import Settings
from penstock.telemetry import ProgressTracker, configure_logging, serve
from scoring.rollout.controller_service import run_controller
from streams.plan.project import open_project


@click.group()
def controller() -> None:
    """Judge rollouts by what happens: go on to the next step, pause, promote or roll back."""


@controller.command()
@pipeline_argument
@metrics_option
def run(pipeline: str, metrics_port: int | None) -> None:
    """Judge the rollouts of PIPELINE until stopped (SIGTERM or Ctrl-C).

    Reads predictions, shadow predictions, dead letters and labels, holds them against the pipeline's guardrails, and
    publishes the next policy when it is due. A pipeline has one controller: a second one replaces the first.
    """
    configure_logging()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    project, settings = open_project(pipeline), Settings()
    progress = ProgressTracker(time.monotonic)
    with serve(metrics_port, settings.metrics_host, progress.health):
        run_controller(project, settings, progress, stop)
