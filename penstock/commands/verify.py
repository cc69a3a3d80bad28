"""`penstock verify`."""

from __future__ import annotations

import json
import platform
import sys
from importlib import metadata
from pathlib import Path

import click

from deploy.local.versions import server_versions
from penstock.settings import Settings
from streams.plan.project import open_project
from verify.measured import Measured
from verify.report import Report
from verify.verifier import verify as verify_pipeline

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
@click.option("--report", type=click.Path(path_type=Path, dir_okay=False), help="The file for the report, as JSON.")
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
    help="Also compare this complete backfill with the served features.",
)
@click.option(
    "--budget",
    default=15_000_000,
    show_default=True,
    help="Limit of the oracle's work per view, in rows times features.",
)
@click.option("--seed", default=1, show_default=True, help="Seed for the samples within the budget.")
def verify(
    pipelines: tuple[str, ...],
    report: Path | None,
    measured: Path | None,
    backfills: tuple[str, ...],
    budget: int,
    seed: int,
) -> None:
    """Check everything that PIPELINES published and stored against a naive recomputation from the raw events.

    The pipelines must be idle: no new events, and no consumer has lag. Exits with 1 if a check fails.
    """
    settings = Settings()
    measurements = json.loads(measured.read_text()) if measured else {}
    folders = _folders(backfills, pipelines)
    reports = {}
    for name in pipelines:
        measurement = Measured.model_validate(measurements[name]) if name in measurements else None
        reports[name] = verify_pipeline(
            open_project(name), settings, measurement, budget=budget, seed=seed, backfill=folders.get(name)
        )
    failures = {name: checks.failures() for name, checks in reports.items()}
    result = Report(held=not any(failures.values()), pipelines=reports, versions=_versions())
    if report is not None:
        report.write_text(result.model_dump_json(indent=2) + "\n")
    for name, checks in reports.items():
        passed = "held" if not failures[name] else "did not hold"
        click.echo(f"{name}: {passed}; {checks.model_dump_json(exclude={'examples'})}")
        for failure in failures[name]:
            click.echo(f"  {failure}", err=True)
        for example in checks.examples:
            click.echo(f"    {example}", err=True)
    sys.exit(0 if result.held else 1)


def _folders(backfills: tuple[str, ...], pipelines: tuple[str, ...]) -> dict[str, Path]:
    folders = {}
    for text in backfills:
        name, _, folder = text.partition("=")
        if name not in pipelines or not folder:
            raise click.BadParameter(f"{text!r} is not PIPELINE=FOLDER with a pipeline of {', '.join(pipelines)}")
        folders[name] = Path(folder)
    return folders


def _versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in _PACKAGES},
        **server_versions(),
    }
