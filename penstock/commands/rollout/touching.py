"""``penstock rollout touched | rescore``: what a bad version has done to whom, and what would have been right."""

from __future__ import annotations

import functools
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import click

from backfill.corrections import Outcome, rescore
from penstock.commands.console import printable
from penstock.commands.errors import pipeline_argument, warn
from penstock.commands.exit_codes import ExitCode
from penstock.commands.options import EventTime
from penstock.commands.rollout.signing import by_now, signed_options
from penstock.commands.rollout.touched_list import cut_partitions, print_table, write_csv, write_json
from penstock.commands.rollout.wording import print_line
from penstock.counts import counted
from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from penstock.settings import Settings
from penstock.telemetry import configure_logging
from penstock.time import iso
from scoring.rollout.policy_store import iterate_log, read_policy
from scoring.rollout.touched import Choice, choose, latest_rollback, of_arm, of_policies, of_version, windows
from scoring.touched_predictions import Period, Place, places_of, read_touched
from streams.definitions.loading import load_pipeline
from streams.definitions.pipeline import Pipeline
from streams.plan.project import open_project

_ROWS_OF_A_TABLE = 20


class _HashType(click.ParamType):
    """The hash of a policy, or its first digits: at least twelve, as predictions name it."""

    name = "HASH"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Refuse what is none."""
        if not re.fullmatch(r"[0-9a-f]{12,64}", value):
            self.fail(f"{value!r} is no hash of a policy: give twelve hex digits or more.", param, ctx)
        return value


class _Asked(NamedTuple):
    """What was typed to choose predictions."""

    policies: tuple[str, ...]
    arm: str | None
    version: int | None
    since_ms: int | None
    until_ms: int | None

    @property
    def has_arms(self) -> bool:
        """Whether it says which arms; otherwise they are those of the latest rollback."""
        return bool(self.policies) or self.arm is not None or self.version is not None

    @property
    def period(self) -> Period:
        return Period(self.since_ms, self.until_ms)

    @property
    def options(self) -> str:
        """The same, as the user may type it again."""
        given: list[tuple[str, str | int | None]] = [("--policy", policy) for policy in self.policies]
        given += [("--arm", self.arm), ("--version", self.version)]
        for name, time_ms in (("--from", self.since_ms), ("--to", self.until_ms)):
            given.append((name, None if time_ms is None else iso(time_ms)))
        return "".join(f" {name} {shlex.quote(str(value))}" for name, value in given if value is not None)


def _choosing(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that choose predictions, given to the command as ``asked``."""

    @functools.wraps(command)
    def run(
        *arguments: Any,
        policy: tuple[str, ...],
        arm: str | None,
        version: int | None,
        since_ms: int | None,
        until_ms: int | None,
        **options: Any,
    ) -> Any:
        if sum((bool(policy), arm is not None, version is not None)) > 1:
            raise click.UsageError("Give one of --policy, --arm and --version.")
        return command(*arguments, asked=_Asked(policy, arm, version, since_ms, until_ms), **options)

    options = (
        click.option(
            "--policy",
            type=_HashType(),
            multiple=True,
            help="What the candidates of this policy scored; may be repeated.",
        ),
        click.option("--arm", metavar="NAME", help="What this arm scored, under any policy."),
        click.option("--version", type=click.IntRange(min=1), help="What this version scored, under any policy."),
        click.option("--from", "since_ms", type=EventTime(), help="Only what was scored at this time or later."),
        click.option("--to", "until_ms", type=EventTime(), help="Only what was scored before this time."),
    )
    chosen: Callable[..., Any] = run
    for option in reversed(options):
        chosen = option(chosen)
    return chosen


@click.command()
@pipeline_argument
@_choosing
@click.option("--csv", "form", flag_value="csv", help="Print CSV in place of a table.")
@click.option("--json", "form", flag_value="json", help="Print JSON in place of a table.")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    help=f"List so many at most; all are counted (default: {_ROWS_OF_A_TABLE} in a table, else all).",
)
def touched(pipeline: str, asked: _Asked, form: str | None, limit: int | None) -> None:
    """List the predictions of PIPELINE that a bad version made: by default of what was rolled back last.

    These are the predictions of the arms that were rolled back, from the first policy that gave the version entities
    until each partition took the rollback up. Each has its position in the features topic, PARTITION@OFFSET. The list
    names entities, which may be personal data.
    """
    definition, kafka = load_pipeline(pipeline), Settings().kafka.access
    choice, places = _find(pipeline, definition, kafka, asked)
    found = read_touched(kafka, definition, choice, places, asked.period)
    match form:
        case "csv":
            write_csv(found, limit)
        case "json":
            write_json(found, limit, choice, places)
        case _:
            print_table(found, _ROWS_OF_A_TABLE if limit is None else limit, choice)
            if choice.arms:
                click.echo(f"next: penstock rollout rescore {shlex.quote(pipeline)}{asked.options} --dry-run")
    _warn_of_gaps(definition, places)


@click.command("rescore")
@pipeline_argument
@_choosing
@signed_options("each correction has it in a header", required=False)
@click.option("--dry-run", is_flag=True, help="Only say how many decisions would change; needs no reason.")
def rescore_command(pipeline: str, asked: _Asked, reason: str | None, author: str, *, dry_run: bool) -> None:
    """Score again what a bad version of PIPELINE touched, with the present champion, onto the corrections topic.

    The options choose as for `touched`. Each prediction is scored from the vector that it has. It gets one correction,
    ever: the command may be killed, and run again. Exits with 99 if all were corrected before.
    """
    if reason is None and not dry_run:
        raise click.UsageError("Missing option '--reason': why are they corrected?")
    configure_logging()
    by = None if reason is None or dry_run else by_now(author, reason)
    project, settings = open_project(pipeline), Settings()
    kafka, definition = settings.kafka.access, project.pipeline
    choice, places = _find(pipeline, definition, kafka, asked)
    present = read_policy(kafka, definition)
    assert present is not None, "the log has one"
    total = Outcome()
    for partition, outcome in rescore(project, settings, present.policy, choice, places, asked.period, by):
        total.add(outcome)
        print_line(f"partition {partition}", _in_words(outcome, dry_run=dry_run))
    champion = present.policy.policy.champion
    print_line("all", f"{_in_words(total, dry_run=dry_run)}, by version {champion.version}")
    for (before, after), number in sorted(total.decisions.items()):
        if before != after:
            print_line("", f"{printable(before)} → {printable(after)}: {number:,}")
    _warn_of_gaps(definition, places)
    if dry_run:
        click.echo(f"next: penstock rollout rescore {shlex.quote(pipeline)}{asked.options} --reason TEXT")
    elif total.corrected:
        click.echo(f"the corrections are on {definition.corrections_topic}")
    else:
        sys.exit(ExitCode.NOTHING_TO_DO)


def _find(reference: str, pipeline: Pipeline, kafka: KafkaAccess, asked: _Asked) -> tuple[Choice, list[Place]]:
    """The arms that were asked for, and where their predictions are.

    Raises:
        PenstockError: if there are no such arms.
    """
    choice = _choice(kafka, pipeline, asked)
    history = f"penstock rollout history {shlex.quote(reference)}"
    if choice is None:
        raise PenstockError(
            "nothing was rolled back",
            where=f"{pipeline.rollout_log_topic} at {kafka}",
            next=f"{history}; then --version N",
        )
    missing = [policy for policy in asked.policies if not any(each.startswith(policy) for each in choice.arms)]
    if missing or (asked.has_arms and not choice.arms):
        raise PenstockError(
            f"no entity was given to {f'policy {missing[0]}' if missing else choice.title}",
            where=f"{pipeline.rollout_log_topic} at {kafka}",
            next=history,
        )
    found = windows(iterate_log(kafka, pipeline), choice)
    return choice, places_of(kafka, pipeline, found, asked.period)


def _choice(kafka: KafkaAccess, pipeline: Pipeline, asked: _Asked) -> Choice | None:
    log = iterate_log(kafka, pipeline)
    if asked.policies:
        return choose(log, of_policies(asked.policies), f"policy {', '.join(asked.policies)}")
    if asked.arm is not None:
        return choose(log, of_arm(asked.arm), f"arm {asked.arm}")
    if asked.version is not None:
        return choose(log, of_version(asked.version), f"version {asked.version}")
    return latest_rollback(log)


def _in_words(outcome: Outcome, *, dry_run: bool) -> str:
    verb = "would be corrected" if dry_run else "corrected"
    parts = [f"{counted(outcome.corrected, 'prediction')} {verb}, {outcome.changed:,} with another decision"]
    if outcome.corrected_before:
        parts.append(f"{outcome.corrected_before:,} corrected before")
    if outcome.without_score:
        parts.append(f"{outcome.without_score:,} without a score of the champion")
    if outcome.too_old:
        parts.append(f"{outcome.too_old:,} left out, as Kafka has deleted corrections of their time")
    return "; ".join(parts)


def _warn_of_gaps(pipeline: Pipeline, places: Sequence[Place]) -> None:
    if cut := cut_partitions(places):
        warn(
            f"Kafka has deleted predictions of partition {', '.join(map(str, cut))}: some that count may be missing",
            f"look for older ones where predictions are kept longer than on {pipeline.predictions_topic}",
        )
