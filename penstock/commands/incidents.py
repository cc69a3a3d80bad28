"""``penstock incidents``: what went wrong with a model's inputs, labels or quality, why, and what follows."""

from __future__ import annotations

import json
import logging
import time

import click
from prometheus_client import REGISTRY
from rich.table import Table
from rich.text import Text

from backfill.topic_reading import topics_of
from loop.entries import Closed
from loop.incidents import Incident, incidents_of
from loop.store import extend, read_entries
from loop.watch import Watch, WatchLimits
from loop.watch_metrics import WatchMetrics
from penstock.commands.console import console_on, printable
from penstock.commands.errors import pipeline_argument
from penstock.commands.options import DurationType, metrics_option, source_option
from penstock.commands.rollout.signing import signed_options
from penstock.commands.stopping import stop_event
from penstock.counts import counted
from penstock.errors import PenstockError
from penstock.settings import Settings
from penstock.telemetry import Health, configure_logging, serve
from penstock.time import iso
from schemas.registry import registry_schemas
from scoring.repository import ModelRepository
from streams.definitions.loading import load_pipeline
from streams.plan.project import Project, open_project

_log = logging.getLogger(__name__)

_SHOWN = 10
_COLOURS = {
    "upstream-fault": "red",
    "label-fault": "red",
    "concept-drift": "magenta",
    "covariate-shift": "magenta",
    "calibration": "yellow",
}


@click.group()
def incidents() -> None:
    """Find out why a model's inputs, labels or quality have changed, and what to do about it.

    Alarms of `penstock drift` that belong together are one incident. `watch` opens incidents, finds their causes, and
    proposes trainings, which `penstock retrain run` carries out.
    """


@incidents.command("watch")
@pipeline_argument
@click.option("--every", "every_ms", type=DurationType(), help="Look again and again, until stopped.")
@click.option(
    "--reference",
    "span_ms",
    type=DurationType(),
    default="30d",
    show_default=True,
    help="How long before an incident the events begin that it is compared with.",
)
@click.option(
    "--quiet",
    "quiet_ms",
    type=DurationType(),
    default="2d",
    show_default=True,
    help="How far apart alarms of one version are that belong to different incidents.",
)
@click.option(
    "--cool-down",
    "cool_down_ms",
    type=DurationType(),
    default="1d",
    show_default=True,
    help="How long after a training none is proposed.",
)
@source_option
@metrics_option
def watch(
    pipeline: str,
    every_ms: int | None,
    span_ms: int,
    quiet_ms: int,
    cool_down_ms: int,
    archive: str | None,
    metrics_port: int | None,
) -> None:
    """Open an incident for new alarms, find its cause, and propose a training if one helps.

    The events since the first alarm are compared with those before it. A fault of a column or of labels is named, and
    proposes nothing: a model must not learn it.
    """
    configure_logging()
    project, settings = open_project(pipeline), Settings()
    _require_monitors(project)
    limits = WatchLimits(span_ms, quiet_ms, cool_down_ms)
    watching = Watch(project, settings.kafka.access, limits, ModelRepository(settings.model_repository))

    def look() -> int:
        topics, registry = topics_of(settings.kafka.access, archive), registry_schemas(settings.schema_registry_url)
        entries = watching.look(topics, time.time_ns() // 1_000_000, registry)
        found = [incident for incident in incidents_of(entries).values() if incident.is_open]
        _log.info("%s open", counted(len(found), "incident"))
        return len(found)

    if every_ms is None:
        look()
        _print_list(list(incidents_of(read_entries(settings.kafka.access, project.pipeline)).values()))
        return
    stop, metrics = stop_event(), WatchMetrics(REGISTRY, project.name, every_ms / 1_000, time.time())
    with serve(metrics_port, settings.metrics_host, lambda: Health(True, "looks on a schedule")):
        while not stop.is_set():
            try:
                metrics.looked(look(), time.time())
            except PenstockError as error:  # Kafka may be away for a while
                metrics.failed()
                _log.error("%s; looking again in %s s", error, every_ms / 1_000)
            stop.wait(every_ms / 1_000)


@incidents.command("list")
@pipeline_argument
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
def list_command(pipeline: str, *, as_json: bool) -> None:
    """List all incidents of PIPELINE, the latest last."""
    found = [*incidents_of(read_entries(Settings().kafka.access, load_pipeline(pipeline))).values()]
    if as_json:
        click.echo(json.dumps([_as_object(incident) for incident in found]))
    else:
        _print_list(found)


@incidents.command()
@pipeline_argument
@click.argument("incident")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(pipeline: str, incident: str, *, as_json: bool) -> None:
    """Show an incident: its alarms, its cause, and what was done."""
    found = _find(pipeline, incident)
    if as_json:
        click.echo(json.dumps(_as_object(found)))
        return
    console = console_on(highlight=False)
    console.print(Text(f"{found.id}, {_state(found)}, version {found.model_version}", style="bold"))
    if found.diagnosis is not None:
        at = "" if found.diagnosis.column is None else f" of column {found.diagnosis.column}"
        console.print(Text(f"cause: {found.diagnosis.cause}{at}; {_ADVICE[found.diagnosis.action]}"))
        for why in found.diagnosis.why:
            console.print(Text(f"  {printable(why)}"))
        if found.diagnosis.first is not None:
            console.print(Text(f"  first at {found.diagnosis.first}"))
        for name, share in sorted(found.diagnosis.shares.items(), key=lambda pair: -pair[1])[:8]:
            console.print(Text(f"  {share:>6.1%}  of the shift is in {name}"))
    if len(found.signals) > _SHOWN:
        console.print(Text(f"{counted(len(found.signals), 'alarm')}, the first {_SHOWN}:", style="dim"))
    for one in found.signals[:_SHOWN]:
        console.print(Text(f"alarm {iso(one.event_time_ms)}  {printable(one.text)}  {one.place}", style="dim"))
    for proposal in found.proposals:
        console.print(Text(f"proposed {proposal.proposal}: {proposal.action}"))
    for step in found.steps:
        console.print(Text(f"{step.step} {step.outcome}: {step.detail}"))
    if found.closed is not None:
        console.print(Text(f"closed by {found.closed.author}: {printable(found.closed.reason)}"))


@incidents.command()
@pipeline_argument
@click.argument("incident")
@signed_options("it stays in the log for ever")
def close(pipeline: str, incident: str, reason: str, author: str) -> None:
    """Close an incident."""
    found = _find(pipeline, incident)
    if not found.is_open:
        click.echo(f"{found.id} was closed before")
        return
    now_ms = time.time_ns() // 1_000_000
    entry = Closed(incident=found.id, time_ms=now_ms, author=author, reason=reason)
    extend(
        Settings().kafka.access,
        load_pipeline(pipeline),
        lambda log: [entry] if incidents_of(log)[found.id].is_open else [],
    )
    click.echo(f"closed {found.id}")


_ADVICE = {
    "mend-source": "mend the source, and do not train",
    "mend-labels": "mend the labels, and do not train",
    "prepare": "prepare a training set of such events",
    "retrain": "train on recent events whose labels are final",
    "recalibrate": "calibrate the scores anew",
    "wait": "wait for labels",
    "nothing": "nothing is to be done",
}


def _find(pipeline: str, name: str) -> Incident:
    found = incidents_of(read_entries(Settings().kafka.access, load_pipeline(pipeline)))
    if name not in found:
        known = ", ".join(found) or "none"
        raise PenstockError(
            f"there is no incident {name}; there are: {known}", where=pipeline, next="penstock incidents list PIPELINE"
        )
    return found[name]


def _require_monitors(project: Project) -> None:
    if project.pipeline.monitors is None:
        raise PenstockError(
            "the pipeline declares no monitors, so there are no alarms",
            where=project.reference,
            next="add monitors=Monitors(...) to the pipeline, and run: penstock drift run PIPELINE --instance 0",
        )


def _print_list(found: list[Incident]) -> None:
    if not found:
        click.echo("no incident")
        return
    table = Table("incident", "state", "opened", "version", "alarms", "cause", "why", box=None, pad_edge=False)
    for incident in found:
        diagnosis = incident.diagnosis
        cause = Text("scheduled" if incident.is_scheduled else "not known yet", style="dim")
        if diagnosis is not None:
            column = "" if diagnosis.column is None else f" of {diagnosis.column}"
            cause = Text(f"{diagnosis.cause}{column}", style=_COLOURS.get(diagnosis.cause, ""))
        why = printable(diagnosis.why[0]) if diagnosis is not None and diagnosis.why else ""
        table.add_row(
            incident.id,
            _state(incident),
            iso(incident.opened_ms),
            incident.model_version,
            str(len(incident.signals)),
            cause,
            Text(why),
        )
    console_on(highlight=False).print(table)


def _state(incident: Incident) -> str:
    return "open" if incident.is_open else "closed"


def _as_object(incident: Incident) -> dict[str, object]:
    return {
        "incident": incident.id,
        "state": _state(incident),
        "opened_ms": incident.opened_ms,
        "model_version": incident.model_version,
        "signals": [one.model_dump() for one in incident.signals],
        "diagnosis": None if incident.diagnosis is None else incident.diagnosis.model_dump(),
        "proposals": [one.model_dump() for one in incident.proposals],
        "steps": [one.model_dump() for one in incident.steps],
        "closed": None if incident.closed is None else incident.closed.model_dump(),
    }
