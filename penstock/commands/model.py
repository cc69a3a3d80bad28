"""``penstock model``: train or import a pipeline's model, load it into the model server, show its versions."""

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
from scoring.trained_model import ImportManifest, ModelManifest
from scoring.training_set import view_versions
from scoring.version_loading import load_version
from streams.definitions.loading import load_pipeline
from streams.drift.drift_reference import DriftReference
from streams.plan.project import open_project

_MOST_USEFUL = 5
_READ = ("features_read", "labels_read")


@click.group()
def model() -> None:
    """Train or import a pipeline's model, load it into Triton, show its versions."""


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
@click.option(
    "--with",
    "trainer",
    metavar="FUNCTION",
    help="Train by this function, module:function or file.py:function, which gets an Arrow table and returns ONNX.",
)
def train_command(pipeline: str, folder: Path, until_ms: int | None, seed: int, trainer: str | None) -> None:
    """Train on the features of a backfill and the labels known until --until, and write the next version.

    The version is not served until `penstock model load`.
    """
    # Their libraries take more than a second to import, and only training needs them.
    from scoring.custom_training import find_function, train_with  # noqa: PLC0415
    from scoring.training import train  # noqa: PLC0415
    from streams.drift.training_reference import build_reference  # noqa: PLC0415

    project, settings = open_project(pipeline), Settings()
    definition = project.pipeline
    registry = registry_schemas(settings.schema_registry_url)
    data = read_training_set(project, settings.kafka.access, read_backfill(folder), until_ms, registry)
    trained = train(data, seed) if trainer is None else train_with(find_function(trainer), trainer, data, seed)
    reference = build_reference(project, data, trained, seed)
    repository = ModelRepository(settings.model_repository)
    version = repository.add(definition.model.name, trained, None if reference is None else reference.artifacts())
    _line("model", click.style(f"{definition.model.name} version {version}", bold=True))
    for label, text in _of_training(trained.manifest):
        _line(label, text)
    if reference is not None:
        _line("drift", _calibration(reference))
    _line("written to", str(repository.folder(definition.model.name, version)))
    _line("next", f"penstock model load {pipeline}")


@model.command("import")
@pipeline_argument
@click.option(
    "--onnx",
    "file",
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The model, exported to ONNX.",
)
@click.option(
    "--check-rows",
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Vectors with known scores: Parquet, CSV or JSON lines, with a column for each input, and `score`.",
)
@click.option("--output", help="The output with the score (default: the only one of floating-point numbers).")
@click.option(
    "--column", type=click.IntRange(min=0), help="Its column, from 0 (default: the only one, or the second of two)."
)
@click.option("--null", "nulls", multiple=True, metavar="INPUT=NUMBER", help="What null becomes in this input.")
@click.option(
    "--tolerance", type=click.FloatRange(min=0), default=1e-5, show_default=True, help="How far a score may be off."
)
@click.option(
    "--backfill",
    "folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Features that the drift detectors compare with, written by `penstock backfill run`.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="For the detectors' calibration.")
def import_command(
    pipeline: str,
    file: Path,
    check_rows: Path,
    output: str | None,
    column: int | None,
    nulls: tuple[str, ...],
    tolerance: float,
    *,
    folder: Path | None,
    seed: int,
) -> None:
    """Import a model that was trained elsewhere as the next version.

    Its tensors must fit Model(inputs=...): one matrix of all inputs, or one tensor for each, named like it. It is
    written only if it gives every row of --check-rows its score. The version is not served until `penstock model load`.

    Drift is watched with what --backfill has: its labelled events should be those that the model was trained on.
    """
    from scoring.model_import import ImportRequest, import_onnx, read_check_rows  # noqa: PLC0415 - slow to import
    from scoring.onnx_wrapping import ScoreOutput  # noqa: PLC0415
    from streams.drift.training_reference import build_reference  # noqa: PLC0415

    project, settings = open_project(pipeline), Settings()
    name, inputs = project.pipeline.model.name, project.pipeline.model.inputs
    request = ImportRequest(ScoreOutput(output, column), _nulls(nulls), tolerance)
    rows = read_check_rows(check_rows, inputs)
    imported = import_onnx(file, inputs, view_versions(project.plan, inputs), rows, request)
    reference = None
    if folder is not None:
        registry = registry_schemas(settings.schema_registry_url)
        data = read_training_set(project, settings.kafka.access, read_backfill(folder), None, registry)
        reference = build_reference(project, data, imported, seed)
    repository = ModelRepository(settings.model_repository)
    version = repository.add(name, imported, None if reference is None else reference.artifacts())
    _line("model", click.style(f"{name} version {version}", bold=True))
    _line("imported", _origin(imported.manifest))
    if reference is not None:
        _line("drift", _calibration(reference))
    elif project.pipeline.monitors is not None:
        _line("drift", "cannot be watched for this version: it was imported without --backfill")
    _line("written to", str(repository.folder(name, version)))
    _line("next", f"penstock model load {pipeline}")


def _nulls(texts: tuple[str, ...]) -> dict[str, float]:
    """The values of --null.

    Raises:
        click.BadParameter: if one is not INPUT=NUMBER.
    """
    found = {}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            found[name] = float(number)
        except ValueError:
            raise click.BadParameter(f"{text!r} is not INPUT=NUMBER", param_hint="--null") from None
    return found


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
            *_cells(manifest),
        )
    console_on(highlight=False).print(table)
    for state in states.values():
        if state.state != "READY" and state.reason:
            click.echo(f"version {state.version}: {state.reason}")
    if serving is not None:
        current = repository.manifest(name, serving.version)
        if isinstance(current, ModelManifest):
            _line("most useful", _most_useful(current))
        else:
            _line("imported", _origin(current))
    click.echo(f"{name} in {repository.root / name}; * is the current version")


@contextmanager
def _server() -> Iterator[tuple[ModelServer, ModelRepository]]:
    settings = Settings()
    with closing(open_server(PRIMARY_SERVER, settings)) as server:
        yield server, ModelRepository(settings.model_repository)


def _line(label: str, text: str) -> None:
    click.echo(click.style(f"{label:<14}", dim=True) + text)


def _cells(manifest: ModelManifest | ImportManifest) -> tuple[str, ...]:
    """The columns of `status` about how a version was made."""
    if isinstance(manifest, ImportManifest):
        return ("imported", *["n/a"] * 4)
    return (
        f"{manifest.rows:,}",
        f"{manifest.positives:,}",
        f"{manifest.validation.auc:.4f}",
        _auc(manifest.validation.auc_without_windows),
        _time(manifest.until_ms),
    )


def _calibration(reference: DriftReference) -> str:
    monitors, every = counted(len(reference.monitors), "monitor"), f"{reference.false_alarm_every:,}"
    return f"{monitors}, calibrated to one false alarm in {every} events"


def _origin(manifest: ImportManifest) -> str:
    by = f" by {manifest.producer}" if manifest.producer else ""
    return (
        f"{manifest.file}{by} (SHA-256 {manifest.sha256[:16]}), output {manifest.output} column {manifest.column}, "
        f"{counted(manifest.check_rows, 'row')} scored as expected, within {manifest.difference:.2g}"
    )


def _of_training(manifest: ModelManifest) -> list[tuple[str, str]]:
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
        ("made from", f"data {manifest.data_hash[:16]}, seed {manifest.seed}, {_by(manifest)}"),
    ]


def _by(manifest: ModelManifest) -> str:
    return f"{manifest.iterations} trees" if manifest.trainer is None else f"by {manifest.trainer}"


def _most_useful(manifest: ModelManifest) -> str:
    """The inputs with the greatest permutation importance."""
    return ", ".join(f"{one.input} ({one.loss:.4f})" for one in manifest.importance[:_MOST_USEFUL]) or "not measured"


def _auc(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.4f}"


def _time(ms: int | None) -> str:
    return "the topics' end" if ms is None else readable(ms, "seconds", zone=" UTC")
