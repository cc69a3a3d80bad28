"""``penstock ps`` and ``penstock top``: what runs on this machine, and the screen of a pipeline that runs anywhere."""

from __future__ import annotations

import json
import shlex
import sys
import time
from dataclasses import asdict

import click
import httpx
from rich.live import Live
from rich.table import Table
from rich.text import Text

from deploy.local.prometheus_config import OPTIONAL_PORTS, SERVICE_PORTS
from penstock.commands.console import console_on, printable
from penstock.commands.errors import pipeline_argument, require_pipeline
from penstock.commands.exit_codes import ExitCode
from penstock.commands.options import json_option
from penstock.commands.running.screen import View, panel, seconds
from penstock.commands.stopping import stop_event
from penstock.home import HOME_VARIABLE
from penstock.kafka.topics import admin_client, partition_counts
from penstock.running.figures import Figures
from penstock.running.measuring import EVERY_S, Measuring
from penstock.running.parts import parts_of
from penstock.running.record import RunFolder, RunRecord, other_runs, run_folders
from penstock.running.session import addresses_of
from penstock.settings import Settings
from streams.definitions.loading import load_pipeline
from streams.plan.project import open_project

_GOOD = ("running", "waiting")


@click.command()
@click.argument("pipeline", required=False)
@json_option
def ps(pipeline: str | None, *, as_json: bool) -> None:
    """Show what `penstock run` runs on this machine, or of PIPELINE only.

    Exits with 3 if PIPELINE does not run, a part was given up or pauses after a failure, or a supervisor was killed.
    """
    if pipeline is not None:
        require_pipeline(pipeline)
    folders = run_folders() if pipeline is None else [RunFolder.of(load_pipeline(pipeline).name)]
    found = [(record, folder.is_held) for folder in folders if (record := folder.read()) is not None]
    shown = [(record, lives) for record, lives in found if lives or not _has_stopped(record)]
    if as_json:
        click.echo(json.dumps([_as_object(record, lives) for record, lives in shown], indent=2))
    elif not shown:
        click.echo(
            "nothing runs"
            if pipeline is None
            else f"{pipeline} does not run; next: penstock run {shlex.quote(pipeline)}"
        )
    else:
        console_on(highlight=False).print(_table(shown))
        for record, lives in shown:
            if not lives:
                click.echo(f"the supervisor of {record.pipeline} was killed; next: penstock stop {record.reference}")
    if not as_json:
        for line in told_of_others(None if pipeline is None else load_pipeline(pipeline).name):
            click.echo(line)
    is_good = all(lives and all(part.state in _GOOD for part in record.parts) for record, lives in shown)
    sys.exit(ExitCode.DONE if is_good and (shown or pipeline is None) else ExitCode.CHECK_FAILED)


def told_of_others(pipeline: str | None) -> list[str]:
    """What to say of runs with other stacks: of a pipeline, or of all."""
    return [
        f"{run.pipeline} runs with the stack in {run.home}, supervised by pid {run.pid}; "
        f"next: {HOME_VARIABLE}={shlex.quote(run.home)} penstock ps, or stop"
        for run in other_runs()
        if pipeline in (None, run.pipeline)
    ]


def _addresses(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        try:
            url = httpx.URL(f"http://{value}/")
        except httpx.InvalidURL as error:
            raise click.BadParameter(f"{value!r} is not HOST:PORT, as in [::1]:9100: {error}") from None
        if not url.host or url.path != "/":
            raise click.BadParameter(f"{value!r} is not HOST:PORT, as in [::1]:9100")
    return values


@click.command()
@pipeline_argument
@click.option(
    "--metrics",
    "addresses",
    multiple=True,
    callback=_addresses,
    metavar="HOST:PORT",
    help="Also read the metrics that a service serves there; several times for several.",
)
@json_option
def top(pipeline: str, addresses: tuple[str, ...], *, as_json: bool) -> None:
    """Show the screen of PIPELINE, wherever it runs, until Ctrl-C; in a pipe once.

    Reads Kafka, Flink, and the metrics of services on this machine or at --metrics. Starts and changes nothing.
    """
    project, settings = open_project(pipeline), Settings()
    kafka = settings.kafka.access
    partition_counts(admin_client(kafka), kafka)  # a screen without Kafka has nothing to show, after minutes
    folder = RunFolder.of(project.name)
    names = [part.name for part in parts_of(project.pipeline, pipeline)]
    ports = SERVICE_PORTS | OPTIONAL_PORTS
    record = folder.read() if folder.is_held else None
    if record is not None:
        ports |= {part.name: part.port for part in record.parts if part.port is not None}
    measuring = Measuring(project, settings, [*addresses, *addresses_of(ports, settings)])
    console = console_on(highlight=False)

    def view_of(footer: str, figures: Figures) -> View:
        known = folder.read() if folder.is_held else None
        parts = () if known is None else known.parts
        return View(f"penstock top · {project.name}", footer, names, parts, figures, shlex.quote(pipeline))

    try:
        if as_json or not console.is_terminal:
            measuring.measure()
            time.sleep(EVERY_S)  # a rate needs two readings
            figures = measuring.measure()
            if as_json:
                click.echo(json.dumps(_figures_object(project.name, figures), indent=2))
            else:
                console.print(panel(view_of("", figures), figures.at_ms, console.width))
            return
        stop = stop_event()
        with Live(console=console, auto_refresh=False, screen=True) as live:
            while not stop.is_set():
                figures = measuring.measure()
                view = view_of("Ctrl-C leaves; the pipeline goes on", figures)
                live.update(panel(view, figures.at_ms, console.width), refresh=True)
                stop.wait(EVERY_S)
    finally:
        measuring.close()


def _figures_object(pipeline: str, figures: Figures) -> dict[str, object]:
    backlogs = {part: asdict(of) | {"clears_s": of.clears_s} for part, of in figures.backlogs.items()}
    return {"pipeline": pipeline, **asdict(figures), "backlogs": backlogs}


def _has_stopped(record: RunRecord) -> bool:
    return all(part.state in ("stopped", "given up") for part in record.parts)


def _table(shown: list[tuple[RunRecord, bool]]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("pipeline", "part", "state", "pid", "for", "restarts", "metrics", ""):
        table.add_column(title, justify="right" if title in {"pid", "for", "restarts"} else "left", no_wrap=True)
    now_ms = time.time_ns() // 1_000_000
    for record, lives in shown:
        pid, since = (str(record.pid), seconds((now_ms - record.began_ms) / 1000)) if lives else ("", "")
        table.add_row(record.pipeline, "supervisor", "running" if lives else Text("killed", style="red"), pid, since)
        for part in record.parts:
            style = "" if part.state in _GOOD else "red"
            why = "" if part.reason is None or part.state == "running" else printable(part.reason)
            table.add_row(
                "",
                part.name,
                Text(part.state if lives else "?", style=style),
                str(part.pid or "") if lives else "",
                seconds((now_ms - part.since_ms) / 1000),
                str(part.restarts or ""),
                f":{part.port}" if part.port else "",
                Text(why + (f"; next: {printable(part.next)}" if why and part.next else "")),
            )
    return table


def _as_object(record: RunRecord, lives: bool) -> dict[str, object]:
    state = "running" if lives else "killed"
    return {
        "pipeline": record.pipeline,
        "reference": record.reference,
        "cwd": record.cwd,
        "state": state,
        "pid": record.pid if lives else None,
        "began_ms": record.began_ms,
        "parts": [part.model_dump() for part in record.parts],
    }
