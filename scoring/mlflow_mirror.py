"""The registry as MLflow shows it: a run and a model version for each version, the aliases, and failed trainings.

The repository is the truth. Whatever a killed mirror left, the next one completes: a run is found again by the identity
and number in its tags, a model version by its run. An alias that was moved in MLflow by hand is a request, which is
reported and undone: a version is promoted through its gates.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scoring.alias_history import CHAMPION, PREVIOUS
from scoring.gates.card import card
from scoring.overview import CANDIDATE, Overview
from scoring.repository import ModelRepository
from scoring.trained_model import ImportManifest, Provenance
from scoring.trainings import Training
from scoring.version_files import BACKEND_FILE

_ALIASES = (CHAMPION, PREVIOUS, CANDIDATE)
_VERSION, _IDENTITY = "penstock.version", "penstock.identity"
_FOLDER = "version"
_TRAINING = "penstock.training"
_FINISHED, _FAILED = "FINISHED", "FAILED"


@dataclass(frozen=True)
class Request:
    """An alias that somebody moved in MLflow to a version; None if it was removed."""

    alias: str
    version: int | None


def mirror(
    client: Any,
    repository: ModelRepository,
    model: str,
    versions: Sequence[Overview],
    threshold: float,
    artifacts: str | None,
) -> list[Request]:
    """Write all versions and the aliases of a model, and return what was asked for by hand.

    Args:
        client: An ``mlflow.MlflowClient``.
        repository: The model repository.
        model: The model's name, there and here.
        versions: What the repository knows of its versions.
        threshold: The score from which on the decision is positive, for the cards.
        artifacts: Where MLflow keeps the files of this model; None for where its server says.

    Raises:
        PenstockError: if a file of a version has changed.
        mlflow.exceptions.MlflowException: if MLflow does not answer, or refuses.
    """
    experiment = client.get_experiment_by_name(model)
    place = client.create_experiment(model, artifacts) if experiment is None else experiment.experiment_id
    if not client.search_registered_models(f"name = '{model}'"):
        client.create_registered_model(model)
    for one in versions:
        folder = repository.verified(model, one.version)
        run = _run(client, place, model, one, folder)
        _describe(client, run, one, threshold)
        found = _model_version(client, model, run)
        if found is None:
            source = f"{client.get_run(run).info.artifact_uri}/{_FOLDER}"
            found = client.create_model_version(model, source, run, tags={_VERSION: str(one.version), **_tags(one)})
        for name, value in _tags(one).items():
            if found.tags.get(name) != value:
                client.set_model_version_tag(model, found.version, name, value)
    return _move_aliases(client, model, versions)


def mirror_failed(client: Any, model: str, trainings: Sequence[Training]) -> None:
    """Write a failed run for each training that failed; the model is mirrored already.

    A run is found again by the training's id in its tags, and completed if a killed mirror left it.

    Raises:
        mlflow.exceptions.MlflowException: if MLflow does not answer, or refuses.
    """
    experiment = client.get_experiment_by_name(model).experiment_id
    for one in trainings:
        if one.outcome != "failed":
            continue
        found = client.search_runs([experiment], filter_string=f"tags.`{_TRAINING}` = '{one.id}'")
        if not found:
            tags = {_TRAINING: one.id, "penstock.error": one.error or "", **_tags_of(one.provenance)}
            found = [client.create_run(experiment, one.began_ms, tags, f"{model}, failed")]
        info = found[0].info
        if info.status != _FAILED:
            for name, value in _params_of(one).items():
                client.log_param(info.run_id, name, value)
            client.set_terminated(info.run_id, _FAILED, one.ended_ms)


def _run(client: Any, experiment: str, model: str, one: Overview, folder: Path) -> str:
    """The run of a version with its parameters and files; it is finished once it has all of them."""
    from mlflow.entities import Param  # noqa: PLC0415 - an extra

    key = f"tags.`{_IDENTITY}` = '{one.identity}' and tags.`{_VERSION}` = '{one.version}'"
    found = client.search_runs([experiment], filter_string=key)
    if not found:
        tags = {_IDENTITY: one.identity, _VERSION: str(one.version)}
        made = one.manifest.provenance
        began = None if made is None else made.made_ms
        found = [client.create_run(experiment, began, tags, f"{model} version {one.version}")]
    run = found[0]
    name: str = run.info.run_id
    if run.info.status != _FINISHED:
        client.log_batch(name, params=[Param(*each) for each in _params(one).items()])
        for path in sorted(folder.iterdir()):
            if path.is_file() and path.name != BACKEND_FILE:
                client.log_artifact(name, str(path), _FOLDER)
        client.set_terminated(name, _FINISHED)
    return name


def _describe(client: Any, run: str, one: Overview, threshold: float) -> None:
    """Write what may come after the version: its metrics by the gates, its tags and its card."""
    from mlflow.entities import Metric, RunTag  # noqa: PLC0415 - an extra

    data = client.get_run(run).data
    began = 0 if one.manifest.provenance is None else one.manifest.provenance.made_ms
    metrics = [
        Metric(name, value, began, 0) for name, value in _metrics(one).items() if data.metrics.get(name) != value
    ]
    tags = [RunTag(name, value) for name, value in _tags(one).items() if data.tags.get(name) != value]
    if metrics or tags:
        client.log_batch(run, metrics=metrics, tags=tags)
    if one.report is not None:
        with tempfile.TemporaryDirectory() as temporary:
            page = Path(temporary) / "card.html"
            page.write_text(card(one.report, one.manifest, threshold, one.override), encoding="utf-8")
            client.log_artifact(run, str(page))


def _move_aliases(client: Any, model: str, versions: Sequence[Overview]) -> list[Request]:
    """Point the aliases where the repository has them; returns those that somebody else pointed elsewhere."""
    registered = client.get_registered_model(model)
    numbers = {
        int(found.tags[_VERSION]): str(found.version)
        for found in client.search_model_versions(f"name = '{model}'")
        if _VERSION in found.tags
    }
    ours = {number: version for version, number in numbers.items()}
    requests = []
    for alias in _ALIASES:
        version = next((one.version for one in versions if alias in one.aliases), None)
        wanted = "" if version is None else numbers[version]
        there = str(registered.aliases.get(alias, ""))
        tag = f"penstock.alias.{alias}"
        # What this mirror may have left: two values while it moves an alias.
        expected = registered.tags.get(tag, "").split(",")
        if there not in (wanted, *expected):
            requests.append(Request(alias, ours.get(there)))
        if there != wanted:
            client.set_registered_model_tag(model, tag, f"{expected[-1]},{wanted}")
            if wanted:
                client.set_registered_model_alias(model, alias, wanted)
            else:
                client.delete_registered_model_alias(model, alias)
        if expected != [wanted]:
            client.set_registered_model_tag(model, tag, wanted)
    return requests


def _model_version(client: Any, model: str, run: str) -> Any:
    """The model version of a run; None if there is none."""
    found = client.search_model_versions(f"run_id = '{run}'")
    return next((one for one in found if one.name == model), None)


def _params(one: Overview) -> dict[str, str]:
    manifest, made = one.manifest, one.manifest.provenance
    found: dict[str, object] = {"inputs": ",".join(manifest.inputs), "kind": manifest.kind}
    if isinstance(manifest, ImportManifest):
        found |= {"file": manifest.file, "sha256": manifest.sha256, "producer": manifest.producer}
    else:
        found |= {
            "seed": manifest.seed,
            "data_hash": manifest.data_hash,
            "rows": manifest.rows,
            "positives": manifest.positives,
            "until_ms": manifest.until_ms,
            "trainer": manifest.trainer or "penstock",
            "iterations": manifest.iterations,
        }
    if made is not None:
        found |= {"penstock": made.penstock, "environment": made.environment}
    return {name: str(value) for name, value in found.items() if value not in (None, "")}


def _metrics(one: Overview) -> dict[str, float]:
    found: dict[str, float | None] = {}
    if not isinstance(one.manifest, ImportManifest):
        validation = one.manifest.validation
        found = validation.model_dump(include={"auc", "auc_without_windows", "r2", "r2_without_windows", "mae"})
        found |= {f"importance/{_as_name(each.input)}": each.loss for each in one.manifest.importance}
    return {name: value for name, value in found.items() if value is not None}


def _tags(one: Overview) -> Mapping[str, str]:
    made = one.manifest.provenance
    found = {
        "penstock.gates": "not judged" if one.report is None else one.report.verdict.value,
        "penstock.report": one.report_hash,
        "penstock.override": one.override,
        **{f"penstock.view.{view}": identity for view, identity in one.manifest.views.items()},
    }
    return {name: value for name, value in found.items() if value} | ({} if made is None else _tags_of(made))


def _tags_of(made: Provenance) -> dict[str, str]:
    found = {"penstock.author": made.author, "penstock.incident": made.incident}
    return {name: value for name, value in found.items() if value}


def _params_of(one: Training) -> dict[str, str]:
    found = one.model_dump(include={"seed", "until_ms", "backfill", "with_defaults", "data_hash"})
    found |= one.provenance.model_dump(include={"penstock", "environment"})
    found["trainer"] = one.trainer or "penstock"
    return {name: str(value) for name, value in found.items() if value is not None}


def _as_name(text: str) -> str:
    """MLflow's names take letters, digits and a few signs."""
    return "".join(sign if sign.isalnum() or sign in "_-./ " else "_" for sign in text)
