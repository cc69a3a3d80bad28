# mypy: disable-error-code="untyped-decorator"
"""Penstock under Dagster: an archive and what follows from it, as assets of a day.

``penstock`` is a child process. Exit code 99 says that there was nothing to do, which is a success here, and what it
prints with ``--json`` becomes metadata of the asset.
"""

import json
import subprocess

from dagster import (
    AssetExecutionContext,
    DailyPartitionsDefinition,
    Definitions,
    Failure,
    MaterializeResult,
    ScheduleDefinition,
    asset,
    define_asset_job,
)

ARCHIVE = "s3://penstock-archive/fraud?region=eu-central-1"
DATA = "/data/penstock"
NOTHING_TO_DO = 99
days = DailyPartitionsDefinition(start_date="2026-01-01")


def penstock(context: AssetExecutionContext, *arguments: str) -> MaterializeResult:
    """Run a command; Failure if it fails, with the last lines of what it said."""
    done = subprocess.run(["penstock", *arguments], capture_output=True, text=True, check=False)
    context.log.info(done.stderr)
    if done.returncode not in (0, NOTHING_TO_DO):
        raise Failure(f"penstock {arguments[0]} ended with {done.returncode}: {done.stderr[-2_000:]}")
    report = json.loads(done.stdout) if "--json" in arguments else {"text": done.stdout}
    return MaterializeResult(metadata={"exit_code": done.returncode, "report": report})


@asset
def archive(context: AssetExecutionContext) -> MaterializeResult:
    """Raw events, labels, features and predictions as Parquet, up to now."""
    return penstock(context, "archive", "run", "fraud", "--out", ARCHIVE, "--until-caught-up")


@asset(deps=[archive])
def compacted(context: AssetExecutionContext) -> MaterializeResult:
    """The archive with the small files of past hours merged."""
    return penstock(context, "archive", "compact", ARCHIVE, "--json")


@asset(deps=[archive], partitions_def=days)
def served_as_computed(context: AssetExecutionContext) -> MaterializeResult:
    """That what was served on this day follows from its raw events; fails with exit code 3 if something does not."""
    window = context.partition_time_window
    begin, end = window.start.strftime("%Y-%m-%d"), window.end.strftime("%Y-%m-%d")
    return penstock(context, "parity", "fraud", "--from", begin, "--to", end, "--source", ARCHIVE, "--json")


@asset(deps=[archive], partitions_def=days)
def features(context: AssetExecutionContext) -> MaterializeResult:
    """The features of this day."""
    window = context.partition_time_window
    begin, end = window.start.strftime("%Y-%m-%d"), window.end.strftime("%Y-%m-%d")
    out = f"{DATA}/features/{begin}"
    return penstock(
        context, "backfill", "run", "fraud", "--from", begin, "--to", end, "--out", out, "--source", ARCHIVE
    )


@asset(deps=[features], partitions_def=days)
def training_set(context: AssetExecutionContext) -> MaterializeResult:
    """The features of this day with the labels that are known; run it again once its labels are final."""
    window = context.partition_time_window
    begin, end = window.start.strftime("%Y-%m-%d"), window.end.strftime("%Y-%m-%d")
    folder = f"{DATA}/features/{begin}"
    out = f"{DATA}/sets/{begin}"
    return penstock(
        context,
        *("training-set", "build", "fraud", "--from", begin, "--to", end),
        *("--backfill", folder, "--out", out, "--source", ARCHIVE, "--json"),
    )


hourly = ScheduleDefinition(
    job=define_asset_job("archive_job", selection=[archive, compacted]), cron_schedule="5 * * * *"
)
definitions = Definitions(assets=[archive, compacted, served_as_computed, features, training_set], schedules=[hourly])
