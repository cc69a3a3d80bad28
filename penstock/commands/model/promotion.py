"""``penstock model register | compare | promote``: a version on its way to being served."""

from __future__ import annotations

import json
import shlex
import sys
import time
from contextlib import closing
from pathlib import Path

import click
from rich.table import Table

from backfill.parquet import read_backfill
from penstock.commands.console import console_on
from penstock.commands.errors import model_argument
from penstock.commands.model.check import EXIT_CODES, FORMATS, gates_option, limits_in, report_options, tell
from penstock.commands.model.manifests import about, print_line
from penstock.commands.model.missing_band import warn_without_band
from penstock.commands.model.serving import warn_under_policy
from penstock.commands.model.versions import version_argument
from penstock.commands.options import json_option, source_option
from penstock.settings import Settings
from scoring.alias_history import Cause, record_configured
from scoring.gates.gates import Limits, Result, Verdict
from scoring.gates.report import Report, evidence, result_content
from scoring.registration import register
from scoring.repository import ModelRepository
from scoring.servers.registry import PRIMARY_SERVER, open_server
from scoring.trained_model import ImportManifest, ModelManifest
from scoring.training_set import view_versions
from scoring.version_loading import load_version
from sinks.archive.storage import without_secrets
from streams.definitions.loading import load_pipeline
from streams.plan.project import open_project


@click.command("register")
@model_argument
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
def register_command(pipeline: str, folder: Path) -> None:
    """Add a version that another repository made: FOLDER is that version's folder. The next number is its own.

    Its files must have the hashes that it was written with, and it must fit the pipeline. It is not served until
    `penstock model promote` or `penstock model load`.
    """
    project, repository = open_project(pipeline), ModelRepository(Settings().model_repository)
    model = project.pipeline.model
    views = view_versions(project.plan, model.inputs, project.other_views)
    version = register(repository, folder, model.name, model.inputs, views)
    if repository.versions(model.name) == [version]:
        record_configured(repository, model.name, Cause("register"))
    print_line("model", click.style(f"{model.name} version {version}", bold=True))
    print_line("written to", str(repository.folder(model.name, version)))
    print_line("next", f"penstock model promote {project.reference} {version} --backfill FOLDER")


@click.command()
@model_argument
@click.argument("one", metavar="A", type=click.IntRange(min=1))
@click.argument("other", metavar="B", type=click.IntRange(min=1))
@click.option(
    "--backfill",
    "folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Also compare their losses, on its labelled events that are later than both trainings.",
)
@source_option
@gates_option
@json_option
def compare(
    pipeline: str,
    one: int,
    other: int,
    folder: Path | None,
    archive: str | None,
    limits: Path | None,
    *,
    as_json: bool,
) -> None:
    """Show two versions side by side: what each was made from, its metrics, its most useful inputs.

    With a backfill, also by how much the loss and cost of B exceed those of A, event by event, with intervals.
    """
    settings = Settings()
    name, repository = load_pipeline(pipeline).model.name, ModelRepository(settings.model_repository)
    for version in (one, other):
        repository.verified(name, version)
    manifests = repository.manifest(name, one), repository.manifest(name, other)
    report = None if folder is None else _beside(pipeline, settings, folder, archive, (one, other), limits_in(limits))
    losses = [result for result in report.results if result.gate in ("quality", "cost")] if report else []
    if as_json:
        versions = {str(number): of.model_dump(mode="json") for number, of in zip((one, other), manifests, strict=True)}
        content = {"versions": versions, "losses": [result_content(result) for result in losses]}
        click.echo(json.dumps(content, indent=2))
        return
    _print_side_by_side(manifests, (one, other))
    if report is not None:
        click.echo(f"\nversion {other} beside version {one}, on {report.events:,} later labelled events")
        table = Table("", "where", "n", f"{other} minus {one}", box=None, pad_edge=False)
        for result in losses:
            table.add_row(result.gate, result.where, f"{result.n:,}", evidence(result))
        console_on(highlight=False).print(table)


@click.command()
@model_argument
@version_argument
@click.option(
    "--backfill",
    "folder",
    required=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Features whose labelled events are later than the training, written by `penstock backfill run`.",
)
@source_option
@gates_option
@click.option("--seed", type=int, default=0, show_default=True, help="For the intervals that are drawn.")
@click.option("--override", metavar="REASON", help="Serve it although the gates do not pass, for this reason.")
@report_options
def promote(
    pipeline: str,
    version: int,
    folder: Path,
    archive: str | None,
    limits: Path | None,
    seed: int,
    override: str | None,
    *,
    form: str,
) -> None:
    """Load a version if the gates pass, beside the version that is served.

    Exits with 10 if a gate refuses it, and with 11 if one cannot tell; then nothing is loaded. The report is stored,
    and the history of aliases names it. An --override is recorded with its reason, and shown wherever the version is.
    """
    from backfill.judging import judge_version  # noqa: PLC0415 - slow to import
    from backfill.model_check import CheckRequest  # noqa: PLC0415

    project, settings = open_project(pipeline), Settings()
    request = CheckRequest(version, None, limits_in(limits), seed, archive)
    now_ms = int(time.time() * 1_000)
    report, stored = judge_version(project, settings, read_backfill(folder), request, now_ms, tell)
    FORMATS[form](report)
    passed = report.verdict is Verdict.PASS
    if not passed and not override:
        _refuse(report, project.reference, folder, archive, limits)
        sys.exit(EXIT_CODES[report.verdict])
    cause = Cause("promote", stored, None if passed else override)
    with closing(open_server(PRIMARY_SERVER, settings)) as server:
        repository = ModelRepository(settings.model_repository)
        config = load_version(repository, server, report.model, version, cause=cause)
        also = f", version {config.previous} stays loaded" if config.previous else ""
        overridden = "" if passed else f", overriding the gates: {override}"
        click.echo(f"{server.name} serves {report.model} version {version}{also}{overridden}", err=form != "text")
    warn_under_policy(pipeline, config)
    warn_without_band(pipeline, repository)


def _refuse(report: Report, reference: str, folder: Path, archive: str | None, limits: Path | None) -> None:
    """Say which gates stand in the way, by how much, and what would pass."""
    click.echo(f"version {report.version} is not promoted; nothing was loaded", err=True)
    for result in report.results:
        if result.verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE):
            click.echo(f"  {_in_the_way(result)}", err=True)
    source = [] if archive is None else ["--source", without_secrets(archive)]
    files = shlex.join(["--backfill", str(folder), *source, *([] if limits is None else ["--gates", str(limits)])])
    text = f'penstock model promote {reference} {report.version} {files} --override "REASON"'
    click.echo(f"  next:  make a better version, or, with a reason that all will see: {text}", err=True)


def _in_the_way(result: Result) -> str:
    return f"{result.gate} ({result.where}) {result.verdict.value}: {evidence(result)}; would pass: {result.limit}"


def _beside(
    pipeline: str, settings: Settings, folder: Path, archive: str | None, versions: tuple[int, int], limits: Limits
) -> Report:
    from backfill.model_check import CheckRequest, check_version  # noqa: PLC0415 - slow to import

    # The gate of latency would call the Triton that serves, for a result that is not shown.
    losses_alone = limits.model_copy(update={"skip": (*limits.skip, "fairness", "latency")})
    request = CheckRequest(versions[1], versions[0], losses_alone, seed=0, archive=archive)
    return check_version(open_project(pipeline), settings, read_backfill(folder), request, tell)


def _print_side_by_side(manifests: tuple[ModelManifest | ImportManifest, ...], versions: tuple[int, int]) -> None:
    sides = [dict(about(manifest)) for manifest in manifests]
    table = Table("", *(f"version {version}" for version in versions), box=None, pad_edge=False)
    for label in dict.fromkeys(label for side in sides for label in side):
        cells = [click.unstyle(side.get(label, "")) for side in sides]
        table.add_row(label, *cells, style="" if cells[0] != cells[1] else "dim")
    console_on(highlight=False).print(table)
