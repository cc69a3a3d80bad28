"""``penstock model``: train a pipeline's model, load it into the model server, show its versions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import click
from rich.table import Table

from backfill.parquet import read_backfill
from backfill.training_parquet import read_training_set
from penstock.commands.console import console_on
from penstock.commands.errors import pipeline_argument
from penstock.commands.options import EventTime
from penstock.counts import counted
from penstock.settings import Settings
from penstock.time import readable
from schemas.registry import registry_schemas
from scoring.repository import Backend, ModelRepository
from scoring.servers.protocol import ModelServer
from scoring.servers.registry import PRIMARY_SERVER, open_server
from scoring.trained_model import ModelManifest
from scoring.version_loading import load_version
from streams.definitions.loading import load_pipeline
from streams.plan.project import open_project

_MOST_USEFUL = 5
_READ = ("features_read", "labels_read")


@click.group()
def model() -> None:
    """Train a pipeline's model, load it into Triton, show its versions."""


@model.command("train")
@pipeline_argument
@click.option(
    "--backfill",
    "folder",
    required=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="The features to train on: a folder written by `penstock backfill run`.",
)
@click.option(
    "--until",
    "until_ms",
    type=EventTime(),
    help="Ignore what became known after this event time (default: no limit).",
)
@click.option("--seed", type=int, default=0, show_default=True, help="The same data and seed give the same model.")
def train_command(pipeline: str, folder: Path, until_ms: int | None, seed: int) -> None:
    """Train on the features of a backfill and the labels known until --until, and write the next version.

    The version is not served until `penstock model load`.
    """
    # Their libraries take more than a second to import, and only training needs them.
    from scoring.training import train  # noqa: PLC0415
    from streams.drift.training_reference import build_reference  # noqa: PLC0415

    project, settings = open_project(pipeline), Settings()
    definition = project.pipeline
    registry = registry_schemas(settings.schema_registry_url)
    data = read_training_set(project, settings.kafka.access, read_backfill(folder), until_ms, registry)
    trained = train(data, seed)
    reference = build_reference(project, data, trained, seed)
    repository = ModelRepository(settings.model_repository)
    version = repository.add(definition.model.name, trained, None if reference is None else reference.artifacts())
    _line("model", click.style(f"{definition.model.name} version {version}", bold=True))
    for label, text in _summary(trained.manifest):
        _line(label, text)
    if reference is not None:
        once_in = f"{reference.false_alarm_every:,}"
        _line(
            "drift", f"{counted(len(reference.monitors), 'monitor')}, calibrated to one false alarm in {once_in} events"
        )
    _line("written to", str(repository.folder(definition.model.name, version)))
    _line("next", f"penstock model load {pipeline}")


@model.command()
@pipeline_argument
@click.option("--version", type=click.IntRange(min=1), help="Default: the newest.")
@click.option(
    "--backend",
    type=click.Choice(["python", "onnxruntime"]),
    help="python runs on the CPU, onnxruntime on a GPU (default: as before; for a new model python).",
)
def load(pipeline: str, version: int | None, backend: Backend | None) -> None:
    """Make a version the current one; the previous version stays loaded."""
    name = load_pipeline(pipeline).model.name
    with _server() as (server, repository):
        config = load_version(repository, server, name, version, backend)
    also_loaded = f", version {config.previous} stays loaded" if config.previous else ""
    click.echo(f"{server.name} serves {name} version {config.version} ({config.backend} backend){also_loaded}")


@model.command()
@pipeline_argument
def unload(pipeline: str) -> None:
    """Stop serving the model; its versions stay in the repository."""
    name = load_pipeline(pipeline).model.name
    with _server() as (server, _):
        server.unload(name)
    click.echo(f"{server.name} no longer serves {name}; to serve it again: penstock model load {pipeline}")


@model.command()
@pipeline_argument
def status(pipeline: str) -> None:
    """Show all versions, their validation metrics, and their state on the model server."""
    name = load_pipeline(pipeline).model.name
    with _server() as (server, repository):
        repository.newest(name)
        serving = repository.serving_config(name)
        states = {state.version: state for state in server.versions(name)}
    table = Table("", server.name, "rows", "positive", "AUC", "without windows", "known until", box=None)
    for version in repository.versions(name):
        manifest = repository.manifest(name, version)
        table.add_row(
            f"{version}{'*' if serving is not None and version == serving.version else ''}",
            states[version].state.lower() if version in states else "not loaded",
            f"{manifest.rows:,}",
            f"{manifest.positives:,}",
            f"{manifest.validation.auc:.4f}",
            _auc(manifest.validation.auc_without_windows),
            _time(manifest.until_ms),
        )
    console_on(highlight=False).print(table)
    for state in states.values():
        if state.state != "READY" and state.reason:
            click.echo(f"version {state.version}: {state.reason}")
    if serving is not None:
        _line("most useful", _most_useful(repository.manifest(name, serving.version)))
    click.echo(f"{name} in {repository.root / name}; * is the current version")


@contextmanager
def _server() -> Iterator[tuple[ModelServer, ModelRepository]]:
    settings = Settings()
    with closing(open_server(PRIMARY_SERVER, settings)) as server:
        yield server, ModelRepository(settings.model_repository)


def _line(label: str, text: str) -> None:
    click.echo(click.style(f"{label:<14}", dim=True) + text)


def _summary(manifest: ModelManifest) -> list[tuple[str, str]]:
    validation, read = manifest.validation, manifest.read
    unused = [f"{number:,} {name.replace('_', ' ')}" for name, number in read.items() if number and name not in _READ]
    auc = click.style(f"{validation.auc:.4f}", fg="green", bold=True)
    return [
        (
            "trained on",
            f"{counted(manifest.rows, 'event')}, {manifest.positives:,} positive, "
            f"known until {_time(manifest.until_ms)}",
        ),
        ("left out", ", ".join(unused) or "nothing"),
        ("validated on", f"the latest {validation.rows:,} events, {validation.positives:,} positive"),
        ("AUC", f"{auc}, without windowed features {_auc(validation.auc_without_windows)}"),
        ("most useful", _most_useful(manifest)),
        ("made from", f"data {manifest.data_hash[:16]}, seed {manifest.seed}, {manifest.iterations} trees"),
    ]


def _most_useful(manifest: ModelManifest) -> str:
    """The inputs with the greatest permutation importance."""
    return ", ".join(f"{one.input} ({one.loss:.4f})" for one in manifest.importance[:_MOST_USEFUL]) or "not measured"


def _auc(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.4f}"


def _time(ms: int | None) -> str:
    return "the topics' end" if ms is None else readable(ms, "seconds", zone=" UTC")
