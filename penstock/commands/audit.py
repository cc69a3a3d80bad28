"""``penstock audit``: the whole story of an incident or a training, from alarm to recovery."""

from __future__ import annotations

import json
from dataclasses import asdict

import click
from rich.table import Table
from rich.text import Text

from loop.store import read_entries
from loop.story import incident_of, story
from loop.versions import versions_of
from penstock.commands.console import console_on, printable
from penstock.commands.errors import pipeline_argument
from penstock.errors import PenstockError
from penstock.settings import Settings
from penstock.time import iso
from scoring.repository import ModelRepository
from scoring.rollout.policy_store import iterate_log
from streams.plan.project import open_project


@click.command()
@pipeline_argument
@click.argument("name", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
def audit(pipeline: str, name: str, *, as_json: bool) -> None:
    """Tell the story of an incident or of a proposal to train: alarms, cause, data, version, gates, rollout, end."""
    project, settings = open_project(pipeline), Settings()
    entries = read_entries(settings.kafka.access, project.pipeline)
    incident = incident_of(entries, name)
    if incident is None:
        raise PenstockError(
            f"there is no incident and no proposal {name}",
            where=project.pipeline.incidents_topic,
            next="penstock incidents list PIPELINE; penstock retrain list PIPELINE",
        )
    versions = versions_of(project.pipeline, ModelRepository(settings.model_repository))
    lines = story(entries, incident, versions, iterate_log(settings.kafka.access, project.pipeline))
    if as_json:
        click.echo(json.dumps([asdict(line) for line in lines]))
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    for line in lines:
        text = Text(printable(line.text)) + Text(f"  {line.where}" if line.where else "", style="dim")
        table.add_row(Text(iso(line.time_ms), style="dim"), Text(line.what, style="bold"), text)
    console_on(highlight=False).print(table)
