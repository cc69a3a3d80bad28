"""Makes a version again from what its manifest says, in memory: for `penstock model rebuild`."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from backfill.parquet import Backfill, read_backfill
from backfill.topic_reading import topics_of
from backfill.topics_read import as_recorded
from backfill.training_parquet import read_training_set
from penstock.commands.model.derived import derive
from penstock.errors import PenstockError
from penstock.kafka.reading import RecordsGoneError
from penstock.settings import Settings
from schemas.registry import registry_schemas
from scoring.provenance import ENVIRONMENT_FILE, installed, provenance
from scoring.rebuilding import (
    Comparison,
    Difference,
    data_differences,
    definition_changes,
    file_differences,
    hashes_of,
    making_changes,
    manifest_differences,
    source_changes,
)
from scoring.recipe import DataRecipe, Recipe
from scoring.recording import definition_of, recipe_of
from scoring.repository import ModelRepository
from scoring.trained_model import ImportManifest, Manifest, ModelManifest, TrainedModel
from scoring.training_set import TrainingSet, view_versions
from scoring.version_files import MANIFEST_FILE
from streams.plan.project import Project

_UNTOUCHED = "the version and the registry are as they were"


@dataclass(frozen=True)
class Sources:
    """Where a version is made again from.

    Args:
        backfill: The folder of the features; None to run the backfill again.
        archive: The folder or URL of an archive; None to read Kafka.
        trainer: Where the training function is now; None for where it was.
        onnx: The file that was imported.
        check_rows: The rows that it was checked with.
        replay: Runs the backfill of then in a folder, also with an archive.
    """

    backfill: Path | None
    archive: str | None
    trainer: str | None
    onnx: Path | None
    check_rows: Path | None
    replay: Callable[[Project, Settings, DataRecipe, Path, str | None], None]


@dataclass(frozen=True)
class Made:
    """A version as it was made again: its files without the manifest, and the manifest."""

    files: dict[str, bytes]
    manifest: Manifest


class _DiffersError(Exception):
    """The version cannot be made again, because what it is made of is not what it was."""

    def __init__(self, *differences: Difference) -> None:
        self.differences = differences
        super().__init__()


def rebuild(
    project: Project, settings: Settings, repository: ModelRepository, version: int, sources: Sources, now_ms: int
) -> tuple[Comparison, Made | None]:
    """Make a version again, and compare it.

    Args:
        project: The pipeline.
        settings: The settings.
        repository: Has the version; nothing is written to it.
        version: Its number.
        sources: What it is made of.
        now_ms: The time, for the provenance of what is made.

    Returns:
        The comparison, and what was made; None if its data are not what they were.

    Raises:
        PenstockError: if the version does not say enough, a file of it has changed, or what it is made of cannot be
            read.
        click.UsageError: if a source is not for a version of this kind.
    """
    name = project.pipeline.model.name
    folder = repository.verified(name, version)
    manifest = repository.manifest(name, version)
    recipe = _recipe_of(manifest, folder)
    _require_sources(manifest, sources)
    views = view_versions(project.plan, project.pipeline.model.inputs, project.other_views)
    changes = definition_changes(manifest, recipe, definition_of(project), views)
    try:
        _require_definition(project, manifest, changes)
        if isinstance(manifest, ImportManifest):
            made = _imported_again(project, settings, manifest, recipe, sources)
        else:
            made = _trained_again(project, settings, manifest, recipe, sources)
    except _DiffersError as error:
        others = tuple(change for change in changes if change not in error.differences)
        return Comparison(error.differences, others), None
    lock = installed()
    origin = provenance(now_ms, lock, None, None if manifest.provenance is None else manifest.provenance.incident)
    made = Made(
        {**made.files, ENVIRONMENT_FILE: lock.encode()}, made.manifest.model_copy(update={"provenance": origin})
    )
    then = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    differences = (*file_differences(then, made.files), *manifest_differences(manifest, made.manifest))
    changes += source_changes(manifest, made.manifest)
    changes += making_changes(manifest, made.manifest, then.get(ENVIRONMENT_FILE, b"").decode(), lock)
    return Comparison(differences, tuple(changes), hashes_of(made.files)), made


def _recipe_of(manifest: ModelManifest | ImportManifest, folder: Path) -> Recipe:
    """What a version says of how it was made.

    Raises:
        PenstockError: if it does not say enough; the message names the field.
    """
    where = str(folder / MANIFEST_FILE)
    if isinstance(manifest, ImportManifest) and manifest.hosted is not None:
        raise PenstockError(
            f"there is nothing to make again: only Triton has the model, {manifest.file}",
            where=where,
            safe=_UNTOUCHED,
            next="`penstock model load` compares its files there with those that were imported",
        )
    missing = "recipe" if manifest.recipe is None else "recipe.data"
    if manifest.recipe is None or (isinstance(manifest, ModelManifest) and manifest.recipe.data is None):
        raise PenstockError(
            f"the version cannot be made again: its manifest has no field {missing}, as an earlier build wrote it",
            where=where,
            safe=_UNTOUCHED,
            next="import its file again, or train again, for a version that can be",
        )
    return manifest.recipe


def _require_sources(manifest: ModelManifest | ImportManifest, sources: Sources) -> None:
    """Check that the sources are for a version of this kind."""
    if isinstance(manifest, ModelManifest):
        if sources.onnx or sources.check_rows:
            raise click.UsageError("--onnx and --check-rows are for an imported version: this one was trained")
        if sources.trainer and manifest.trainer is None:
            raise click.UsageError("--with is for a version that a function trained: this one is Penstock's own")
        return
    if sources.trainer:
        raise click.UsageError("--with is for a version that a function trained: this one was imported")
    if sources.onnx is None or sources.check_rows is None:
        raise PenstockError(
            f"an imported version is made of its file, {manifest.file}, and the rows that it was checked with",
            where=f"SHA-256 {manifest.sha256} of the file, {manifest.check_sha256} of the vectors and scores",
            safe=_UNTOUCHED,
            next="give them with --onnx FILE --check-rows FILE",
        )


def _require_definition(project: Project, manifest: Manifest, changes: list[Difference]) -> None:
    """Check that the model has the inputs and views of then: with others, there is no such data any more."""
    model, categories = project.pipeline.model, project.pipeline.categories
    differences = [change for change in changes if change.where.startswith("view ")]
    if (model.inputs, categories) != (manifest.inputs, manifest.categories):
        differences.append(Difference("definition of inputs", "the model has other inputs or categories now"))
    labels, data = project.pipeline.labels, manifest.recipe and manifest.recipe.data
    if data and (labels is None or not {*labels.topics} <= data.topics.keys()):
        differences.append(Difference("definition of labels", f"another topic, {', '.join(data.topics)} then"))
    if differences:
        raise _DiffersError(*differences)


def _trained_again(
    project: Project, settings: Settings, manifest: ModelManifest, recipe: Recipe, sources: Sources
) -> Made:
    from scoring.custom_training import find_function, train_with  # noqa: PLC0415 - slow to import
    from scoring.training import PARAMETERS, train  # noqa: PLC0415
    from scoring.treelite_export import with_checkpoint  # noqa: PLC0415

    assert recipe.data is not None, "it was checked"
    try:
        function = None if manifest.trainer is None else find_function(sources.trainer or manifest.trainer)
    except PenstockError as error:
        error.safe, error.next = _UNTOUCHED, "say where the function is now with --with FUNCTION"
        raise
    data = _data_again(project, settings, recipe.data, sources, manifest.until_ms, with_defaults=manifest.with_defaults)
    seed = manifest.seed
    trained = train(data, seed) if function is None else train_with(function, str(manifest.trainer), data, seed)
    trained = with_checkpoint(trained, data.X)
    artifacts = derive(project, trained, seed, data, data.X).artifacts()
    again = recipe_of(project, seed, data, function=function, parameters=PARAMETERS if function is None else {})
    return _made(trained, artifacts, again)


def _imported_again(
    project: Project, settings: Settings, manifest: ImportManifest, recipe: Recipe, sources: Sources
) -> Made:
    from scoring.model_import import ImportRequest, import_onnx, read_check_rows  # noqa: PLC0415 - slow to import
    from scoring.onnx_wrapping import Conversions, ScoreOutput  # noqa: PLC0415
    from scoring.treelite_export import with_checkpoint  # noqa: PLC0415

    assert sources.onnx is not None, "it was checked"
    assert sources.check_rows is not None, "as above"
    inputs, categories = manifest.inputs, manifest.categories
    rows = read_check_rows(sources.check_rows, inputs, categories)
    _require_hash(sources.onnx, manifest.sha256, hashlib.sha256(sources.onnx.read_bytes()).hexdigest())
    _require_hash(sources.check_rows, manifest.check_sha256, rows.sha256)
    request = ImportRequest(
        ScoreOutput(manifest.output, manifest.column),
        Conversions(dict(manifest.nulls), dict(manifest.encodings)),
        manifest.kept,
        1e-5 if recipe.tolerance is None else recipe.tolerance,
        manifest.trained_until_ms,
        manifest.fp16,
    )
    data = None if recipe.data is None else _data_again(project, settings, recipe.data, sources, None)
    imported = with_checkpoint(
        import_onnx(sources.onnx, inputs, manifest.views, rows, request, categories), rows.vectors
    )
    derived = derive(project, imported, recipe.seed, data, rows.vectors if data is None else data.X)
    return _made(imported, derived.artifacts(), recipe_of(project, recipe.seed, data, tolerance=recipe.tolerance))


def _made(trained: TrainedModel[Any], artifacts: Mapping[str, str | bytes], recipe: Recipe) -> Made:
    derived = {name: of if isinstance(of, bytes) else of.encode() for name, of in artifacts.items()}
    return Made({**trained.files(), **derived}, trained.manifest.model_copy(update={"recipe": recipe}))


def _data_again(
    project: Project,
    settings: Settings,
    data: DataRecipe,
    sources: Sources,
    until_ms: int | None,
    *,
    with_defaults: bool = False,
) -> TrainingSet:
    """The training set of then.

    Raises:
        _DiffersError: if it is another now.
    """
    read = topics_of(settings.kafka.access, sources.archive).read
    with _features(project, settings, data, sources) as backfill:
        try:
            found = read_training_set(
                project,
                as_recorded(data.topics, read),
                backfill,
                until_ms,
                registry_schemas(settings.schema_registry_url),
                with_defaults=with_defaults,
            )
        except RecordsGoneError as error:
            raise _DiffersError(Difference(error.where or "labels", error.what)) from error
    assert found.recipe is not None, "it was just read"
    if differences := data_differences(data, found.recipe):
        raise _DiffersError(*differences)
    return found


@contextmanager
def _features(project: Project, settings: Settings, data: DataRecipe, sources: Sources) -> Iterator[Backfill]:
    """The backfill that was given, or the one of then in a folder that is deleted after the block."""
    if sources.backfill is not None:
        yield read_backfill(sources.backfill)
        return
    with tempfile.TemporaryDirectory(prefix="penstock-rebuild-") as folder:
        try:
            sources.replay(project, settings, data, Path(folder), sources.archive)
        except PenstockError as error:
            error.safe, error.next = _UNTOUCHED, "give the features of that time with --backfill FOLDER"
            raise
        yield read_backfill(Path(folder))


def _require_hash(file: Path, expected: str, found: str) -> None:
    if found != expected:
        raise _DiffersError(Difference(file.name, f"SHA-256 {expected[:16]} then, {found[:16]} now: another file"))
