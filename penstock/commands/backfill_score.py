"""``penstock backfill score``: scores past events, and says which decisions a policy would have flipped."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from penstock.commands.console import printable
from penstock.commands.errors import pipeline_argument, warn, warn_of_future
from penstock.commands.exit_codes import ExitCode
from penstock.commands.model.check import gates_option, limits_in
from penstock.commands.options import EventTime, json_option, source_option
from penstock.commands.rollout.looking import Position, PositionType, policy_in
from penstock.commands.stopping import stop_event
from penstock.counts import counted
from penstock.errors import PenstockError
from penstock.settings import Settings
from penstock.telemetry import configure_logging
from penstock.time import iso
from scoring.rollout.log_reading import effective_at
from scoring.rollout.policy import PublishedPolicy, publish
from scoring.rollout.policy_store import iterate_log, read_policy
from streams.plan.project import Project, open_project

if TYPE_CHECKING:
    from backfill.scores.flips import Decided, FlipReport
    from backfill.scores.manifest import Part, ScoresManifest
    from backfill.scores.run import Outcome
    from backfill.topic_reading import Topics
    from scoring.gates.gates import Limits

_LISTED = 20


class _Version(NamedTuple):
    name: str
    version: int


class _Asked(NamedTuple):
    """What was typed."""

    model: _Version | None
    policy: Position | Path | None
    from_ms: int
    to_ms: int
    out: Path
    into: str
    topic: str | None
    features: Path | None
    amount: str | None
    limits: Path | None
    archive: str | None

    def check(self) -> None:
        """Refuse options that contradict each other."""
        if (self.model is None) == (self.policy is None):
            raise click.UsageError("Give one of --model and --policy.")
        if (self.into == "topic") != (self.topic is not None):
            raise click.UsageError("--topic goes with --into topic.")
        if self.policy is None and (self.amount is not None or self.limits is not None):
            raise click.UsageError("--amount and --gates go with --policy, whose decisions are compared.")


class _VersionType(click.ParamType):
    """NAME@V."""

    name = "NAME@V"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> _Version:
        """Convert the text."""
        found = re.fullmatch(r"([^@]+)@([1-9]\d{0,8})", value)
        if found is None:
            self.fail(f"{value!r} is not NAME@V, such as fraud@3.", param, ctx)
        return _Version(found[1], int(found[2]))


class _PolicyType(click.ParamType):
    """A place on the features topic, or a file of a policy."""

    name = "PARTITION@OFFSET|FILE"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> Position | Path:
        """Convert the text."""
        return PositionType().convert(value, param, ctx) if re.search(r"@\d+$", value) else Path(value)


@click.command()
@pipeline_argument
@click.option("--model", "model", type=_VersionType(), help="Score all events with this version.")
@click.option(
    "--policy",
    type=_PolicyType(),
    help="Decide as this rollout policy would, that of a file or the one that served there, and compare the decisions.",
)
@click.option("--from", "from_ms", type=EventTime(), required=True, help="Score events from this event time on.")
@click.option("--to", "to_ms", type=EventTime(), required=True, help="Score events before this event time.")
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="The folder to write.")
@click.option(
    "--into",
    type=click.Choice(["parquet", "topic", "cassandra"]),
    default="parquet",
    show_default=True,
    help="Where to bring the rows, beside the Parquet files in the folder.",
)
@click.option("--topic", metavar="NAME", help="The topic of --into topic.")
@click.option(
    "--backfill",
    "features",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Score the features that `penstock backfill run` has written (default: features as they were served).",
)
@source_option
@click.option("--amount", metavar="COLUMN", help="Compare costs in this amount, such as event.amount.")
@gates_option
@json_option
def score(pipeline: str, *, as_json: bool, **options: Any) -> None:
    """Score past events of PIPELINE in this process, with a version of the model or as a rollout policy would.

    What is served is not affected. Ctrl-C keeps the progress, and the same command continues it. With --policy, the
    command shows which of the served decisions it would have flipped, by arm and group, and at what cost. Exits with 99
    if there is nothing to do.
    """
    from backfill.parquet import read_backfill  # noqa: PLC0415 - slow to import
    from backfill.resumable import StoppedError, exclusive_lock  # noqa: PLC0415
    from backfill.scores.run import ModelVersion, ScoreRequest  # noqa: PLC0415
    from backfill.scores.run import score as score_range  # noqa: PLC0415
    from backfill.topic_reading import topics_of  # noqa: PLC0415
    from penstock.commands.flips_report import as_json as flips_json  # noqa: PLC0415
    from penstock.commands.flips_report import print_flips  # noqa: PLC0415
    from scoring.repository import ModelRepository  # noqa: PLC0415

    asked = _Asked(**options)
    asked.check()
    configure_logging()
    project, settings, stop = open_project(pipeline), Settings(), stop_event()
    limits, topics = limits_in(asked.limits), topics_of(settings.kafka.access, asked.archive)
    request = ScoreRequest(
        asked.from_ms,
        asked.to_ms,
        None if asked.model is None else ModelVersion(*asked.model),
        None if asked.policy is None else _published(project, settings, asked.policy, asked.out),
        asked.amount,
        None if asked.features is None else read_backfill(asked.features),
    )
    repository = ModelRepository(settings.model_repository)
    try:
        outcome = score_range(project, repository, topics, request, asked.out, _tell, stop.is_set)
        with exclusive_lock(asked.out):
            delivered = _deliver(project, settings, asked, outcome.manifest, stop.is_set)
    except StoppedError:
        click.echo("\nstopped; the progress is kept, and the same command continues", err=True)
        sys.exit(ExitCode.INTERRUPTED)
    summary = _summary(outcome, delivered, asked)
    rows = asked.out, outcome.manifest
    report = None if asked.policy is None else _compared(project, settings, topics, *rows, limits)
    decided, has_amount = _decided(project), asked.amount is not None
    if as_json:
        flips = {} if report is None else {"flips": flips_json(report, decided, limits, has_amount=has_amount)}
        click.echo(json.dumps(summary | flips, indent=2))
    else:
        _print(summary)
        if report is not None:
            print_flips(report, decided, limits, has_amount=has_amount)
    _warn(project, outcome.manifest)
    warn_of_future(asked.to_ms, "these scores")
    if not outcome.new_rows and not delivered:
        sys.exit(ExitCode.NOTHING_TO_DO)


def _published(project: Project, settings: Settings, policy: Position | Path, out: Path) -> PublishedPolicy:
    """The policy that was effective at a place; or that of a file as `rollout apply` would publish it now.

    What the file gives entities depends on the present policy. So scores in the folder are gone on with as begun.
    """
    from backfill.scores.manifest import load_scores  # noqa: PLC0415 - slow to import

    definition, kafka = project.pipeline, settings.kafka.access
    if isinstance(policy, Position):
        if policy.topic not in (None, definition.features_topic):
            raise PenstockError(
                f"{policy.topic} is not the features topic of the pipeline, where policies take effect",
                where="--policy",
                next=f"give the place that a prediction names, in {definition.features_topic}",
            )
        found = effective_at(iterate_log(kafka, definition), policy.partition, policy.offset)
        if found is None:
            raise PenstockError(
                "no policy was effective there",
                where=f"{definition.features_topic}[{policy.partition}]@{policy.offset}",
                next="penstock rollout history PIPELINE; or score with --model NAME@V",
            )
        return found.policy.policy
    declared, begun = policy_in(policy, definition), load_scores(out)
    if begun is not None and begun.policy is not None and begun.policy.policy.hash == declared.hash:
        return begun.policy
    present = read_policy(kafka, definition)
    if present is not None and present.policy.policy.hash == declared.hash:
        return present.policy
    return publish(declared, None if present is None else present.policy)


def _deliver(
    project: Project, settings: Settings, asked: _Asked, manifest: ScoresManifest, is_stopping: Callable[[], bool]
) -> int:
    """Bring the rows on; returns how many."""
    if asked.topic is not None:
        from backfill.scores.topic import kafka_reader, kafka_writer, prepare_topic, publish  # noqa: PLC0415

        kafka, topic = settings.kafka.access, asked.topic
        prepare_topic(project.pipeline, topic, kafka)
        reader, writer = kafka_reader(kafka, topic), kafka_writer(kafka, project.name, topic)
        return publish(asked.out, manifest, topic, reader, writer, lambda: time.time_ns() // 1_000_000, is_stopping)
    if asked.into == "cassandra":
        from backfill.scores.cassandra import upsert  # noqa: PLC0415
        from penstock.cassandra_client import connect_cassandra  # noqa: PLC0415

        return upsert(asked.out, manifest, settings.cassandra, connect_cassandra, is_stopping)
    return 0


def _compared(
    project: Project, settings: Settings, topics: Topics, out: Path, manifest: ScoresManifest, limits: Limits
) -> FlipReport:
    from backfill.scores.flips import flips  # noqa: PLC0415 - slow to import
    from backfill.scores.labels import Truths  # noqa: PLC0415
    from backfill.scores.rows import read_part  # noqa: PLC0415
    from schemas.registry import registry_schemas  # noqa: PLC0415

    truth = None
    if project.pipeline.labels is not None:
        truth = Truths.of(project, topics.read, registry_schemas(settings.schema_registry_url), out)
    tables = (read_part(out, part) for part in manifest.parts)
    with nullcontext() if truth is None else truth.known:
        return flips(tables, _decided(project), truth, limits)


def _decided(project: Project) -> Decided:
    from backfill.scores.flips import Decided  # noqa: PLC0415 - slow to import

    return Decided(project.pipeline.model.positive, project.pipeline.model.negative)


def _tell(part: Part) -> None:
    click.echo(f"{part.file}: {counted(part.rows, 'row')}", err=True)


def _summary(outcome: Outcome, delivered: int, asked: _Asked) -> dict[str, Any]:
    """What was done, as values of JSON."""
    from backfill.scores.failures import failures  # noqa: PLC0415 - slow to import

    manifest = outcome.manifest
    found, failed = [], 0
    for failed, failure in enumerate(failures(asked.out, manifest), 1):
        if failed <= _LISTED:
            found.append(failure._asdict())
    return {
        "pipeline": manifest.pipeline,
        "model": manifest.model,
        "policy": None if manifest.policy is None else manifest.policy.version,
        "versions": sorted(manifest.versions),
        "from": iso(manifest.from_ms),
        "to": iso(manifest.to_ms),
        "folder": str(asked.out),
        "files": len(manifest.parts),
        "rows": manifest.rows,
        "new_rows": outcome.new_rows,
        "into": asked.topic or asked.into,
        "delivered_rows": delivered,
        "without_score": failed,
        "first_without_score": found,
        "maybe_missing_partitions": manifest.cut,
    }


def _print(summary: dict[str, Any]) -> None:
    by = summary["model"] or f"policy {summary['policy']}"
    click.echo(
        f"{counted(summary['rows'], 'row')} of {summary['from']} to {summary['to']} by {by} in "
        f"{counted(summary['files'], 'file')} under {summary['folder']}; {summary['new_rows']:,} of them new"
    )
    if summary["into"] != "parquet":
        click.echo(f"{counted(summary['delivered_rows'], 'row')} brought to {summary['into']}")
    if summary["without_score"]:
        click.echo(f"{counted(summary['without_score'], 'event')} without a score:")
        for one in summary["first_without_score"]:
            event = printable(one["event_id"])
            topic = f"topic {one['topic']}, " if one["topic"] else ""
            click.echo(f"  {topic}partition {one['partition']}, offset {one['offset']}, event {event}: {one['error']}")
        if summary["without_score"] > _LISTED:
            click.echo("  ... and more: the rows whose error is not null")


def _warn(project: Project, manifest: ScoresManifest) -> None:
    if manifest.cut:
        listed = ", ".join(map(str, manifest.cut))
        warn(
            f"Kafka has deleted predictions of partition {listed}: events of the range may be missing",
            "another --out, and --source ARCHIVE if they are archived; or "
            f"penstock backfill run {project.reference} --from {iso(manifest.from_ms)} --to {iso(manifest.to_ms)} "
            "--out FOLDER; then score these features: --backfill FOLDER",
        )
