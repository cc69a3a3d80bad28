"""``penstock model list | show | history | trainings | card``: what the repository knows of the versions."""

from __future__ import annotations

import json
import time
from contextlib import closing
from pathlib import Path

import click
from rich.table import Table

from penstock.commands.console import console_on, printable
from penstock.commands.errors import model_argument
from penstock.commands.model.manifests import about, metrics, print_line
from penstock.commands.options import NewFile, json_option
from penstock.errors import PenstockError
from penstock.settings import Settings
from penstock.time import readable
from scoring.alias_history import Change, lost_changes, read_history
from scoring.gates.card import card
from scoring.gates.gates import Verdict
from scoring.gates.report import evidence
from scoring.gates.stored_reports import does_not_hold
from scoring.overview import Overview, as_content, overviews
from scoring.repository import ModelRepository
from scoring.servers.protocol import ModelServerUnavailable, VersionState
from scoring.servers.registry import PRIMARY_SERVER, open_server
from scoring.trained_model import quality_of
from scoring.trainings import Training, read_trainings
from scoring.trainings import as_content as as_training_content
from streams.definitions.loading import load_pipeline

version_argument = click.argument("version", type=click.IntRange(min=1))


@click.command("list")
@model_argument
@json_option
def list_command(pipeline: str, *, as_json: bool) -> None:
    """List all versions: how each was made, its metrics, its aliases, its gates, and its state on the model server."""
    settings = Settings()
    name, repository = load_pipeline(pipeline).model.name, ModelRepository(settings.model_repository)
    repository.newest(name)
    found = overviews(repository, name)
    server, states = _states(settings, name)
    if as_json:
        content = [
            {**as_content(one), "state": states[one.version].state if one.version in states else None} for one in found
        ]
        click.echo(json.dumps(content, indent=2))
        return
    table = Table("", "aliases", server, "made", "by", "rows", "metrics", "gates", box=None, pad_edge=False)
    for one in found:
        provenance = one.manifest.provenance
        table.add_row(
            str(one.version),
            ", ".join(one.aliases),
            states[one.version].state.lower() if one.version in states else "not loaded",
            "" if provenance is None else readable(provenance.made_ms, "minutes", zone=" UTC"),
            "" if provenance is None else provenance.author or "",
            *metrics(one.manifest),
            _gates(one),
        )
    console_on(highlight=False).print(table)
    for state in states.values():
        if state.state != "READY" and state.reason:
            click.echo(f"version {state.version}: {state.reason}")
    click.echo(f"{name} in {repository.root / name}")


@click.command()
@model_argument
@version_argument
@json_option
def show(pipeline: str, version: int, *, as_json: bool) -> None:
    """Show all that is known of a version; fails if one of its files has changed."""
    name, repository = load_pipeline(pipeline).model.name, ModelRepository(Settings().model_repository)
    one = _overview(repository, name, version)
    repository.verified(name, version)
    if as_json:
        click.echo(json.dumps(as_content(one), indent=2))
        return
    print_line("model", click.style(f"{name} version {version}", bold=True))
    print_line("aliases", ", ".join(one.aliases) or "none")
    print_line("identity", one.identity)
    for label, text in about(one.manifest):
        print_line(label, text)
    print_line("gates", _gates(one))
    for result in one.report.results if one.report else ():
        if result.verdict is not Verdict.PASS:
            line = f"{result.verdict.value}: {result.gate}, {result.where}: {evidence(result)}; passes: {result.limit}"
            print_line("", line)
    for change in one.changes:
        print_line("served", _change(change))


@click.command()
@model_argument
@json_option
def history(pipeline: str, *, as_json: bool) -> None:
    """Show what was served when, and why: every change of champion and previous."""
    name, repository = load_pipeline(pipeline).model.name, ModelRepository(Settings().model_repository)
    changes = read_history(repository, name)
    if as_json:
        click.echo(json.dumps([change.model_dump(mode="json", by_alias=True) for change in changes], indent=2))
        return
    lost = lost_changes(repository, name, int(time.time() * 1_000))
    for change in (*changes, *lost):
        click.echo(_change(change))
    if lost:
        click.echo("the file of the history lacks the last of it; the next load, promote or unload writes it down")
    if not changes and not lost:
        click.echo(f"no version of {name} was ever served")


@click.command()
@model_argument
@json_option
def trainings(pipeline: str, *, as_json: bool) -> None:
    """Show every training, the newest first: what was asked for, and what came of it, also of one that failed."""
    name, repository = load_pipeline(pipeline).model.name, ModelRepository(Settings().model_repository)
    found = read_trainings(repository, name)[::-1]
    if as_json:
        click.echo(json.dumps([as_training_content(one) for one in found], indent=2))
        return
    if not found:
        click.echo(f"no training of {name} is recorded")
        return
    table = Table("began", "took", "outcome", "metrics", "by", "parameters", box=None, pad_edge=False)
    for one in found:
        table.add_row(
            readable(one.began_ms, "seconds", zone=" UTC"),
            "" if one.took_s is None else f"{one.took_s:,.1f} s",
            _outcome(one),
            "" if one.validation is None else quality_of(one.validation),
            printable(one.provenance.author or ""),
            printable(_parameters(one)),
        )
    console_on(highlight=False).print(table, markup=False)


@click.command("card")
@model_argument
@version_argument
@click.option("--out", required=True, type=NewFile(), help="The HTML file to write.")
def card_command(pipeline: str, version: int, out: Path) -> None:
    """Write a model card: one HTML page of what a version is, what its gates found, and where it comes from."""
    model, repository = load_pipeline(pipeline).model, ModelRepository(Settings().model_repository)
    one = _overview(repository, model.name, version)
    repository.verified(model.name, version)
    if one.faulty is not None:
        raise does_not_hold(*one.faulty, version, one.faults)
    if one.report is None:
        raise PenstockError(
            f"the gates have not judged version {version} yet",
            where=str(repository.root / model.name / "reports" / str(version)),
            next=f"penstock model check PIPELINE --version {version} --backfill FOLDER",
        )
    out.write_text(card(one.report, one.manifest, model.threshold, one.override), encoding="utf-8")
    click.echo(f"card: {out}")


def _states(settings: Settings, name: str) -> tuple[str, dict[int, VersionState]]:
    """The model server's name, and the states of the versions that it has; none if it does not answer."""
    with closing(open_server(PRIMARY_SERVER, settings)) as server:
        try:
            return server.name, {state.version: state for state in server.versions(name)}
        except ModelServerUnavailable as error:
            click.echo(f"{error.what}; the states there are not known", err=True)
            return f"{server.name} (does not answer)", {}


def _overview(repository: ModelRepository, name: str, version: int) -> Overview:
    repository.folder(name, version)
    return next(one for one in overviews(repository, name) if one.version == version)


def _gates(one: Overview) -> str:
    """What the gates said at last, and whether that was overridden."""
    if one.faults:
        return f"the report does not hold: {'; '.join(one.faults)}"
    said = "not judged" if one.report is None else one.report.verdict.value
    return said if one.override is None else f"{said}, overridden: {one.override}"


def _outcome(one: Training) -> str:
    """What came of a training; one that made a version may have failed afterwards."""
    made = "" if one.version is None else f"version {one.version}"
    failed = "" if one.error is None else f"failed: {printable(one.error)}"
    return ", ".join(filter(None, (made, failed))) or "has not ended: it runs, or was killed"


def _parameters(one: Training) -> str:
    until = "" if one.until_ms is None else f", until {readable(one.until_ms, 'seconds', zone=' UTC')}"
    defaults = ", with defaults" if one.with_defaults else ""
    trainer = "" if one.trainer is None else f", by {one.trainer}"
    incident = "" if one.provenance.incident is None else f", answers {one.provenance.incident}"
    return f"{one.backfill}, seed {one.seed}{until}{defaults}{trainer}{incident}"


def _change(change: Change) -> str:
    before, after = ("none" if number is None else str(number) for number in (change.before, change.after))
    report = "" if change.report is None else f", report {change.report[:16]}"
    override = "" if change.override is None else f", overridden: {change.override}"
    when = readable(change.time_ms, "seconds", zone=" UTC")
    what = f"{when}  {change.alias} {before} → {after}"
    if not change.is_recorded:
        return f"{what} before this time, by a command that is not known"
    not_yet = ", to be loaded" if change.configures_alone else ""
    return f"{what} by {change.command}{not_yet}{report}{override}"
