"""``penstock model train | import``: makes the next version; serves nothing."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from backfill.parquet import read_backfill
from backfill.training_parquet import read_training_set
from penstock.commands.errors import pipeline_argument
from penstock.commands.model.manifests import calibration_of, origin_of, print_line, training_of
from penstock.commands.options import EventTime
from penstock.settings import Settings
from schemas.registry import registry_schemas
from scoring.repository import ModelRepository
from scoring.trained_model import TrainedModel
from scoring.training_set import view_versions
from streams.drift.drift_reference import DriftReference
from streams.plan.project import Project, open_project


@click.command("train")
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
    from scoring.treelite_export import with_checkpoint  # noqa: PLC0415
    from streams.drift.training_reference import build_reference  # noqa: PLC0415

    project, settings = open_project(pipeline), Settings()
    registry = registry_schemas(settings.schema_registry_url)
    data = read_training_set(project, settings.kafka.access, read_backfill(folder), until_ms, registry)
    trained = train(data, seed) if trainer is None else train_with(find_function(trainer), trainer, data, seed)
    trained = with_checkpoint(trained, data.X)
    reference = build_reference(project, data, trained, seed)
    _write(project, settings, trained, reference, training_of(trained.manifest))


@click.command("import")
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
@click.option("--fp16", is_flag=True, help="Compute in FP16 (neural networks only); scores may be off by 5e-3.")
@click.option(
    "--backfill",
    "folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Features that the drift detectors compare with, written by `penstock backfill run`.",
)
@click.option(
    "--trained-until",
    type=EventTime(),
    help="The event time up to which it was trained: `penstock model check` judges it by later events.",
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
    fp16: bool,
    folder: Path | None,
    trained_until: int | None,
    seed: int,
) -> None:
    """Import a model that was trained elsewhere as the next version.

    Its tensors must fit Model(inputs=...): one matrix of all inputs, or one tensor for each, named like it. It is
    written only if it gives every row of --check-rows its score. The version is not served until `penstock model load`.

    Drift is watched with what --backfill has: its labelled events should be those that the model was trained on.
    """
    from scoring.model_import import ImportRequest, import_onnx, read_check_rows  # noqa: PLC0415 - slow to import
    from scoring.onnx_wrapping import ScoreOutput  # noqa: PLC0415
    from scoring.treelite_export import with_checkpoint  # noqa: PLC0415
    from streams.drift.training_reference import build_reference  # noqa: PLC0415

    project, settings = open_project(pipeline), Settings()
    inputs = project.pipeline.model.inputs
    request = ImportRequest(ScoreOutput(output, column), _nulls(nulls), tolerance, trained_until, fp16)
    rows = read_check_rows(check_rows, inputs)
    imported = import_onnx(file, inputs, view_versions(project.plan, inputs), rows, request)
    imported = with_checkpoint(imported, rows.vectors)
    reference = None
    if folder is not None:
        registry = registry_schemas(settings.schema_registry_url)
        data = read_training_set(project, settings.kafka.access, read_backfill(folder), None, registry)
        reference = build_reference(project, data, imported, seed)
    about = [("imported", origin_of(imported.manifest))]
    if reference is None and project.pipeline.monitors is not None:
        about.append(("drift", "cannot be watched for this version: it was imported without --backfill"))
    _write(project, settings, imported, reference, about)


def _write(
    project: Project,
    settings: Settings,
    made: TrainedModel[Any],
    reference: DriftReference | None,
    about: Iterable[tuple[str, str]],
) -> None:
    """Write a model and its drift reference as the next version, and print what it is: labels and texts."""
    repository, name = ModelRepository(settings.model_repository), project.pipeline.model.name
    version = repository.add(name, made, None if reference is None else reference.artifacts())
    print_line("model", click.style(f"{name} version {version}", bold=True))
    for label, text in about:
        print_line(label, text)
    if made.manifest.no_fil is not None:
        print_line("FIL", f"cannot run it: {made.manifest.no_fil}")
    if reference is not None:
        print_line("drift", calibration_of(reference))
    print_line("written to", str(repository.folder(name, version)))
    print_line("next", f"penstock model load {project.reference}")


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
