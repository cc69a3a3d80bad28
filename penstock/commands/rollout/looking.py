"""``penstock rollout show | history | at | diff``: what is published, and what was effective where."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path
from typing import NamedTuple

import click

from penstock.commands.console import printable
from penstock.commands.errors import pipeline_argument
from penstock.commands.exit_codes import ExitCode
from penstock.commands.options import json_option
from penstock.commands.rollout.wording import arms, content, difference, evidence, moves, print_line, signed, state
from penstock.errors import PenstockError
from penstock.settings import Settings
from penstock.time import readable
from scoring.rollout.assignment import assign
from scoring.rollout.log_reading import Effective, Overview, changes_in, effective_at, overview
from scoring.rollout.policy import RolloutPolicy
from scoring.rollout.policy_files import read_policy as read_file
from scoring.rollout.policy_log import PolicyChange
from scoring.rollout.policy_store import iterate_log, read_policy
from streams.definitions.loading import load_pipeline
from streams.definitions.pipeline import Pipeline

file_option = click.option(
    "-f",
    "--file",
    "file",
    required=True,
    type=click.Path(path_type=Path),
    help="The policy: a file, YAML or Python; - reads YAML from standard input.",
)


class Position(NamedTuple):
    """A partition of the features topic, and an offset there; its topic, if that was typed."""

    partition: int
    offset: int
    topic: str | None = None


class PositionType(click.ParamType):
    """PARTITION@OFFSET, as predictions name the record that they are of; TOPIC[PARTITION]@OFFSET is read, too."""

    name = "PARTITION@OFFSET"

    def convert(self, value: str | Position, param: click.Parameter | None, ctx: click.Context | None) -> Position:
        """Convert the text."""
        if isinstance(value, Position):
            return value
        found = re.fullmatch(r"(?:([\w.-]+)\[(\d{1,9})\]|(\d{1,9}))@(\d{1,18})", value)
        if found is None:
            self.fail(f"{value!r} is not PARTITION@OFFSET, such as 3@1200.", param, ctx)
        return Position(int(found[2] or found[3]), int(found[4]), found[1])


def policy_in(file: Path, definition: Pipeline) -> RolloutPolicy:
    """The policy in a file; a canary without steps has those of its pipeline.

    Raises:
        PenstockError: if there is no valid policy in it.
    """
    return read_file(file).with_steps(definition.rollout.steps)


@click.command()
@pipeline_argument
@click.option(
    "-f", "--file", "file", type=click.Path(path_type=Path), help="Also say how this file differs from the policy."
)
@json_option
def show(pipeline: str, file: Path | None, *, as_json: bool) -> None:
    """Show the policy that scorers follow, who published it and why, and which partitions have taken it up.

    A partition takes a policy up with its first new event. A scorer that cannot follow it goes on with the one before.
    """
    definition, kafka = load_pipeline(pipeline), Settings().kafka.access
    declared = None if file is None else policy_in(file, definition)
    present = read_policy(kafka, definition)
    found = overview(iterate_log(kafka, definition))
    differs = () if declared is None else difference(present, declared)
    if as_json:
        click.echo(json.dumps(_as_json(definition, present, found, None if declared is None else differs), indent=2))
        return
    if present is None:
        click.echo("no policy was published: scorers use the version that `penstock model load` has made current")
        click.echo(f"next: penstock rollout apply {shlex.quote(pipeline)} -f FILE --reason TEXT")
        return
    print_line("policy", f"{click.style(present.policy.version, bold=True)}: {state(present)}")
    print_line("since", signed(present))
    print_line("because", printable(present.reason))
    if (text := evidence(present, whole=False)) is not None:
        print_line("evidence", text)
    for line in arms(present.policy):
        print_line("", line)
    _print_followers(definition, present, found)
    if declared is not None:
        print_line("file", f"{file} {'differs:' if differs else 'declares the same'}")
        for line in differs:
            print_line("", line)


@click.command()
@pipeline_argument
@click.option("--evidence", "whole", is_flag=True, help="Print the evidence of each change whole.")
@json_option
def history(pipeline: str, *, whole: bool, as_json: bool) -> None:
    """Show every change of the policy, the oldest first: when, by whom, why, from what to what, on what evidence."""
    definition, kafka = load_pipeline(pipeline), Settings().kafka.access
    changes = list(changes_in(iterate_log(kafka, definition)))
    if as_json:
        click.echo(json.dumps([content(change) for change in changes], indent=2))
        return
    if not changes:
        click.echo("no policy was published")
    before: PolicyChange | None = None
    for change in changes:
        came_from = "" if before is None else f"{before.policy.version} → "
        click.echo(f"{signed(change)}: {came_from}{change.policy.version}")
        print_line("  changed", moves(before, change))
        print_line("  because", printable(change.reason))
        if (text := evidence(change, whole=whole)) is not None:
            print_line("  evidence", text)
        before = change


@click.command()
@pipeline_argument
@click.argument("position", metavar="PARTITION@OFFSET", type=PositionType())
@click.option("--entity", help="Also say which arm this entity has; of an event without one, give its event id.")
@json_option
def at(pipeline: str, position: Position, entity: str | None, *, as_json: bool) -> None:
    """Show the policy that was effective at an offset of the features topic, and the change that published it.

    A prediction names its place in the features topic. At offsets that are not scored yet, this is the policy that is
    followed now.
    """
    definition, kafka = load_pipeline(pipeline), Settings().kafka.access
    if position.topic not in (None, definition.features_topic):
        raise PenstockError(
            f"{position.topic} is not the features topic of the pipeline, where policies take effect",
            where=f"{position.topic}[{position.partition}]@{position.offset}",
            next=f"give the place that a prediction names, in {definition.features_topic}",
        )
    found = effective_at(iterate_log(kafka, definition), position.partition, position.offset)
    place = f"{definition.features_topic}[{position.partition}]@{position.offset}"
    if as_json:
        click.echo(json.dumps(_effective_json(found, entity), indent=2))
        return
    if found is None:
        click.echo(f"{place}: no policy was effective; the version was the one that was loaded then")
        return
    log = f"{definition.rollout_log_topic}[0]"
    click.echo(f"{place}: policy {click.style(found.policy.policy.version, bold=True)}, {state(found.policy)}")
    print_line("published", f"{signed(found.policy)} ({log}@{found.change.offset})")
    print_line("because", printable(found.policy.reason))
    taken = readable(found.marker.time_ms, "seconds", zone=" UTC")
    print_line("taken up", f"{taken} ({log}@{found.marker.offset})")
    for line in arms(found.policy.policy):
        print_line("", line)
    if entity is not None:
        print_line("entity", _arm_in_words(found, entity))


@click.command("diff")
@pipeline_argument
@file_option
def diff_command(pipeline: str, file: Path) -> None:
    """Compare a file with the published policy: exits with 0 if it is the same, 3 if it differs, and 1 on an error.

    Weights that steps or rewards have moved are no difference.
    """
    definition = load_pipeline(pipeline)
    declared = policy_in(file, definition)
    differs = difference(read_policy(Settings().kafka.access, definition), declared)
    for line in differs:
        click.echo(line)
    sys.exit(ExitCode.CHECK_FAILED if differs else ExitCode.DONE)


def _print_followers(pipeline: Pipeline, present: PolicyChange, found: Overview) -> None:
    partitions = range(pipeline.source.partitions)
    followed = {partition: marker.policy for partition, marker in found.markers.items()}
    taken_up = sum(followed.get(partition) == present.policy.hash for partition in partitions)
    print_line("taken up", f"by {taken_up} of {len(partitions)} partitions")
    for partition in partitions:
        policy = followed.get(partition)
        if policy is None:
            print_line("", f"partition {partition} has scored no event under any policy")
        elif policy != present.policy.hash:
            offset = found.markers[partition].first_offset
            print_line("", f"partition {partition} is still under {policy[:12]}, since offset {offset}")
    for refusal in found.refusals.values():
        when = readable(refusal.time_ms, "seconds", zone=" UTC")
        text = f"by scorer {printable(refusal.instance)} at {when}: {printable(refusal.reason)}"
        print_line(click.style("refused", fg="red"), text)


def _as_json(
    pipeline: Pipeline, present: PolicyChange | None, found: Overview, differs: tuple[str, ...] | None
) -> dict[str, object]:
    markers = {str(partition): marker for partition, marker in sorted(found.markers.items())}
    partitions = {
        partition: {"policy": marker.policy, "first_offset": marker.first_offset}
        for partition, marker in markers.items()
    }
    return {
        "pipeline": pipeline.name,
        "present": None if present is None else content(present),
        "partitions": partitions,
        "refusals": [refusal.model_dump(mode="json") for refusal in found.refusals.values()],
        **({} if differs is None else {"differs": list(differs)}),
    }


def _effective_json(found: Effective | None, entity: str | None) -> dict[str, object] | None:
    if found is None:
        return None
    shown: dict[str, object] = {
        "change": content(found.policy),
        "change_offset": found.change.offset,
        "marker": found.marker.entry.model_dump(mode="json"),
        "marker_offset": found.marker.offset,
    }
    if entity is not None:
        shown["entity"] = _arm_of(found, entity)
    return shown


def _arm_of(found: Effective, entity: str) -> dict[str, object]:
    published = found.policy.policy
    assigned = assign(published, [entity], [entity])
    arm = published.policy.arms[assigned.arms[0]]
    return {
        "entity": entity,
        "arm": arm.name,
        "version": arm.version,
        "probability": float(assigned.probabilities[0]),
        "explored": bool(assigned.explored[0]),
        "propensity": float(assigned.propensities[0]),
    }


def _arm_in_words(found: Effective, entity: str) -> str:
    arm = _arm_of(found, entity)
    explored = "explored" if arm["explored"] else "not explored"
    return (
        f"{printable(entity)} has arm {arm['arm']}, version {arm['version']}, with probability {arm['probability']:g}; "
        f"{explored}, with propensity {arm['propensity']:g}"
    )
