"""``penstock model load | unload``: what the model server serves."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import closing, contextmanager

import click

from penstock.commands.errors import model_argument, warn
from penstock.commands.model.missing_band import warn_without_band
from penstock.settings import Settings
from scoring.repository import ModelRepository
from scoring.servers.protocol import ModelServer
from scoring.servers.registry import PRIMARY_SERVER, open_server
from scoring.serving_config import Backend, ServingConfig
from scoring.version_loading import load_version, unload_version
from streams.definitions.loading import load_pipeline


@click.command()
@model_argument
@click.option("--version", type=click.IntRange(min=1), help="Default: the newest.")
@click.option(
    "--backend",
    type=click.Choice(["python", "onnxruntime", "fil"]),
    help="python runs on the CPU, onnxruntime on a GPU, fil on a GPU, trees only "
    "(default: as before; for a new model python).",
)
def load(pipeline: str, version: int | None, backend: Backend | None) -> None:
    """Make a version the current one; the previous version stays loaded.

    While scorers follow a rollout policy, they score with its versions, which stay loaded, and not with this one.
    """
    name = load_pipeline(pipeline).model.name
    with _server() as (server, repository):
        config = load_version(repository, server, name, version, backend)
    also_loaded = f", version {config.previous} stays loaded" if config.previous else ""
    click.echo(f"{server.name} serves {name} version {config.version} ({config.backend} backend){also_loaded}")
    warn_under_policy(pipeline, config)
    warn_without_band(pipeline, repository)


@click.command()
@model_argument
def unload(pipeline: str) -> None:
    """Stop serving the model; its versions stay in the repository."""
    name = load_pipeline(pipeline).model.name
    with _server() as (server, repository):
        unload_version(repository, server, name)
    click.echo(f"{server.name} no longer serves {name}; to serve it again: penstock model load {pipeline}")


def warn_under_policy(pipeline: str, config: ServingConfig) -> None:
    """Warn if scorers follow a rollout policy: the current version is then not what they score with."""
    if config.rollout:
        versions = ", ".join(map(str, config.rollout))
        what = f"scorers follow a rollout policy, not the current version; for it, version {versions} stays loaded"
        warn(what, f"penstock rollout show {shlex.quote(pipeline)}")


@contextmanager
def _server() -> Iterator[tuple[ModelServer, ModelRepository]]:
    settings = Settings()
    with closing(open_server(PRIMARY_SERVER, settings)) as server:
        yield server, ModelRepository(settings.model_repository)
