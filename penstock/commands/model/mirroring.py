"""``penstock model mirror``: the registry, as MLflow shows it."""

from __future__ import annotations

from pathlib import Path

import click

from penstock.commands.errors import model_argument
from penstock.counts import counted
from penstock.errors import PenstockError
from penstock.settings import Settings
from scoring.mlflow_mirror import mirror, mirror_failed
from scoring.overview import overviews
from scoring.repository import ModelRepository
from scoring.trainings import read_trainings
from streams.definitions.loading import load_pipeline

_SQLITE = "sqlite:///"


@click.command("mirror")
@model_argument
@click.option(
    "--tracking-uri",
    "uri",
    envvar="MLFLOW_TRACKING_URI",
    show_envvar=True,
    default=f"{_SQLITE}mlflow.db",
    show_default=True,
    help="MLflow's server by its URL, or a SQLite file.",
)
def mirror_command(pipeline: str, uri: str) -> None:
    """Write all versions, their metrics, files and aliases to MLflow, and the trainings that failed.

    Run it again at any time. An alias that was moved in MLflow by hand is reported and put back.
    """
    try:
        from mlflow import MlflowClient  # noqa: PLC0415 - an extra
        from mlflow.exceptions import MlflowException  # noqa: PLC0415
    except ImportError as error:
        raise PenstockError(
            "MLflow's client is not installed in this environment",
            safe="nothing was written",
            next="pip install 'penstock[services,mlflow]'",
        ) from error
    model, repository = load_pipeline(pipeline).model, ModelRepository(Settings().model_repository)
    repository.newest(model.name)
    found = overviews(repository, model.name)
    trainings = read_trainings(repository, model.name)
    try:
        client = MlflowClient(uri, uri)
        requests = mirror(client, repository, model.name, found, model.threshold, _artifacts(uri, model.name))
        mirror_failed(client, model.name, trainings)
    except MlflowException as error:
        raise PenstockError(
            f"MLflow does not take the mirror: {str(error).strip().splitlines()[0]}",
            where=uri,
            safe="the model repository is untouched; what was written stays, and is completed the next time",
            next="penstock model mirror PIPELINE --tracking-uri URL, of a server that answers",
        ) from error
    click.echo(f"{counted(len(found), 'version')} of {model.name} mirrored to {uri}")
    for request in requests:
        moved = "was removed" if request.version is None else f"was moved to version {request.version}"
        click.echo(f"alias {request.alias} {moved} in MLflow by hand, and is put back", err=True)
        if request.version is not None:
            text = f"penstock model promote {pipeline} {request.version} --backfill FOLDER"
            click.echo(f"  next:  to serve that version: {text}", err=True)


def _artifacts(uri: str, model: str) -> str | None:
    """The folder beside a SQLite file for MLflow's copies; a server has its own place."""
    if not uri.startswith(_SQLITE):
        return None
    return (Path(uri.removeprefix(_SQLITE)).absolute().parent / "mlartifacts" / model).as_uri()
