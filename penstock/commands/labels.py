"""``penstock labels``: what has become of a pipeline's labels."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table
from rich.text import Text

from penstock.commands.console import console_on, printable
from penstock.commands.errors import pipeline_argument
from penstock.commands.exit_codes import ExitCode
from penstock.commands.options import DurationType, EventTime, json_option, source_option
from penstock.counts import counted
from penstock.errors import PenstockError
from penstock.settings import Settings
from penstock.time import iso, rough
from schemas.registry import registry_schemas
from scoring.label_maturity import Maturity
from streams.definitions.labels import Labels
from streams.definitions.windows import duration_text
from streams.plan.project import Project, open_project

if TYPE_CHECKING:
    from rich.console import Console

    from backfill.label_status.reading import EventsFrom
    from backfill.label_status.status import LabelStatus

_BEGIN, _END = 0, 2**63 - 1
_STYLES = {"same": "green", "changed": "red", "unsure": "yellow"}


@click.group()
def labels() -> None:
    """Say what has become of a pipeline's labels, and ask people for more."""


@labels.command()
@pipeline_argument
@click.option("--from", "from_ms", type=EventTime(), help="Take events from this event time on (default: all).")
@click.option("--to", "to_ms", type=EventTime(), help="Take events before this event time (default: all).")
@click.option(
    "--events",
    "events_from",
    type=click.Choice(["predictions", "features"]),
    default="predictions",
    show_default=True,
    help="Which topic says what events there are; features, before anything was scored.",
)
@click.option(
    "--period",
    type=DurationType(),
    default="7d",
    show_default=True,
    help="Compare the last one with the one before.",
)
@source_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def status(
    pipeline: str,
    from_ms: int | None,
    to_ms: int | None,
    events_from: EventsFrom,
    period: int,
    *,
    archive: str | None,
    as_json: bool,
) -> None:
    """Count events with and without a label, say how late labels come, and whether that has changed.

    Exits with 3 if something has surely changed or no label has come at all, and with 99 if there is no event.
    """
    from_ms, to_ms = _BEGIN if from_ms is None else from_ms, _END if to_ms is None else to_ms
    if from_ms >= to_ms:
        raise click.UsageError("--from is not before --to")
    project = open_project(pipeline)
    declared = project.pipeline.labels
    if declared is None:
        raise PenstockError(
            f"pipeline {project.name} declares no labels",
            next="add labels=Labels(topic=..., contract=..., value=...) to the pipeline",
        )
    found = _status(project, declared, events_from, (from_ms, to_ms), period, archive)
    if as_json:
        click.echo(json.dumps(_as_json(project, declared, found)))
    else:
        _print(console_on(), declared, found, events_from, period)
    if not found.events.events:
        sys.exit(ExitCode.NOTHING_TO_DO)
    if found.is_changed or found.reached_ms is None:
        sys.exit(ExitCode.CHECK_FAILED)


@labels.command()
@pipeline_argument
@click.option("--from", "from_ms", type=EventTime(), help="Choose of events from this event time on (default: all).")
@click.option("--to", "to_ms", type=EventTime(), help="Choose of events before this event time (default: all).")
@click.option("--events", "number", type=click.IntRange(1), default=100, show_default=True, help="How many to ask for.")
@click.option("--seed", type=int, default=1, show_default=True, help="Draws the ordinary ones.")
@click.option("--dry-run", is_flag=True, help="Only show which would be chosen.")
@source_option
@json_option
def sample(
    pipeline: str,
    *,
    from_ms: int | None,
    to_ms: int | None,
    number: int,
    seed: int,
    dry_run: bool,
    archive: str | None,
    as_json: bool,
) -> None:
    """Put events that are worth a label into the review queue, from which a case tool takes them.

    They are those whose scores are next to the threshold, on which versions in shadow say something else, that were let
    through by chance, ordinary ones, and some that have a label already, to learn how far people agree. No event is
    asked for twice. Exits with 99 if there is none left.
    """
    from backfill.topic_reading import topics_of  # noqa: PLC0415 - slow to import
    from loop.review import choose  # noqa: PLC0415
    from loop.review_queue import ask, asked, candidates  # noqa: PLC0415

    from_ms, to_ms = _BEGIN if from_ms is None else from_ms, _END if to_ms is None else to_ms
    if from_ms >= to_ms:
        raise click.UsageError("--from is not before --to")
    project, settings = open_project(pipeline), Settings()
    topics = topics_of(settings.kafka.access, archive)
    events = candidates(project, topics, from_ms, to_ms, registry_schemas(settings.schema_registry_url))
    if dry_run:
        taken = {one.event_id for one in asked(topics.read(project.pipeline.review_topic))}
        chosen = choose(events, taken, number, threshold=project.pipeline.model.threshold, seed=seed)
    else:
        chosen = ask(project, settings.kafka.access, events, number, seed, time.time_ns() // 1_000_000)
    counts = Counter(one.why for one in chosen)
    if as_json:
        click.echo(json.dumps({"topic": project.pipeline.review_topic, "events": len(chosen), "why": dict(counts)}))
    else:
        what = ", ".join(f"{count} {why}" for why, count in counts.most_common()) or "no event is left"
        verb = "would ask for" if dry_run else "asked for"
        click.echo(f"{verb} {counted(len(chosen), 'label')} on {project.pipeline.review_topic}: {what}")
    if not chosen:
        sys.exit(ExitCode.NOTHING_TO_DO)


@labels.command("agreement")
@pipeline_argument
@source_option
@json_option
def agreement_command(pipeline: str, *, archive: str | None, as_json: bool) -> None:
    """Say how far people agree on events of the review queue that had a label before."""
    from backfill.topic_reading import topics_of  # noqa: PLC0415 - slow to import
    from loop.review_queue import agreed  # noqa: PLC0415

    project, settings = open_project(pipeline), Settings()
    topics = topics_of(settings.kafka.access, archive)
    found = agreed(project, topics, registry_schemas(settings.schema_registry_url))
    if as_json:
        click.echo(json.dumps(asdict(found)))
        return
    if not found.answered:
        click.echo(f"{counted(found.asked, 'event')} asked again, and none answered yet")
        return
    kappa = "" if found.kappa is None else f", Cohen's kappa {found.kappa:.2f}"
    click.echo(f"{found.agree} of {found.answered} labels are as before ({found.agree / found.answered:.0%}{kappa})")


def _status(
    project: Project,
    declared: Labels,
    events_from: EventsFrom,
    range_ms: tuple[int, int],
    period: int,
    archive: str | None,
) -> LabelStatus:
    from backfill.label_status.reading import read_features, read_labels, read_predictions  # noqa: PLC0415 - slow
    from backfill.label_status.status import Declared, label_status  # noqa: PLC0415
    from backfill.topic_reading import topics_of  # noqa: PLC0415

    settings, pipeline = Settings(), project.pipeline
    topics = topics_of(settings.kafka.access, archive)
    # Labels first: an event whose label is read is then read, too.
    given = read_labels(declared, project, topics.read, registry_schemas(settings.schema_registry_url))
    if events_from == "predictions":
        events = read_predictions(topics.read(pipeline.predictions_topic), declared.hidden_by)
    else:
        events = read_features(project, topics.read(pipeline.features_topic))
    positive = None if declared.positive is None else str(declared.positive)
    return label_status(events, given, Declared(declared.task, Maturity.of(declared), positive), range_ms, period)


def _as_json(project: Project, declared: Labels, found: LabelStatus) -> dict[str, Any]:
    return {
        "pipeline": project.name,
        "topic": declared.topic,
        "task": declared.task,
        "horizon_ms": declared.horizon,
        "absent": declared.absent,
        "hidden_by": declared.hidden_by,
        **asdict(found),
        "changes": [
            asdict(change) | {"before": change.before._asdict(), "last": change.last._asdict()}
            for change in found.changes
        ],
        "is_changed": found.is_changed,
    }


def _print(console: Console, declared: Labels, found: LabelStatus, events_from: EventsFrom, period: int) -> None:
    events, given = found.events, found.labels
    horizon = "no horizon" if declared.horizon is None else f"final after {duration_text(declared.horizon)}"
    absent = f", no label means {declared.absent}" if declared.absent else ""
    _line(console, "labels", f"{', '.join(declared.topics)}: {declared.task}, {horizon}{absent}")
    if not events.events:
        _line(console, "events", f"none in the {events_from} topic of that time")
        other = "" if events_from == "features" else ", or --events features if nothing was scored yet"
        _line(console, "next", f"another --from or --to{other}")
        return
    waiting = f", {events.waiting:,} wait until they are old enough" if declared.horizon is not None else ""
    _line(console, "events", f"{counted(events.events, 'event')} of the {events_from} topic{waiting}")
    _line(console, "labelled", f"{events.labelled:,}{_in_words(found)}")
    hidden = f"; of both, {events.hidden:,} were decided {declared.hidden_by}" if declared.hidden_by else ""
    _line(console, "no label", f"{events.unlabelled:,}, and {events.withdrawn:,} whose label was withdrawn{hidden}")
    _line(
        console,
        "read",
        f"{counted(given.read, 'label')}: {counted(given.corrections, 'correction')}, "
        f"{counted(given.withdrawals, 'withdrawal')}, {counted(given.repeats, 'repeat')}; {given.late:,} too late, "
        f"{given.early:,} before their event, {given.without_event:,} of no known event, {given.refused:,} refused",
    )
    reached = "nothing: no label has come" if found.reached_ms is None else iso(found.reached_ms)
    newest = "" if found.newest_event_ms is None else f"; the newest event is of {iso(found.newest_event_ms)}"
    _line(console, "reached", f"{reached}{newest}")
    if declared.otherwise:
        console.print(Text("of each source, the first that has a label counts:"), soft_wrap=True)
        console.print(_sources(found))
    if found.arrival:
        assert found.old_ms is not None
        old = f"{counted(found.old, 'event')} of at least {_age(found.old_ms)}"
        console.print(Text(f"share with a label by age, of {old}:"), soft_wrap=True)
        console.print(_curve(found))
    if found.changes:
        last = (
            f"the last {duration_text(period)} of events that are old enough, and the {duration_text(period)} before:"
        )
        console.print(Text(last), soft_wrap=True)
        console.print(_changes(found))


def _sources(found: LabelStatus) -> Table:
    table = Table()
    for heading in ("source", "labels", "refused", "reached", "counts for", "overruled", "of these, differs"):
        table.add_column(heading, justify="left" if heading == "source" else "right")
    for one in found.sources:
        reached = "nothing" if one.reached_ms is None else iso(one.reached_ms)
        numbers = [f"{number:,}" for number in (one.events, one.overruled, one.differs)]
        table.add_row(one.topic, f"{one.read:,}", f"{one.refused:,}", reached, *numbers)
    return table


def _in_words(found: LabelStatus) -> str:
    classes = ", ".join(f"{number:,} {printable(name)}" for name, number in list(found.classes.items())[:10])
    return f" ({classes})" if classes and {*found.classes} != {"value"} else ""


def _curve(found: LabelStatus) -> Table:
    table = Table()
    names = list(found.arrival[0].classes)
    for heading in ("age", "all", *names):
        table.add_column(Text(printable(heading)), justify="right")
    for one in found.arrival:
        shares = [f"{100 * share:.2f} %" for share in (one.labelled, *(one.classes[name] for name in names))]
        table.add_row(_age(one.age_ms), *shares)
    return table


def _changes(found: LabelStatus) -> Table:
    table = Table()
    for heading in ("what", "by age", "before", "last", "difference (99 %)", ""):
        table.add_column(heading, justify="left" if heading in ("what", "") else "right")
    for one in found.changes:
        table.add_row(
            one.what,
            _age(one.age_ms),
            *(f"{share.hits:,} of {share.of:,}" for share in (one.before, one.last)),
            f"{100 * one.low:+.2f} to {100 * one.high:+.2f} %",
            Text(one.verdict, style=_STYLES[one.verdict]),
        )
    return table


def _age(ms: int) -> str:
    """An age that was chosen, as it was; one that was measured, about."""
    return duration_text(ms) if ms % 60_000 == 0 else rough(ms)


def _line(console: Console, name: str, text: str) -> None:
    console.print(Text(f"{name:<10}{text}"), soft_wrap=True)
