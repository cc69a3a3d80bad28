"""`penstock verify`."""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import platform
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib import metadata
from pathlib import Path

import click

from deploy.local.versions import server_versions
from penstock.commands.errors import require_pipeline
from penstock.commands.exit_codes import ExitCode
from penstock.commands.options import NewFile
from penstock.counts import counted
from penstock.errors import naming
from penstock.settings import Settings
from streams.plan.project import open_project
from verify.measured import Measured
from verify.report import CascadeReport, PipelineReport, Report, RolloutReport

_PACKAGES = (
    "penstock",
    "cassandra-driver",
    "confluent-kafka",
    "fastavro",
    "duckdb",
    "onnxruntime",
    "pydantic",
    "redis",
    "scikit-learn",
    "tritonclient",
)


@click.command()
@click.argument("pipelines", nargs=-1, required=True)
@click.option("--report", type=NewFile(), help="The file for the report, as JSON.")
@click.option(
    "--measured",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Client-side measurements of the run (latency, throughput), as the demo writes them.",
)
@click.option(
    "--backfill",
    "backfills",
    multiple=True,
    metavar="PIPELINE=FOLDER",
    help="Also compare this complete backfill with the served features, and with what models were trained and judged "
    "on; may be repeated. PIPELINE is written as among PIPELINES.",
)
@click.option(
    "--training-set",
    "training_sets",
    multiple=True,
    metavar="PIPELINE=FOLDER",
    help="Also build this training set a second time, and compare every value; one of recomputed features needs "
    "--backfill. May be repeated.",
)
@click.option(
    "--epochs",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="How often the job has started without state. If a view began more often, the check fails.",
)
@click.option("--seed", default=1, show_default=True, help="Seed of the sample of Cassandra's rows.")
def verify(
    pipelines: tuple[str, ...],
    report: Path | None,
    measured: Path | None,
    backfills: tuple[str, ...],
    training_sets: tuple[str, ...],
    epochs: int,
    seed: int,
) -> None:
    """Check everything that PIPELINES published and stored against a naive recomputation from the raw events.

    The pipelines must be idle: no new events, and no consumer has lag. Exits with 3 unless every check passed, and
    says what failed or could not be checked.
    """
    for name in pipelines:
        require_pipeline(name)
    measurements = json.loads(measured.read_text()) if measured else {}
    folders = _folders(backfills, pipelines, "--backfill")
    sets = _folders(training_sets, pipelines, "--training-set")
    checks = [
        (name, Measured.model_validate(measurements[name]) if name in measurements else None, folders[name], sets[name])
        for name in pipelines
    ]
    with ProcessPoolExecutor(min(len(pipelines), os.cpu_count() or 1), multiprocessing.get_context("spawn")) as pool:
        started = [pool.submit(_verify, *check, seed=seed, epochs=epochs) for check in checks]
        result = Report(
            pipelines={name: one.result() for name, one in zip(pipelines, started, strict=True)}, versions=_versions()
        )
    if report is not None:
        report.write_text(result.model_dump_json(indent=2) + "\n")
    for name, one in result.pipelines.items():
        click.echo(f"{name}: {one.verdict}")
        for line in _summary(one):
            click.echo(f"  {line}")
        for text in (*one.failures(), *one.unchecked()):
            click.echo(f"  {text}", err=True)
        for example in one.examples:
            click.echo(f"    {example}", err=True)
    sys.exit(ExitCode.DONE if result.held else ExitCode.CHECK_FAILED)


def _summary(report: PipelineReport) -> list[str]:
    """What was compared, in a few lines; the file of --report has every number."""
    return [
        f"events       {report.events_valid:,} valid, {report.events_invalid:,} refused, "
        f"{report.events_duplicate:,} duplicates",
        f"features     {report.features_checked:,} of {report.features_total:,} values compared",
        f"predictions  {report.predictions:,}, {report.fallback_predictions:,} by the fallback",
        *([] if report.cascade is None else [_cascade(report.cascade)]),
        *([] if report.rollout is None else [_rollout(report.rollout)]),
        f"stores       {counted(report.redis_checked, 'vector')} in Redis, "
        f"{counted(report.cassandra_rows, 'row')} in Cassandra",
        f"backfill     {counted(report.backfill_rows, 'row')}",
        f"training     {report.training_sets_checked:,} of {counted(report.training_sets, 'training set')} built again"
        + _missing(report.training_sets_checked, report.training_sets),
        *([_built_sets(report)] if report.built_sets else []),
        f"gates        {report.gate_reports_checked:,} of {counted(report.gate_reports, 'report')} judged again"
        + _missing(report.gate_reports_checked, report.gate_reports),
        f"drift        {counted(report.drift_alerts, 'alert')}",
    ]


def _cascade(cascade: CascadeReport) -> str:
    share = f"{cascade.differing:,} of {counted(cascade.audited, 'audited clear case')}"
    return f"cascade      {cascade.by_strong:,} by the strong model, which would decide {share} differently"


def _rollout(rollout: RolloutReport) -> str:
    changes, served = counted(rollout.changes, "change"), counted(rollout.predictions, "prediction")
    return (
        f"rollout      {changes}, {served} by arms, {rollout.explored:,} explored; "
        f"{rollout.shadows:,} in shadow, {rollout.shadows_missing:,} missing there"
    )


def _built_sets(report: PipelineReport) -> str:
    built = f"{report.built_sets_checked:,} of {counted(report.built_sets, 'given training set')}"
    return f"built sets   {built} built again"


def _missing(checked: int, of: int) -> str:
    """What to do about what was not checked."""
    return "" if checked == of else "; for more, also give --backfill the folders that they are of"


def _verify(
    reference: str,
    measured: Measured | None,
    backfills: Sequence[Path],
    training_sets: Sequence[Path],
    *,
    seed: int,
    epochs: int,
) -> PipelineReport:
    """Check one pipeline; runs in a process of its own, because the checks of a pipeline use one core."""
    # All that was read stays until the end. Looking through it for cycles, again and again, took a third of the time.
    gc.disable()
    # Only the processes that check need it, and it takes over a second to import.
    from verify.verifier import verify as verify_pipeline  # noqa: PLC0415

    with naming(reference):
        project, settings = open_project(reference), Settings()
        return verify_pipeline(
            project,
            settings,
            measured,
            seed=seed,
            epochs=epochs,
            backfills=backfills,
            training_sets=training_sets,
        )


def _folders(texts: tuple[str, ...], pipelines: tuple[str, ...], option: str) -> dict[str, list[Path]]:
    folders: dict[str, list[Path]] = {name: [] for name in pipelines}
    for text in texts:
        name, _, folder = text.partition("=")
        if name not in pipelines or not folder:
            wanted = " or ".join(f"{pipeline}=FOLDER" for pipeline in pipelines)
            raise click.BadParameter(f"{text!r}: write {wanted}", param_hint=f"'{option}'")
        folders[name].append(Path(folder))
    return folders


def _versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in _PACKAGES},
        **server_versions(),
    }
