"""``penstock features profile``: what the features of a backfill or a training set are like, as a page or as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.text import Text

from penstock.commands.console import console_on
from penstock.commands.errors import pipeline_argument
from penstock.commands.options import NewFile, json_option, source_option
from penstock.errors import PenstockError
from penstock.settings import Settings
from streams.plan.project import Project, open_project

if TYPE_CHECKING:
    from backfill.profiling.findings import Finding
    from backfill.profiling.labels import TopicLabels
    from backfill.profiling.source import Source
    from streams.definitions.labels import Labels

_COLOURS = {"bad": "red", "look": "yellow", "good": "green", "plain": "dim"}
_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


@click.command("profile")
@pipeline_argument
@click.option("--backfill", type=_FOLDER, help="The features: a folder written by `penstock backfill run`.")
@click.option("--training-set", type=_FOLDER, help="Or a training set, whose labels show what each feature is worth.")
@click.option("--out", type=NewFile(), help="Write one HTML page, which loads nothing and needs no script.")
@json_option
@click.option(
    "--columns",
    multiple=True,
    metavar="PATTERN",
    help="Only features that match, such as 'card_spend.*'; may be repeated.",
)
@click.option(
    "--labels", "with_labels", is_flag=True, help="With --backfill: read labels from their topic, at --source."
)
@source_option
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the sample of rows.")
def profile(
    pipeline: str,
    backfill: Path | None,
    training_set: Path | None,
    out: Path | None,
    *,
    as_json: bool,
    columns: tuple[str, ...],
    with_labels: bool,
    archive: str | None,
    seed: int,
) -> None:
    """Show what features are like: distributions, nulls, change over time, correlation, worth for the label.

    All rows are read twice, in bounded memory. The same rows and seed give the same page. Texts of personal data are
    not shown.
    """
    if (backfill is None) == (training_set is None):
        raise click.UsageError("Give either --backfill or --training-set.")
    if with_labels and backfill is None:
        raise click.UsageError("--labels goes with --backfill: a training set has its labels.")
    if archive is not None and not with_labels:
        raise click.UsageError("--source goes with --labels, which are read from there.")
    if out is None and not as_json:
        raise click.UsageError("Give --out FILE for a page, or --json.")
    # Their libraries take a second to import, and only this command needs them.
    from backfill.profiling import data, page  # noqa: PLC0415
    from backfill.profiling.columns import feature_columns  # noqa: PLC0415
    from backfill.profiling.counting import count  # noqa: PLC0415
    from backfill.profiling.findings import summary  # noqa: PLC0415
    from backfill.profiling.labels import ColumnLabels  # noqa: PLC0415
    from backfill.profiling.measured import measure  # noqa: PLC0415
    from backfill.profiling.source import source_of_training_set  # noqa: PLC0415

    project = open_project(pipeline)
    declared = _require_labels(project) if training_set or with_labels else None
    source = source_of_training_set(training_set, project.name) if training_set else _of_backfill(project, backfill)
    chosen = feature_columns(project, source.schema, columns)
    labels = None if declared is None else ColumnLabels() if training_set else _of_topic(project, declared, archive)
    task = None if declared is None else declared.task
    profiles = measure(count(source, chosen, labels, task, seed))
    if out is not None:
        _write(out, page.page(profiles, project.name, source.title, seed))
    if as_json:
        click.echo(data.as_json(profiles, project.name, source.title, seed))
        return
    for one in summary(profiles):
        _print(one)
    click.echo(f"written to {out}")


def _of_backfill(project: Project, folder: Path | None) -> Source:
    from backfill.parquet import read_backfill  # noqa: PLC0415
    from backfill.profiling.source import source_of_backfill  # noqa: PLC0415

    assert folder is not None, "the command has checked it"
    backfill = read_backfill(folder)
    if backfill.manifest.pipeline != project.name:
        raise PenstockError(
            f"the backfill is of pipeline {backfill.manifest.pipeline}, not of {project.name}",
            where=str(folder),
            next="name the pipeline that it is of",
        )
    return source_of_backfill(backfill, project.plan)


def _require_labels(project: Project) -> Labels:
    if project.pipeline.labels is None:
        raise PenstockError(
            f"pipeline {project.name} declares no labels, for which features could be worth anything",
            next="add labels=Labels(topic=..., contract=..., value=...) to the pipeline, or profile a backfill without "
            "--labels",
        )
    return project.pipeline.labels


def _of_topic(project: Project, labels: Labels, archive: str | None) -> TopicLabels:
    from backfill.labels import LabelReader  # noqa: PLC0415
    from backfill.profiling.labels import TopicLabels  # noqa: PLC0415
    from backfill.topic_reading import topics_of  # noqa: PLC0415
    from schemas.registry import registry_schemas  # noqa: PLC0415
    from scoring.label_maturity import Maturity  # noqa: PLC0415

    settings = Settings()
    reader = LabelReader(labels, project.schemas, registry_schemas(settings.schema_registry_url))
    return TopicLabels(reader.rows(topics_of(settings.kafka.access, archive).read), Maturity.of(labels))


def _write(out: Path, text: str) -> None:
    """Write the file whole, or leave what was there."""
    partial = out.with_name(f".{out.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(out)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise PenstockError(
            f"the page cannot be written: {error.strerror}",
            where=str(out),
            safe="what was there is unchanged",
            next="give another file with --out",
        ) from error


def _print(finding: Finding) -> None:
    named = ", ".join(finding.features[:5]) if finding.level != "good" else ""
    more = f" and {len(finding.features) - 5:,} more" if named and len(finding.features) > 5 else ""
    rest = f": {named}{more}" if named else ""
    console_on(highlight=False).print(
        Text.assemble(("● ", _COLOURS[finding.level]), finding.text, (rest, "dim")), soft_wrap=True
    )
