"""``penstock model load | unload | status``: what the model server serves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

import click
from rich.table import Table

from penstock.commands.console import console_on
from penstock.commands.errors import pipeline_argument
from penstock.commands.model.manifests import (
    most_useful,
    origin_of,
    print_line,
    status_cells,
)
from penstock.settings import Settings
from scoring.repository import Backend, ModelRepository
from scoring.servers.protocol import ModelServer
from scoring.servers.registry import PRIMARY_SERVER, open_server
from scoring.trained_model import ModelManifest
from scoring.version_loading import load_version
from streams.definitions.loading import load_pipeline


@click.command()
@pipeline_argument
@click.option("--version", type=click.IntRange(min=1), help="Default: the newest.")
@click.option(
    "--backend",
    type=click.Choice(["python", "onnxruntime", "fil"]),
    help="python runs on the CPU, onnxruntime on a GPU, fil on a GPU, trees only "
    "(default: as before; for a new model python).",
)
def load(pipeline: str, version: int | None, backend: Backend | None) -> None:
    """Make a version the current one; the previous version stays loaded."""
    name = load_pipeline(pipeline).model.name
    with _server() as (server, repository):
        config = load_version(repository, server, name, version, backend)
    also_loaded = f", version {config.previous} stays loaded" if config.previous else ""
    click.echo(f"{server.name} serves {name} version {config.version} ({config.backend} backend){also_loaded}")


@click.command()
@pipeline_argument
def unload(pipeline: str) -> None:
    """Stop serving the model; its versions stay in the repository."""
    name = load_pipeline(pipeline).model.name
    with _server() as (server, _):
        server.unload(name)
    click.echo(f"{server.name} no longer serves {name}; to serve it again: penstock model load {pipeline}")


@click.command()
@pipeline_argument
def status(pipeline: str) -> None:
    """Show all versions, their validation metrics, and their state on the model server."""
    name = load_pipeline(pipeline).model.name
    with _server() as (server, repository):
        repository.newest(name)
        serving = repository.serving_config(name)
        states = {state.version: state for state in server.versions(name)}
    table = Table("", server.name, "rows", "positive", "AUC or R²", "without windows", "known until", box=None)
    for version in repository.versions(name):
        manifest = repository.manifest(name, version)
        table.add_row(
            f"{version}{'*' if serving is not None and version == serving.version else ''}",
            states[version].state.lower() if version in states else "not loaded",
            *status_cells(manifest),
        )
    console_on(highlight=False).print(table)
    for state in states.values():
        if state.state != "READY" and state.reason:
            click.echo(f"version {state.version}: {state.reason}")
    if serving is not None:
        current = repository.manifest(name, serving.version)
        if isinstance(current, ModelManifest):
            print_line("most useful", most_useful(current))
        else:
            print_line("imported", origin_of(current))
    click.echo(f"{name} in {repository.root / name}; * is the current version")


@contextmanager
def _server() -> Iterator[tuple[ModelServer, ModelRepository]]:
    settings = Settings()
    with closing(open_server(PRIMARY_SERVER, settings)) as server:
        yield server, ModelRepository(settings.model_repository)
