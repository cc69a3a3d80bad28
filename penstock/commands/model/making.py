"""``penstock model train | import``: makes the next version; serves nothing."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import click

from backfill.parquet import read_backfill
from backfill.topic_reading import topics_of
from backfill.training_parquet import read_training_set
from penstock.commands.errors import model_argument
from penstock.commands.model.derived import Derived, derive
from penstock.commands.model.manifests import calibration_of, origin_of, print_line, training_of
from penstock.commands.options import EventTime, Finite, source_option
from penstock.errors import PenstockError
from penstock.settings import Settings
from schemas.registry import registry_schemas
from scoring.alias_history import Cause, record_configured
from scoring.provenance import ENVIRONMENT_FILE, installed, provenance
from scoring.recipe import Recipe
from scoring.recording import recipe_of
from scoring.repository import ModelRepository
from scoring.trained_model import NewVersion, Provenance
from scoring.training_set import view_versions
from scoring.trainings import Training, recorded
from streams.definitions.other_inputs import is_other
from streams.plan.project import Project, open_project

if TYPE_CHECKING:
    from scoring.model_import import CheckRows, ImportRequest

T = TypeVar("T")

author_option = click.option(
    "--author",
    envvar=["PENSTOCK_AUTHOR", "LOGNAME", "USER"],
    help="Who makes it, for its manifest (default: PENSTOCK_AUTHOR, or the name of the environment's user).",
)
incident_option = click.option("--incident", metavar="TEXT", help="The drift incident that it answers.")


@click.command("train")
@model_argument
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
@source_option
@click.option("--seed", type=int, default=0, show_default=True, help="The same data and seed give the same model.")
@click.option(
    "--with",
    "trainer",
    metavar="FUNCTION",
    help="Train by this function, module:function or file.py:function, which gets an Arrow table and returns ONNX.",
)
@click.option(
    "--with-defaults",
    is_flag=True,
    help="Inputs of other pipelines have their defaults: for a first version, as no prediction has them yet.",
)
@author_option
@incident_option
def train_command(
    pipeline: str,
    folder: Path,
    until_ms: int | None,
    archive: str | None,
    seed: int,
    trainer: str | None,
    with_defaults: bool,
    *,
    author: str | None,
    incident: str | None,
) -> None:
    """Train on the features of a backfill and the labels known until --until, and write the next version.

    The version is not served until `penstock model load`.
    """
    # Their libraries take more than a second to import, and only training needs them.
    from scoring.custom_training import find_function, train_with  # noqa: PLC0415
    from scoring.training import PARAMETERS, train  # noqa: PLC0415
    from scoring.treelite_export import with_checkpoint  # noqa: PLC0415

    project, settings = open_project(pipeline), Settings()
    repository, made = ModelRepository(settings.model_repository), Made("train", author, incident, installed())
    begun = Training(
        id=uuid.uuid4().hex,
        provenance=made.provenance(_now_ms()),
        backfill=click.format_filename(folder),
        seed=seed,
        until_ms=until_ms,
        with_defaults=with_defaults,
        trainer=trainer,
    )
    with recorded(repository, project.pipeline.model.name, begun, _now_ms) as found:
        _require_texts(project)
        backfill, registry = read_backfill(folder), registry_schemas(settings.schema_registry_url)
        read = topics_of(settings.kafka.access, archive).read
        data = read_training_set(project, read, backfill, until_ms, registry, with_defaults=with_defaults)
        found.data_hash = data.data_hash
        function = None if trainer is None else find_function(trainer)
        trained = train(data, seed) if function is None else train_with(function, str(trainer), data, seed)
        found.validation = trained.manifest.validation
        trained = with_checkpoint(trained, data.X)
        derived = derive(project, trained, seed, data, data.X)
        recipe = recipe_of(project, seed, data, function=function, parameters=PARAMETERS if function is None else {})
        found.version = version = _add(project, repository, trained, derived, made, recipe)
    _tell(project, repository, version, trained, derived, training_of(trained.manifest))


@click.command("import")
@model_argument
@click.option(
    "--onnx",
    "file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The model, exported to ONNX.",
)
@click.option("--triton", "hosted", metavar="NAME", help="The model, as it is called in Triton, which has it loaded.")
@click.option(
    "--triton-version", type=click.IntRange(min=1), help="Its version there (default: the highest that is loaded)."
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
    "--vocabulary",
    "vocabularies",
    multiple=True,
    metavar="INPUT=FILE",
    help="The texts that the model knows of this category: a text file, a line each; the first stands for all others.",
)
@click.option(
    "--buckets", "buckets", multiple=True, metavar="INPUT=NUMBER", help="Into how many buckets the category is hashed."
)
@click.option(
    "--keep", multiple=True, metavar="OUTPUT", help="Another output, or OUTPUT:COLUMN, that predictions shall have."
)
@click.option("--tolerance", type=Finite(min=0), default=1e-5, show_default=True, help="How far a score may be off.")
@click.option("--fp16", is_flag=True, help="Compute in FP16 (neural networks only); scores may be off by 5e-3.")
@click.option(
    "--backfill",
    "folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Features that the drift detectors compare with, written by `penstock backfill run`.",
)
@source_option
@click.option(
    "--trained-until",
    type=EventTime(),
    help="The event time up to which it was trained: `penstock model check` judges it by later events.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="For the detectors' calibration.")
@author_option
@incident_option
def import_command(
    pipeline: str,
    file: Path | None,
    hosted: str | None,
    triton_version: int | None,
    check_rows: Path,
    *,
    output: str | None,
    column: int | None,
    nulls: tuple[str, ...],
    tolerance: float,
    fp16: bool,
    vocabularies: tuple[str, ...],
    buckets: tuple[str, ...],
    keep: tuple[str, ...],
    folder: Path | None,
    archive: str | None,
    trained_until: int | None,
    seed: int,
    author: str | None,
    incident: str | None,
) -> None:
    """Import a model that was trained elsewhere as the next version: an ONNX file, or a model that Triton has already.

    The latter stays where it is, under any backend. The version calls it, and has no copy for when Triton fails.

    Its tensors must fit Model(inputs=...): one matrix of all inputs, or one tensor for each, named like it. It is
    written only if it gives every row of --check-rows its score. The version is not served until `penstock model load`.

    Drift is watched with what --backfill has: its labelled events should be those that the model was trained on.
    """
    from scoring.encodings import encodings_of  # noqa: PLC0415
    from scoring.model_import import ImportRequest, read_check_rows  # noqa: PLC0415 - slow to import
    from scoring.onnx_wrapping import Conversions, ScoreOutput  # noqa: PLC0415

    project, settings = open_project(pipeline), Settings()
    inputs = project.pipeline.model.inputs
    numbers = _by_input("--buckets", buckets, int, "INPUT=NUMBER")
    texts = _by_input("--vocabulary", vocabularies, _lines, "INPUT=FILE")
    encodings = encodings_of(texts, numbers, "--vocabulary and --buckets")
    conversions = Conversions(_by_input("--null", nulls, float, "INPUT=NUMBER"), encodings)
    request = ImportRequest(ScoreOutput(output, column), conversions, keep, tolerance, trained_until, fp16)
    rows = read_check_rows(check_rows, inputs, project.pipeline.categories)
    with _imported(project, settings, _source(file, hosted, triton_version), rows, request) as imported:
        data = None
        if folder is not None:
            registry = registry_schemas(settings.schema_registry_url)
            read = topics_of(settings.kafka.access, archive).read
            data = read_training_set(project, read, read_backfill(folder), None, registry)
        derived = derive(project, imported, seed, data, rows.vectors if data is None else data.X)
    about = [("imported", origin_of(imported.manifest))]
    about += [
        ("not checked", f"what null of {name} becomes: no row of {check_rows} has null there")
        for name in rows.without_null(inputs, conversions.nulls)
    ]
    if data is None and project.pipeline.monitors is not None:
        about.append(("drift", "cannot be watched for this version: it was imported without --backfill"))
    repository = ModelRepository(settings.model_repository)
    recipe = recipe_of(project, seed, data, tolerance=tolerance)
    version = _add(project, repository, imported, derived, Made("import", author, incident, installed()), recipe)
    _tell(project, repository, version, imported, derived, about)


class Made(NamedTuple):
    """Which command makes a version, for whom, which drift incident it answers, and the lock of the environment."""

    command: str
    author: str | None
    incident: str | None
    environment: str

    def provenance(self, now_ms: int) -> Provenance:
        """The same as a manifest has it."""
        return provenance(now_ms, self.environment, self.author, self.incident)


def _require_texts(project: Project) -> None:
    """Check that the texts of every category can be read, of which a training makes vocabularies."""
    for name in filter(is_other, project.pipeline.categories):
        raise PenstockError(
            f"category {name} is of another pipeline: predictions have its codes, but not the texts for a vocabulary",
            where=f"model {project.pipeline.model.name}",
            safe="no version was written",
            next=f"penstock model import {project.reference} --onnx FILE --check-rows FILE, of a model that has one",
        )


def _source(file: Path | None, hosted: str | None, version: int | None) -> Path | tuple[str, int | None]:
    """What is to be imported.

    Raises:
        click.UsageError: unless that is one thing.
    """
    if hosted is not None and file is None:
        return hosted, version
    if file is None or hosted is not None or version is not None:
        raise click.UsageError("give either --onnx FILE, or --triton NAME with or without --triton-version")
    return file


@contextmanager
def _imported(
    project: Project,
    settings: Settings,
    source: Path | tuple[str, int | None],
    rows: CheckRows,
    request: ImportRequest,
) -> Iterator[NewVersion]:
    """The version that is to be written; it can score for the duration of the block."""
    inputs = project.pipeline.model.inputs
    views = view_versions(project.plan, inputs, project.other_views)
    if isinstance(source, Path):
        from scoring.model_import import import_onnx  # noqa: PLC0415 - slow to import
        from scoring.treelite_export import with_checkpoint  # noqa: PLC0415

        yield with_checkpoint(
            import_onnx(source, inputs, views, rows, request, project.pipeline.categories), rows.vectors
        )
        return
    from scoring.hosted_import import HostedReference, import_hosted  # noqa: PLC0415
    from scoring.servers.hosted import HostedModels  # noqa: PLC0415

    name, version = source
    if name == project.pipeline.model.name:
        raise PenstockError(
            f"model {name} is the pipeline's own", next="name another model of Triton, or rename Model(name=...)"
        )
    if request.fp16:
        raise click.UsageError("--fp16 converts a file: give it with --onnx FILE")
    if project.pipeline.categories or request.keep:
        what = f"category {project.pipeline.categories[0]}" if project.pipeline.categories else "--keep"
        raise PenstockError(
            f"a model that only Triton has gives one score for numbers: {what} needs a file",
            where=f"model {name}",
            safe="no version was written",
            next="penstock model import PIPELINE --onnx FILE --check-rows FILE",
        )
    with closing(HostedModels(settings.triton.access)) as server:
        reference = HostedReference(name, version, settings.model_repository)
        yield import_hosted(server, reference, inputs, views, rows, request)


def _add(
    project: Project, repository: ModelRepository, made: NewVersion, derived: Derived, how: Made, recipe: Recipe
) -> int:
    """Write a model and what was derived from it as the next version."""
    name = project.pipeline.model.name
    origin = {"provenance": how.provenance(_now_ms()), "recipe": recipe}
    model = replace(made, manifest=made.manifest.model_copy(update=origin))
    version = repository.add(name, model, {ENVIRONMENT_FILE: how.environment, **derived.artifacts()})
    if repository.versions(name) == [version]:  # it is configured at once
        record_configured(repository, name, Cause(how.command))
    return version


def _tell(
    project: Project,
    repository: ModelRepository,
    version: int,
    made: NewVersion,
    derived: Derived,
    about: Iterable[tuple[str, str]],
) -> None:
    """Print what a new version is, and more about it: labels and texts."""
    name = project.pipeline.model.name
    print_line("model", click.style(f"{name} version {version}", bold=True))
    for label, text in about:
        print_line(label, text)
    if made.manifest.no_fil is not None:
        print_line("FIL", f"cannot run it: {made.manifest.no_fil}")
    if derived.reference is not None:
        print_line("drift", calibration_of(derived.reference))
    if isinstance(derived.reasons, str):
        print_line("reasons", f"none on predictions: {derived.reasons}")
    print_line("written to", str(repository.folder(name, version)))
    judged = f"penstock model promote {project.reference} {version} --backfill FOLDER"
    is_first = repository.versions(name) == [version]
    print_line("next", f"penstock model load {project.reference}" if is_first else judged)


def _now_ms() -> int:
    return int(time.time() * 1_000)


def _by_input(option: str, texts: tuple[str, ...], read: Callable[[str], T], form: str) -> dict[str, T]:
    """The values of an option that is given for inputs.

    Raises:
        click.BadParameter: if one is not of that form.
    """
    found = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            found[name] = read(value if name else "")
        except (ValueError, OSError) as error:
            reason = f": {error.strerror}" if isinstance(error, OSError) else ""
            raise click.BadParameter(f"{text!r} is not {form}{reason}", param_hint=option) from None
    return found


def _lines(file: str) -> list[str]:
    return Path(file).read_text(encoding="utf-8").splitlines()
