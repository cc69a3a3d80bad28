"""``penstock dlq``: shows a pipeline's dead letters and replays them; :mod:`backfill.dead_letters` does the work."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Mapping
from typing import Any

import click

from backfill.dead_letters.lanes import Lane, LaneSummary, Place, PlacedLetter, Way, letter_topics
from backfill.dead_letters.reading import Found, find_letters, read_letter_at
from backfill.dead_letters.service import replay_lanes
from penstock.commands.console import console_on, printable
from penstock.commands.errors import pipeline_argument
from penstock.commands.exit_codes import ExitCode
from penstock.commands.options import json_option
from penstock.counts import counted
from penstock.errors import PenstockError
from penstock.settings import Settings
from penstock.telemetry import configure_logging
from penstock.time import readable
from schemas.codec import Undecodable, UnknownSchema
from streams.definitions.loading import load_pipeline
from streams.plan.project import Project, open_project

_EXCERPT = 400
_MESSAGES = 10


def _selection(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that choose among the letters of a pipeline."""
    options = (
        click.option("--topic", metavar="TOPIC", help="Only the letters in this dead-letter topic."),
        click.option("--by", metavar="COMPONENT", help="Only those of this component: job, scorer, sink.redis, ..."),
        click.option("--reason", metavar="REASON", help="Only those with this reason, such as InvalidField."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.group()
def dlq() -> None:
    """List, show and replay dead letters."""


@dlq.command("list")
@pipeline_argument
@_selection
@json_option
def list_(pipeline: str, topic: str | None, by: str | None, reason: str | None, *, as_json: bool) -> None:
    """Count the dead letters of PIPELINE by topic, component and reason.

    "waiting" are those that `penstock dlq replay` would take. Letters whose record was replayed three times are
    quarantined.
    """
    definition = load_pipeline(pipeline)
    found = find_letters(definition, Settings().kafka.access)
    lanes = _chosen(pipeline, found, topic, by, reason)
    if as_json:
        click.echo(json.dumps([_as_json(lane, summary) for lane, summary in lanes.items()], indent=2))
        return
    for place in found.not_letters:
        click.echo(f"{place} is no dead letter of Penstock", err=True)
    if not lanes:
        click.echo("no dead letters")
        return
    for lane, summary in lanes.items():
        counts = [counted(summary.letters, "letter")]
        if lane.way(definition) is not Way.NONE:
            counts.append(f"{summary.waiting:,} waiting")
        if summary.quarantined:
            counts.append(f"{summary.quarantined:,} quarantined")
        click.echo(f"{click.style(printable(str(lane)), bold=True)}: {', '.join(counts)}")
        latest = readable(summary.newest_ms, "seconds", zone=" UTC")
        click.echo(f"    latest      {latest} at {summary.latest}")
        click.echo(f"    most often  {printable(summary.messages.most_common(1)[0][0])}")
    name, options = shlex.quote(pipeline), _typed(topic, by, reason)
    click.echo(f"next: penstock dlq show {name} PLACE; penstock dlq replay {name}{options} --dry-run")


@dlq.command()
@pipeline_argument
@click.argument("place")
def show(pipeline: str, place: str) -> None:
    """Show the dead letter of PIPELINE at PLACE, written TOPIC[PARTITION]@OFFSET as `penstock dlq list` prints it.

    This prints the record itself, which may hold personal data.
    """
    project = open_project(pipeline)
    at = Place.read(place)
    if at.topic not in letter_topics(project.pipeline):
        raise PenstockError(
            f"{at.topic} is no dead-letter topic of the pipeline",
            where=f"they are {', '.join(letter_topics(project.pipeline))}",
            next=f"penstock dlq list {pipeline}",
        )
    placed = read_letter_at(Settings().kafka.access, at)
    letter = placed.letter
    replays = f", its record was replayed {counted(placed.replays, 'time')}" if placed.replays else ""
    quarantined = ": it is quarantined" if placed.is_quarantined else ""
    for label, text in (
        ("refused", f"{readable(placed.timestamp, 'seconds', zone=' UTC')} by {letter.component} of {letter.pipeline}"),
        ("reason", f"{letter.reason} ({letter.stage}): {letter.message}"),
        ("record", f"{Place(letter.topic, letter.partition, letter.offset)}{replays}{quarantined}"),
        ("replay", Lane.of(placed).way(project.pipeline).value),
        ("headers", ", ".join(f"{name}={_text(value)}" for name, value in letter.original_headers)),
        ("key", _text(letter.key)),
        ("value", _value(project, placed)),
    ):
        click.echo(click.style(f"{label:<9}", dim=True) + printable(text))


@dlq.command()
@pipeline_argument
@_selection
@click.option("--dry-run", is_flag=True, help="Only say what would be replayed.")
def replay(pipeline: str, topic: str | None, by: str | None, reason: str | None, *, dry_run: bool) -> None:
    """Replay the dead letters of PIPELINE, each once.

    Events that the job refused go back to their topic. Feature records are scored by the model that is served now; an
    event with a prediction gets no other. What a sink refused is written to its store. A record that is refused again
    becomes a new letter; after three replays it is quarantined. Exits with 99 if there is nothing to replay.
    """
    configure_logging()
    project, settings = open_project(pipeline), Settings()
    definition = project.pipeline
    lanes = {
        lane: summary
        for lane, summary in _chosen(
            pipeline, find_letters(definition, settings.kafka.access), topic, by, reason
        ).items()
        if summary.letters
    }
    for lane, summary in lanes.items():
        if lane.way(definition) is Way.NONE:
            click.echo(f"{printable(str(lane))}: {counted(summary.letters, 'letter')} left, {Way.NONE.value}")
        elif dry_run:
            quarantined = f", {summary.quarantined:,} quarantined" if summary.quarantined else ""
            click.echo(f"{lane}: {counted(summary.waiting, 'letter')}: each {lane.way(definition).value}{quarantined}")
    chosen = {
        lane: summary.waiting
        for lane, summary in lanes.items()
        if summary.waiting and lane.way(definition) is not Way.NONE
    }
    name, options = shlex.quote(pipeline), _typed(topic, by, reason)
    command = f"penstock dlq replay {name}{options}"
    if dry_run:
        click.echo(f"next: {command}" if chosen else "nothing to replay")
        return
    for lane, outcomes in replay_lanes(project, settings, chosen, command, console_on(sys.stderr)):
        text = ", ".join(f"{count:,} {outcome}" for outcome, count in outcomes.items()) or "nothing"
        click.echo(f"{lane}: {text}")
    if not chosen:
        click.echo("nothing to replay")
        sys.exit(ExitCode.NOTHING_TO_DO)


def _typed(topic: str | None, by: str | None, reason: str | None) -> str:
    """The options that choose among the letters, as the user typed them."""
    given = (("--topic", topic), ("--by", by), ("--reason", reason))
    return "".join(f" {option} {shlex.quote(value)}" for option, value in given if value is not None)


def _chosen(
    pipeline: str, found: Found, topic: str | None, by: str | None, reason: str | None
) -> Mapping[Lane, LaneSummary]:
    """The lanes that the options choose, in order.

    Raises:
        PenstockError: if there are letters, and an option chooses none of them.
    """
    wanted = (
        ("--topic", topic, topic, "topic"),
        ("--by", by, by and by.removeprefix("penstock."), "component_name"),
        ("--reason", reason, reason and reason.removeprefix("penstock."), "reason_name"),
    )
    lanes = dict(sorted(found.lanes.items()))
    for option, typed, named, attribute in wanted:
        if typed is None or not lanes:
            continue
        known = sorted({getattr(lane, attribute) for lane in lanes})
        lanes = {lane: summary for lane, summary in lanes.items() if getattr(lane, attribute) == named}
        if not lanes:
            raise PenstockError(
                f"{option} {typed} chooses no dead letter",
                where=printable(f"there are: {', '.join(known)}"),
                next=f"give {option} one of these; penstock dlq list {shlex.quote(pipeline)}",
            )
    return lanes


def _as_json(lane: Lane, summary: LaneSummary) -> dict[str, object]:
    return {
        "topic": lane.topic,
        "component": lane.component,
        "reason": lane.reason,
        "letters": summary.letters,
        "waiting": summary.waiting,
        "quarantined": summary.quarantined,
        "oldest_ms": summary.oldest_ms,
        "newest_ms": summary.newest_ms,
        "latest": str(summary.latest),
        "messages": dict(summary.messages.most_common(_MESSAGES)),
    }


def _value(project: Project, placed: PlacedLetter) -> str:
    """The record's value: its fields if it can be decoded, else its first bytes; no character controls the terminal."""
    value = placed.letter.value
    if value is None:
        return "none"
    cut = "" if placed.letter.value_bytes is None else f" (the beginning of {placed.letter.value_bytes:,} bytes)"
    try:
        return json.dumps(project.features_decoder().decode(value), ensure_ascii=False) + cut
    except (Undecodable, UnknownSchema):
        more = f" ... ({len(value):,} bytes)" if len(value) > _EXCERPT else ""
        return _text(value[:_EXCERPT]) + more + cut


def _text(value: bytes | None) -> str:
    if value is None:
        return "none"
    try:
        return value.decode()
    except UnicodeDecodeError:
        return f"0x{value.hex()}"
