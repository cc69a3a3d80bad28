"""``penstock archive``: keeps topics as Parquet, and looks after what is kept."""

from __future__ import annotations

import json
import random
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import click

from penstock.commands.errors import pipeline_argument
from penstock.commands.exit_codes import ExitCode
from penstock.commands.options import DurationType, json_option, metrics_option, skip_deleted_option
from penstock.counts import counted
from penstock.errors import PenstockError
from penstock.kafka.lag_watch import LagWatch
from penstock.kafka.topics import require_topics, topic_ids
from penstock.settings import Settings
from penstock.telemetry import ProgressTracker, configure_logging, serve
from sinks.archive.batch import Limits
from sinks.archive.checking import Checked, check, repair
from sinks.archive.compaction import Compacted, compact
from sinks.archive.reading import Archive
from sinks.archive.service import PART, ArchiveService
from sinks.archive.storage import check_writable, open_storage
from sinks.archive.topic_ids import TopicIds
from sinks.archive.topics import KINDS, topic_columns
from sinks.archive.writing import ArchiveWriter
from streams.plan.project import open_project


class _Kinds(click.ParamType):
    """Kinds of topics, separated by commas."""

    name = "kinds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        kinds = tuple(value.split(",")) if isinstance(value, str) else tuple(value)
        if unknown := [kind for kind in kinds if kind not in KINDS]:
            self.fail(f"{unknown[0]!r} is none of {', '.join(KINDS)}", param, ctx)
        return kinds


_archive_argument = click.argument("archive", metavar="ARCHIVE")
_topics_option = click.option(
    "--topic", "topics", multiple=True, metavar="TOPIC", help="Only this topic; may be repeated."
)


@click.group()
def archive() -> None:
    """Keep raw events, labels, features and predictions as Parquet, for longer than Kafka does."""


@archive.command()
@pipeline_argument
@click.option("--out", "url", required=True, metavar="ARCHIVE", help="A folder, or a URL such as s3://BUCKET/PREFIX.")
@click.option(
    "--topics", "kinds", type=_Kinds(), default=",".join(KINDS), show_default=True, help="Which topics to archive."
)
@click.option(
    "--every", "age_ms", type=DurationType(), default="1m", show_default=True, help="Write at least this often."
)
@click.option("--until-caught-up", is_flag=True, help="Stop once everything is archived that the topics have now.")
@skip_deleted_option
@metrics_option
@json_option
def run(
    pipeline: str,
    url: str,
    kinds: tuple[str, ...],
    age_ms: int,
    until_caught_up: bool,
    skip_deleted: bool,
    metrics_port: int | None,
    *,
    as_json: bool,
) -> None:
    """Archive the topics of PIPELINE until stopped. Several processes share the partitions.

    With --until-caught-up the exit code is 99 if there was nothing to archive.
    """
    if as_json and not until_caught_up:
        raise click.UsageError("--json says how much was archived: it needs --until-caught-up")
    configure_logging()
    project, settings = open_project(pipeline), Settings()
    kafka = settings.kafka.access
    topics = topic_columns(project, settings, kinds)
    require_topics(list(topics), kafka, partitions=project.plan.source.partitions, pipeline=pipeline)
    storage = open_storage(url)
    check_writable(storage)
    ids = TopicIds(partial(topic_ids, kafka), list(topics))
    progress = ProgressTracker(time.monotonic)
    watch = LagWatch(kafka, project.name, PART, progress)
    service = ArchiveService(
        ArchiveWriter(storage, topics, ids.first),
        list(topics),
        project.name,
        kafka,
        watch,
        random.Random(),  # noqa: S311 - no secret
        reference=pipeline,
        command=f"penstock archive run {shlex.quote(pipeline)} --out {shlex.quote(storage.url)}",
        limits=Limits(age_s=age_ms / 1000),
        topic_ids=ids,
        until_caught_up=until_caught_up,
        skip_deleted=skip_deleted,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: service.stop())
    with serve(metrics_port, settings.metrics_host, progress.health), watch:
        service.run()
    if until_caught_up:
        archived = service.archived
        click.echo(json.dumps({"archived": archived}) if as_json else f"{counted(archived, 'record')} archived")
        if not service.archived:
            sys.exit(ExitCode.NOTHING_TO_DO)


@archive.command("compact")
@_archive_argument
@_topics_option
@json_option
def compact_archive(archive: str, topics: tuple[str, ...], as_json: bool) -> None:
    """Merge the small files of hours that ended more than an hour ago. Run only one at a time.

    The exit code is 99 if there was nothing to merge.
    """
    storage = open_storage(archive)
    done: dict[str, Compacted] = {}
    for topic in topics or Archive(storage).topics():
        done[topic] = compact(storage, topic, time.time_ns() // 1_000_000)
    if as_json:
        click.echo(json.dumps({topic: found._asdict() for topic, found in done.items()}))
    else:
        for topic, found in done.items():
            before = f"{counted(found.batches_before, 'batch', 'batches')} in {counted(found.files_before, 'file')}"
            after = f"{counted(found.batches, 'batch', 'batches')} in {counted(found.files, 'file')}"
            click.echo(f"{topic}: {before} became {after}")
    if not any(found.batches for found in done.values()):
        sys.exit(ExitCode.NOTHING_TO_DO)


@archive.command()
@_archive_argument
@_topics_option
@click.option("--repair", "repairs", is_flag=True, help="Remove files older than an hour that do not count.")
@click.option("--deep", "definition", metavar="PIPELINE", help="Also decode all values again, by this definition.")
@json_option
def verify(archive: str, topics: tuple[str, ...], repairs: bool, definition: str | None, as_json: bool) -> None:
    """Read all of an archive and compare it with its commit records. The exit code is 3 if something is wrong.

    With --deep, decoded columns are compared with what the original bytes give.
    """
    storage = open_storage(archive)
    # Of no archive, and of no such topic, nothing is wrong either.
    known = Archive(storage).topics()
    for topic in topics or known or ["at all"]:
        if topic not in known:
            raise PenstockError(
                f"the archive has no topic {topic}",
                where=storage.url,
                safe="nothing was changed",
                next="penstock archive list ARCHIVE; or copy the commit records in _commits back, if they are lost",
            )
    columns = None if definition is None else topic_columns(open_project(definition), Settings())
    checked = check(storage, topics, columns=columns)
    removed = repair(storage, checked) if repairs else []
    wrong = [finding for finding in checked.findings if finding.is_wrong and finding.where not in removed]
    if as_json:
        click.echo(json.dumps(_report(checked, removed, is_right=not wrong)))
    else:
        for topic in sorted(checked.rows):
            click.echo(f"{topic}: {counted(checked.rows[topic], 'row')} in {counted(checked.files[topic], 'file')}")
        for topic, count in sorted(checked.not_decoded.items()):
            if count:
                click.echo(f"{topic}: {counted(count, 'file')} of another definition, whose values were not decoded")
        for finding in checked.findings:
            done = "removed" if finding.where in removed else finding.kind
            click.echo(f"{done}: {finding.where}: {finding.what}")
        click.echo(f"{counted(len(wrong), 'thing')} wrong" if wrong else "nothing is wrong")
    if wrong:
        sys.exit(ExitCode.CHECK_FAILED)


@archive.command("list")
@_archive_argument
@_topics_option
@click.option(
    "--files", "with_files", is_flag=True, help="Print instead the paths of the files that count, one per line."
)
@json_option
def list_archive(archive: str, topics: tuple[str, ...], with_files: bool, as_json: bool) -> None:
    """Show which offsets of which topics an archive has."""
    opened = Archive(archive)
    commits = {topic: opened.commits(topic) for topic in topics or opened.topics()}
    records = [record for of_topic in commits.values() for of_partition in of_topic.values() for record in of_partition]
    if with_files:
        paths = [file.path for record in records for file in record.files]
        click.echo(json.dumps(paths) if as_json else "\n".join(paths))
    elif as_json:
        click.echo(json.dumps({topic: opened.ranges(topic) for topic in commits}))
    else:
        for topic, of_topic in commits.items():
            for partition, ranges in opened.ranges(topic).items():
                rows = sum(record.rows for record in of_topic[partition])
                text = ", ".join(f"{begin} to {end}" for begin, end in ranges)
                click.echo(f"{topic}[{partition}]: offsets {text}: {counted(rows, 'record')}")


def _report(checked: Checked, removed: Sequence[str], *, is_right: bool) -> dict[str, Any]:
    return {
        "right": is_right,
        "topics": {
            topic: {
                "rows": checked.rows[topic],
                "files": checked.files[topic],
                "not_decoded": checked.not_decoded[topic],
            }
            for topic in sorted(checked.rows)
        },
        "findings": [finding._asdict() | {"wrong": finding.is_wrong} for finding in checked.findings],
        "removed": list(removed),
    }
