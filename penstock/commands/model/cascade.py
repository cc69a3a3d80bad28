"""``penstock model band | regret``: the band of a cascade, and what the cascade loses against its strong model."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backfill.parquet import read_backfill
from backfill.topic_reading import Topics, topics_of
from penstock.commands.errors import pipeline_argument, warn
from penstock.commands.model.manifests import print_line
from penstock.commands.options import json_option, source_option
from penstock.counts import counted
from penstock.errors import PenstockError
from penstock.paths import STRONG
from penstock.settings import Settings
from schemas.codec import Undecodable, UnknownSchema
from schemas.history import record_decoder
from schemas.registry import registry_schemas
from scoring.bands import FILE, keep_band
from scoring.decision import Policy
from scoring.repository import ModelRepository
from streams.plan.project import Project, open_project

if TYPE_CHECKING:
    from backfill.regret import Truth

_ALPHA = 0.05


@click.command()
@pipeline_argument
@click.option(
    "--backfill",
    "folder",
    required=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Events that are later than both trainings, written by `penstock backfill run`. They need no labels.",
)
@click.option("--fast", type=click.IntRange(min=1), help="The fast model's version (default: the current one).")
@click.option("--strong", type=click.IntRange(min=1), help="The strong model's version (default: the current one).")
def band(pipeline: str, folder: Path, fast: int | None, strong: int | None) -> None:
    """Choose the fast scores that the strong model of a cascade decides.

    The band is kept in the model repository, for these two versions. A scorer takes it when it starts.
    """
    from backfill.band_choice import choose  # noqa: PLC0415 - slow to import

    project, settings = open_project(pipeline), Settings()
    now_ms = int(time.time() * 1_000)
    choice = choose(project, settings, read_backfill(folder), (fast, strong), _ALPHA, time.perf_counter, now_ms)
    chosen, certified, name = choice.chosen, choice.certified, project.pipeline.model.name
    repository = ModelRepository(settings.model_repository)
    keep_band(repository, name, chosen)
    print_line("fast", f"{name} version {chosen.fast}, {1_000 * choice.fast_s:.2f} ms a batch")
    print_line("strong", f"{chosen.strong} version {chosen.strong_version}, {1_000 * choice.strong_s:.2f} ms a batch")
    print_line("band", f"fast scores from {chosen.low:.6g} up to {chosen.high:.6g}")
    print_line("strong share", f"{100 * certified.strong_share:.3g} % of {counted(certified.events, 'later event')}")
    print_line(
        "differing",
        f"{certified.differing:,}, so that surely at most {100 * certified.bound:.3g} % of all decisions differ "
        f"(allowed: {100 * chosen.limit:.3g} %)",
    )
    print_line("cheaper", f"{choice.times_cheaper:.1f} times, in model time, than the strong model for all events")
    for unknown, version in choice.unknown:
        reference = project.reference if unknown == name else f"{project.reference}{STRONG}"
        warn(
            f"it is not known which events {unknown} version {version} was trained on: if they are in the backfill, "
            "more decisions may differ",
            f"penstock model import {reference} --onnx FILE --check-rows FILE --trained-until TIME, then choose anew",
        )
    print_line("written to", str(repository.root / name / FILE))
    print_line("next", f"penstock scorer run {project.reference}")


@click.command()
@pipeline_argument
@source_option
@json_option
def regret(pipeline: str, archive: str | None, *, as_json: bool) -> None:
    """Count how often the strong model of a cascade would have decided otherwise.

    Both models scored the audit slice of the clear cases. With labels, also how many more of these the fast model
    decided wrongly, by the label that an event has when it is final. The bounds hold with a probability of 95 % each.
    """
    from backfill.regret import regrets  # noqa: PLC0415 - slow to import

    project, settings = open_project(pipeline), Settings()
    model = project.pipeline.model
    if model.cascade is None:
        raise PenstockError(
            f"model {model.name} has no cascade, so it has no regret",
            next='declare Model(cascade=Cascade(strong="..."))',
        )
    topics = topics_of(settings.kafka.access, archive)
    found = regrets(_predictions(project, topics), model.threshold, _truth(project, settings, topics))
    if as_json:
        content = [{**asdict(one), "bound": one.audit.bound(_ALPHA)} for one in found]
        click.echo(json.dumps(content, indent=2))
        return
    if not found:
        click.echo(f"{project.pipeline.predictions_topic} has no prediction of a cascade")
    for one in found:
        audit = one.audit
        click.secho(f"{model.name} {one.fast_version} and {model.cascade.strong} {one.strong_version}", bold=True)
        print_line("band", f"fast scores from {one.low:.6g} up to {one.high:.6g}")
        share = 100 * one.by_strong / one.predictions
        print_line("strong", f"decided {one.by_strong:,} of {counted(one.predictions, 'prediction')} ({share:.3g} %)")
        bound = 100 * audit.bound(_ALPHA)
        print_line("audited", counted(audit.audited, "clear case"))
        print_line("differing", f"{audit.differing:,}: surely at most {bound:.3g} % of the clear cases")
        print_line(
            "labelled",
            f"{audit.labelled:,}: {audit.extra_false_positives:+,} false positives and "
            f"{audit.extra_false_negatives:+,} false negatives by the fast model",
        )


def _predictions(project: Project, topics: Topics) -> Iterator[dict[str, Any]]:
    """All predictions under the present policy; what else is on their topic is passed over."""
    decoder, policy = record_decoder("prediction"), Policy.of(project.pipeline.model).version
    unreadable = earlier = 0
    for record in topics.read(project.pipeline.predictions_topic):
        try:
            prediction = decoder.decode(record.value or b"")
        except (Undecodable, UnknownSchema):
            unreadable += 1
            continue
        if prediction["policy_version"] == policy:
            yield prediction
        else:
            earlier += 1
    if unreadable:
        click.echo(f"{counted(unreadable, 'record')} passed over: no predictions", err=True)
    if earlier:
        click.echo(f"{counted(earlier, 'prediction')} of other definitions passed over", err=True)


def _truth(project: Project, settings: Settings, topics: Topics) -> Truth:
    """Says whether events are positive, where it is known: at the age at which the definition says that it is."""
    from backfill.scores.labels import Truths  # noqa: PLC0415 - slow to import

    declared = project.pipeline.labels
    if declared is None or declared.task == "regression":  # a value is neither right nor wrong
        return lambda _id, _time, _decision: None
    registry = registry_schemas(settings.schema_registry_url)
    truths = Truths.of(project, topics.read, registry, Path(tempfile.gettempdir()))
    return lambda event_id, time_ms, decision: truths([event_id], [time_ms], [decision])[0]
