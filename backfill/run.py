"""Runs a backfill from its plan to its files; after an interruption, the same call continues it.

The manifest in the folder records each step: the offsets to replay before the job is submitted, then the job, its
checkpoints, and each part. The job writes its rows to a scratch topic, exactly once. From there they are written to
part files while the job runs.
"""

from __future__ import annotations

import shutil
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from backfill import scratch
from backfill.manifest import (
    PARTIAL,
    BackfillManifest,
    load_manifest,
    plan_hash,
    require_same_backfill,
    scratch_topic,
    selected_views,
)
from backfill.parts import PartsWriter
from backfill.planning import plan_replay, replay_start_ms
from backfill.progress_bar import ProgressBar
from backfill.reference_data import reference_offsets, require_reference_in_kafka
from backfill.replay_job import ReplayJob
from backfill.resumable import LOCK, StoppedError, exclusive_lock
from backfill.retention import read_retained_topic
from backfill.scratch import ScratchReader
from penstock.errors import PenstockError
from penstock.kafka.lag import Lag
from penstock.settings import Settings
from sinks.archive.storage import without_secrets
from streams.flink.rest import Flink
from streams.plan.project import Project

# How long rows are written between two looks at the job.
_LOOK_EVERY_S = 0.25


@dataclass(frozen=True)
class BackfillRequest:
    """The arguments of a backfill.

    Args:
        from_ms: Rows are of events from this time on, epoch ms.
        to_ms: Rows are of events before this time, epoch ms.
        views: The views whose features the rows have; empty for all.
        max_per_s: How many events to replay in a second at most; 0: as many as possible.
        archive: Has the records that Kafka has deleted; None: only those that Kafka still has are replayed.
        parallelism: How many tasks of a stage, and so slots in Flink, the job has. It changes no row.
    """

    from_ms: int
    to_ms: int
    views: tuple[str, ...]
    max_per_s: int = 0
    archive: str | None = None
    parallelism: int = 1


def run_backfill(
    project: Project,
    settings: Settings,
    request: BackfillRequest,
    folder: Path,
    progress: ProgressBar,
    stop: threading.Event,
) -> BackfillManifest:
    """Replay the range into Parquet files under ``folder`` and return the complete manifest.

    The live pipeline is not affected. If the folder has the same backfill, an unfinished one is continued and a
    complete one is left as it is.

    Raises:
        StoppedError: if ``stop`` was set; the job is cancelled, and its last checkpoint is kept.
        PenstockError: if the range is not possible, a view does not exist, the folder has other content or is in use,
            the job fails, or Kafka or Flink cannot be reached.
    """
    plan = project.plan
    views = selected_views(plan, request.views, project.reference)
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(folder):
        manifest = load_manifest(folder)
        if manifest is None:
            try:
                _require_empty(folder)
                manifest = plan_backfill(project, settings, request)
            except PenstockError:
                if is_new:
                    shutil.rmtree(folder)
                raise
            manifest.save(folder)
        else:
            require_same_backfill(manifest, plan, views, request.from_ms, request.to_ms, folder)
            _require_same_source(manifest, request, folder)
        if manifest.state == "running":
            # For a job that is submitted from now on.
            manifest.replay = manifest.replay.model_copy(update=_pace(request))
            _write_rows(project, settings, manifest, request.archive, folder, progress, stop)
            if manifest.rows == 0:
                scratch.delete(settings.kafka.access, manifest.replay.topic, manifest.job_name)
                shutil.rmtree(folder)
                raise PenstockError("no valid event is in the range", next="give a range that has events")
            manifest.state = "complete"
            manifest.save(folder)
        scratch.delete(settings.kafka.access, manifest.replay.topic, manifest.job_name)
        return manifest


def plan_backfill(project: Project, settings: Settings, request: BackfillRequest) -> BackfillManifest:
    """Plan a backfill without starting or writing anything.

    Raises:
        PenstockError: if the range is not possible, a view does not exist, or Kafka cannot be reached.
    """
    plan, run, from_ms = project.plan, uuid.uuid4().hex[:8], request.from_ms
    require_reference_in_kafka(plan, request.archive)
    views = selected_views(plan, request.views, project.reference)
    start_ms = replay_start_ms(plan, from_ms)
    sources = project.pipeline.sources
    archive, to_ms = request.archive, request.to_ms
    topics = [read_retained_topic(project, source, settings, start_ms, archive, to_ms) for source in sources]
    replay = plan_replay(
        plan,
        topics,
        from_ms=from_ms,
        to_ms=request.to_ms,
        scratch=scratch_topic(project.name, run),
        reference=project.reference,
    )
    return BackfillManifest(
        pipeline=project.name,
        views=views,
        plan=plan_hash(plan),
        run=run,
        replay=replay.model_copy(update={**_pace(request), "lookups": reference_offsets(plan, settings.kafka.access)}),
        archive=None if request.archive is None else without_secrets(request.archive),
    )


def _pace(request: BackfillRequest) -> dict[str, int]:
    """What of a replay changes no row, so that it may be another one each time."""
    return {"max_per_s": request.max_per_s, "parallelism": request.parallelism}


def _require_same_source(manifest: BackfillManifest, request: BackfillRequest, folder: Path) -> None:
    """Check that an unfinished backfill is continued from where it reads: its manifest has no keys of an archive."""
    if manifest.state == "running" and (manifest.archive is None) != (request.archive is None):
        began = "from Kafka" if manifest.archive is None else f"from the archive {manifest.archive}"
        raise PenstockError(
            f"the backfill in the folder began {began}",
            where=str(folder),
            safe="nothing was changed",
            next="run the same command again" + ("" if manifest.archive is None else f": --source {manifest.archive}"),
        )


def _require_empty(folder: Path) -> None:
    # What a process leaves that is killed while it saves the first manifest.
    if any(path.name not in (LOCK, PARTIAL) for path in folder.iterdir()):
        raise PenstockError(
            "the folder has files that are not of a backfill", where=str(folder), next="give another folder with --out"
        )


def _write_rows(
    project: Project,
    settings: Settings,
    manifest: BackfillManifest,
    archive: str | None,
    folder: Path,
    progress: ProgressBar,
    stop: threading.Event,
) -> None:
    """Run the job, and write its rows to part files as they come."""
    with (
        Flink(settings.flink.rest) as flink,
        ReplayJob(project, settings, manifest, archive, folder, flink, progress, stop) as job,
    ):
        if not manifest.replayed:
            job.begin()
        while True:
            with (
                PartsWriter(project.plan, manifest, folder) as parts,
                ScratchReader(settings.kafka.access, manifest.replay.topic, parts.next_offsets()) as records,
            ):
                if _follow(job, records, parts, manifest, folder, stop):
                    _write_rest(records, parts, settings, manifest, progress, stop)
                    return


def _follow(
    job: ReplayJob,
    records: ScratchReader,
    parts: PartsWriter,
    manifest: BackfillManifest,
    folder: Path,
    stop: threading.Event,
) -> bool:
    """Write rows until the job has finished, or its topic was made anew, which returns False."""
    topics_made = job.topics_made
    while not manifest.replayed:
        look_at = time.monotonic() + _LOOK_EVERY_S
        while (left := look_at - time.monotonic()) > 0:
            for chunk in records.read(left):
                parts.add(*chunk)
            if stop.is_set():
                raise StoppedError
        if job.has_finished():
            manifest.replayed = True
            manifest.save(folder)
        elif job.topics_made > topics_made:
            return False
    return True


def _write_rest(
    records: ScratchReader,
    parts: PartsWriter,
    settings: Settings,
    manifest: BackfillManifest,
    progress: ProgressBar,
    stop: threading.Event,
) -> None:
    topic = manifest.replay.topic
    if not scratch.has_all_records(settings.kafka.access, topic):
        raise scratch.gone(topic)
    with Lag(settings.kafka.access) as lag:
        # Not where a transaction is still open: there the rows after it could not be seen, and would be left out.
        ends = lag.log_ends(topic)
    # Of records, and of the markers of transactions, which cannot be told apart before they are read.
    progress.start_step("write", sum(ends.values()), records.done, "offset")
    for chunks in records.read_to(ends, _LOOK_EVERY_S):
        for chunk in chunks:
            parts.add(*chunk)
        progress.update(records.done)
        if stop.is_set():
            raise StoppedError
    parts.finish()
