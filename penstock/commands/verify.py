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
@click.option("--report", type=click.Path(path_type=Path, dir_okay=False), help="Write the report here, as JSON.")
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
    help="Also compare this complete backfill with what was served.",
)
@click.option("--budget", default=15_000_000, show_default=True, help="Oracle work per view, in rows times features.")
@click.option("--seed", default=1, show_default=True, help="Seed of what is sampled within the budget.")
def verify(
    pipelines: tuple[str, ...],
    report: Path | None,
    measured: Path | None,
    backfills: tuple[str, ...],
    budget: int,
    seed: int,
) -> None:
    """Check everything that PIPELINES published and stored against a naive re-computation from the raw events.

    The pipelines should be at rest: no new events, all consumers caught up. Exits 1 if anything does not hold.
    """
    settings = Settings()
    witnessed = json.loads(measured.read_text()) if measured else {}
    folders = _folders(backfills, pipelines)
    found = {}
    for name in pipelines:
        seen = Measured.model_validate(witnessed[name]) if name in witnessed else None
        found[name] = verify_pipeline(
            open_project(name), settings, seen, budget=budget, seed=seed, backfill=folders.get(name)
        )
    failures = {name: one.failures() for name, one in found.items()}
    result = Report(held=not any(failures.values()), pipelines=found, versions=_versions())
    if report is not None:
        report.write_text(result.model_dump_json(indent=2) + "\n")
    for name, one in found.items():
        click.echo(
            f"{name}: {'held' if not failures[name] else 'did not hold'}; {one.model_dump_json(exclude={'examples'})}"
        )
        for failure in failures[name]:
            click.echo(f"  {failure}", err=True)
        for example in one.examples:
            click.echo(f"    {example}", err=True)
    sys.exit(0 if result.held else 1)


def _folders(backfills: tuple[str, ...], pipelines: tuple[str, ...]) -> dict[str, Path]:
    folders = {}
    for text in backfills:
        name, _, folder = text.partition("=")
        if name not in pipelines or not folder:
            raise click.BadParameter(f"{text!r} is not PIPELINE=FOLDER of one of {', '.join(pipelines)}")
        folders[name] = Path(folder)
    return folders


def _versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in _PACKAGES},
        **server_versions(),
    }
