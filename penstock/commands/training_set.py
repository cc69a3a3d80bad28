"""``penstock training-set``: builds point-in-time training sets as Parquet."""

from __future__ import annotations

import json
import sys
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import click

from backfill.parquet import read_backfill
from backfill.topic_reading import topics_of
from backfill.training_sets.build import Inputs, build_training_set
from backfill.training_sets.manifest import Request
from penstock.commands.errors import pipeline_argument, warn, warn_of_future
from penstock.commands.exit_codes import ExitCode
from penstock.commands.options import EventTime, json_option, source_option
from penstock.settings import Settings
from penstock.time import iso
from schemas.registry import registry_schemas
from streams.plan.project import open_project

if TYPE_CHECKING:
    from backfill.training_sets.manifest import TrainingSetManifest


class Shares(click.ParamType):
    """The shares of training, validation and test, such as ``0.7,0.15,0.15``; they sum to 1."""

    name = "TRAIN,VALIDATION,TEST"

    def convert(
        self, value: str | tuple[str, str, str], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str, str]:
        """Check the text and take it apart."""
        if isinstance(value, tuple):
            return value
        texts = tuple(text.strip() for text in value.split(","))
        try:
            shares = [Fraction(text) for text in texts]
        except (ValueError, ZeroDivisionError):
            shares = []
        if len(shares) != 3 or min(shares) < 0 or sum(shares) != 1:
            self.fail(f"{value!r} is not three shares that sum to 1, such as 0.7,0.15,0.15", param, ctx)
        first, second, third = texts
        return first, second, third


class MemoryLimit(click.ParamType):
    """An amount of memory, such as ``512MB`` or ``2GB``."""

    name = "SIZE"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check the text."""
        number, unit = value[:-2], value[-2:].upper()
        if not number.isdecimal() or int(number) == 0 or unit not in ("MB", "GB"):
            self.fail(f"{value!r} is no amount of memory, such as 512MB or 2GB", param, ctx)
        return number + unit


@click.group("training-set")
def training_set() -> None:
    """Build training sets: past features joined to the labels that were known at a time."""


@training_set.command()
@pipeline_argument
@click.option("--from", "from_ms", type=EventTime(), required=True, help="Take events from this event time on.")
@click.option("--to", "to_ms", type=EventTime(), required=True, help="Take events before this event time.")
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="The folder to write.")
@click.option(
    "--features",
    type=click.Choice(["recomputed", "served"]),
    help="Vectors of a backfill, or those of the predictions (default: recomputed with --backfill, else served).",
)
@click.option(
    "--backfill",
    "backfill_folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="The recomputed features: a folder written by `penstock backfill run`.",
)
@source_option
@click.option("--until", "until_ms", type=EventTime(), help="Ignore what became known after this event time.")
@click.option(
    "--split", type=Shares(), default="0.7,0.15,0.15", show_default=True, help="The shares of the parts, by time."
)
@click.option(
    "--embargo",
    is_flag=True,
    help="Keep rows out of a part if their labels were not final when the next part began; needs a label horizon.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the probe; nothing else is random.")
@click.option("--no-probe", is_flag=True, help="Skip the probe for features that saw their future.")
@click.option(
    "--memory-limit", type=MemoryLimit(), default="1GB", show_default=True, help="How much memory the join may take."
)
@json_option
def build(
    pipeline: str,
    from_ms: int,
    to_ms: int,
    out: Path,
    features: str | None,
    backfill_folder: Path | None,
    *,
    archive: str | None,
    until_ms: int | None,
    split: tuple[str, str, str],
    embargo: bool,
    seed: int,
    no_probe: bool,
    memory_limit: str,
    as_json: bool,
) -> None:
    """Join the features of past events to their labels, check them for leaks, and write them as Parquet.

    Exits with 3 if the leak check fails (the set is written, and its manifest says why), and with 99 if the folder has
    the set already.
    """
    if features is None:
        features = "served" if backfill_folder is None else "recomputed"
    if (features == "recomputed") != (backfill_folder is not None):
        raise click.UsageError("--features recomputed needs --backfill FOLDER, and --features served takes none")
    if from_ms >= to_ms:
        raise click.UsageError("--from is not before --to")
    project, settings = open_project(pipeline), Settings()
    request = Request(
        from_ms=from_ms,
        to_ms=to_ms,
        until_ms=until_ms,
        features="served" if features == "served" else "recomputed",
        split=split,
        embargo=embargo,
        seed=seed,
        probe=not no_probe,
    )
    inputs = Inputs(
        records=topics_of(settings.kafka.access, archive).read,
        backfill=None if backfill_folder is None else read_backfill(backfill_folder),
        registry=registry_schemas(settings.schema_registry_url),
    )
    manifest, is_new = build_training_set(
        project, inputs, request, out, memory_limit, lambda step: click.echo(f"{step} ...", err=True)
    )
    click.echo(json.dumps(manifest.model_dump(mode="json")) if as_json else _in_words(manifest, out, is_new=is_new))
    warn_of_future(to_ms, "this set")
    if manifest.leak_check.verdict == "failed":
        warn("the leak check failed: do not train on this set", "docs/guides/training-sets.md says what to look for")
        sys.exit(ExitCode.CHECK_FAILED)
    if not is_new:
        sys.exit(ExitCode.NOTHING_TO_DO)


def _in_words(manifest: TrainingSetManifest, folder: Path, *, is_new: bool) -> str:
    """What is in a set, for a person."""
    parts = ", ".join(f"{split.rows:,} {name}" for name, split in manifest.splits.items())
    counts = manifest.counts.model_dump(exclude={"features_read", "labels_read", "events_absent"})
    left_out = ", ".join(f"{number:,} {name.replace('_', ' ')}" for name, number in counts.items() if number)
    known = "no limit" if manifest.until_ms is None else iso(manifest.until_ms)
    check, selection = manifest.leak_check, manifest.selection
    lines = [
        f"{manifest.rows:,} rows ({parts}) {'written to' if is_new else 'are already in'} {folder}",
        f"known until   {known}",
        f"left out      {left_out or 'nothing'}",
    ]
    lines += [
        f"labels        {of.read:,} of {topic}, which {of.rows:,} rows have"
        for topic, of in manifest.label_sources.items()
    ]
    if manifest.counts.events_absent:
        lines.append(f"no label      {manifest.counts.events_absent:,} rows are negative because no label came")
    if selection.declined:
        share = "" if selection.unknown_share is None else f", {selection.unknown_share:.1%} of the negatives"
        lines.append(
            f"hidden        {selection.declined_unlabelled:,} rows were decided {selection.hidden_by}, outcome "
            f"unknown{share}; p_observed is null"
        )
    probe = check.probe
    said = probe.reason if probe.difference is None else f"{probe.measure} {probe.own} of its own, {probe.moved} moved"
    lines.append(f"leak check    {check.verdict}; probe {probe.verdict}: {said}")
    lines += [f"              {example}" for example in check.examples]
    return "\n".join([*lines, f"data hash     {manifest.data_hash}"])
