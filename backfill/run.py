"""Runs a backfill from its plan to its files; after an interruption, the same call continues it.

The manifest in the folder records each step: the offsets to replay before the job is submitted, then the job, its
checkpoints, and each part. The job writes its rows to a scratch topic, exactly once. When it has finished, they are
written to part files.
"""

from __future__ import annotations

import shutil
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from confluent_kafka import KafkaException

from backfill import scratch
from backfill.manifest import (
    BackfillManifest,
    load_manifest,
    plan_hash,
    require_same_backfill,
    scratch_topic,
    selected_views,
)
from backfill.parquet import RowBuilder, WrittenOffsets, write_part
from backfill.planning import plan_replay, replay_start_ms
from backfill.progress_bar import ProgressBar
from backfill.resumable import LOCK, StoppedError, exclusive_lock
from backfill.retention import first_offsets, read_retained_topic
from penstock.errors import PenstockError
from penstock.kafka.lag import Lag
from penstock.kafka.reading import read_topic
from penstock.settings import Settings
from schemas.codec import Decoder
from streams.flink.lifecycle import start_backfill
from streams.flink.rest import Flink, Job
from streams.plan.feature_records import features_schema
from streams.plan.model import PipelinePlan
from streams.plan.project import Project

_POLL_S = 0.5
# Longer than a restart of the JobManager or a takeover by another one.
_FLINK_DOWN_LIMIT_S = 180.0
_JOB_UNKNOWN_LIMIT_S = 10.0
_CANCEL_TIMEOUT_S = 30.0
# So many restarts without a checkpoint between them mean that the job will not recover.
_MAX_RESTARTS = 5


@dataclass(frozen=True)
class BackfillRequest:
    """The arguments of a backfill: event times in [from_ms, to_ms), epoch ms, and view names (empty: all views)."""

    from_ms: int
    to_ms: int
    views: tuple[str, ...]


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
                manifest = _plan_backfill(project, settings, request, views, folder)
            except PenstockError:
                if is_new:
                    shutil.rmtree(folder)
                raise
        else:
            require_same_backfill(manifest, plan, views, request.from_ms, request.to_ms, folder)
        if manifest.state == "running":
            with Flink(settings.flink.rest) as flink:
                _JobSupervisor(project, settings, manifest, folder, flink, progress, stop).run()
            _write_parts(plan, settings, manifest, folder, progress, stop)
            if manifest.rows == 0:
                scratch.delete(settings.kafka.access, manifest.replay.topic, manifest.job_name)
                shutil.rmtree(folder)
                raise PenstockError("no valid event is in the range", next="give a range that has events")
            manifest.state = "complete"
            manifest.save(folder)
        scratch.delete(settings.kafka.access, manifest.replay.topic, manifest.job_name)
        return manifest


def _plan_backfill(
    project: Project, settings: Settings, request: BackfillRequest, views: dict[str, str], folder: Path
) -> BackfillManifest:
    if any(path.name != LOCK for path in folder.iterdir()):
        raise PenstockError(
            "the folder has files that are not of a backfill", where=str(folder), next="give another folder with --out"
        )
    plan, run = project.plan, uuid.uuid4().hex[:8]
    from_ms, to_ms = request.from_ms, request.to_ms
    sources = project.pipeline.sources
    manifest = BackfillManifest(
        pipeline=project.name,
        views=views,
        plan=plan_hash(plan),
        run=run,
        replay=plan_replay(
            plan,
            [read_retained_topic(project, source, settings, replay_start_ms(plan, from_ms)) for source in sources],
            from_ms=from_ms,
            to_ms=to_ms,
            scratch=scratch_topic(project.name, run),
            reference=project.reference,
        ),
    )
    manifest.save(folder)
    return manifest


class _JobSupervisor:
    """Submits the job, or attaches to it, and resubmits it if it is lost, until it has finished."""

    def __init__(
        self,
        project: Project,
        settings: Settings,
        manifest: BackfillManifest,
        folder: Path,
        flink: Flink,
        progress: ProgressBar,
        stop: threading.Event,
    ) -> None:
        self._stop = stop
        self._project = project
        self._settings = settings
        self._manifest = manifest
        self._folder = folder
        self._flink = flink
        self._progress = progress

    def run(self) -> None:
        """Attach to the job, or submit it, and wait until it has finished.

        Raises:
            StoppedError: if ``stop`` was set; the job is then cancelled.
        """
        try:
            job = self._find_job() if self._manifest.job is None else self._await_job()
            if job is None or job.state in ("FAILED", "CANCELED"):
                self._submit(job)
            elif job.is_active:
                self._progress.note(f"attached to job {job.id}, which is running")
            self._watch()
        except StoppedError:
            self._cancel()
            raise

    def _pause(self) -> None:
        if self._stop.wait(_POLL_S):
            raise StoppedError

    def _find_job(self) -> Job | None:
        """Return the run's job; of several (it was resubmitted), the active one or the latest."""
        jobs = self._flink.jobs(self._manifest.job_name)
        return max(jobs, key=lambda job: (job.is_active, job.start_ms), default=None)

    def _await_job(self) -> Job | None:
        """Wait for Flink to know the job; return None if it answers but does not list the job for a while.

        A JobManager that starts or takes over needs some seconds to recover its jobs.
        """
        started, unknown_since = time.monotonic(), None
        while True:
            now = time.monotonic()
            try:
                job = self._find_job()
            except PenstockError:
                unknown_since = None
                if now - started > _FLINK_DOWN_LIMIT_S:
                    raise
            else:
                unknown_since = now if unknown_since is None else unknown_since
                if job is not None or now - unknown_since > _JOB_UNKNOWN_LIMIT_S:
                    return job
            self._pause()

    def _cancel(self) -> None:
        """Cancel the job; give up after a while, since Flink may be recovering or unreachable."""
        deadline, is_requested = time.monotonic() + _CANCEL_TIMEOUT_S, False
        while time.monotonic() < deadline:
            try:
                job = self._find_job()
                if job is None or not job.is_active:
                    return
                if not is_requested:
                    self._flink.cancel(job.id)
                    is_requested = True
            except PenstockError as error:
                self._progress.note(f"not cancelled yet: {error.what}")
            time.sleep(_POLL_S)
        self._progress.note("the job could not be cancelled and keeps running; the same command attaches to it")

    def _submit(self, before: Job | None) -> None:
        """Submit the job from its newest checkpoint, or from the start if there is none."""
        manifest, settings = self._manifest, self._settings
        if before is not None:
            self._save_checkpoint(self._flink.with_details(before))
        checkpoint = _newest_checkpoint(manifest.checkpoint)
        if checkpoint is not None and scratch.has_all_records(settings.kafka.access, manifest.replay.topic):
            self._progress.note(f"the job continues from its checkpoint {checkpoint}")
        else:
            checkpoint = manifest.checkpoint = None
            self._require_retained()
            scratch.create(settings.kafka.access, manifest.replay.topic, self._project.pipeline.source.partitions)
            manifest.parts.clear()
        manifest.save(self._folder)
        manifest.job = start_backfill(
            self._project, settings, name=manifest.job_name, replay=manifest.replay, checkpoint=checkpoint
        )
        manifest.save(self._folder)

    def _require_retained(self) -> None:
        for source, offsets in zip(self._project.pipeline.sources, self._manifest.replay.sources, strict=True):
            first = first_offsets(self._settings.kafka.access, source.topic, offsets.start)
            if any(first[partition] > start for partition, start in offsets.start.items()):
                raise PenstockError(
                    "since this backfill was planned, retention has deleted records that it reads",
                    where=source.topic,
                    next=f"delete {self._folder} and run the command again: it names the possible range",
                )

    def _watch(self) -> None:
        manifest, topics = self._manifest, [source.topic for source in self._project.pipeline.sources]
        checkpoints, restarts, read = -1, 0, 0
        with Lag(self._settings.kafka.access) as lag:
            self._progress.start_step("replay", manifest.events, _replayed_records(lag, manifest, topics))
            while True:
                job = self._await_job()
                if job is None:
                    # A JobManager without high availability loses its jobs when it restarts.
                    self._progress.note("Flink has lost the job")
                    self._submit(None)
                    continue
                if job.state == "FINISHED":
                    self._progress.update(manifest.events)
                    return
                self._pause()
                try:
                    job = self._flink.with_details(job)
                    self._save_checkpoint(job)
                    read = _replayed_records(lag, manifest, topics)
                except (PenstockError, KafkaException):
                    # Often temporary; if Flink stays unreachable, the next _await_job raises.
                    continue
                if job.checkpoints != checkpoints:
                    checkpoints, restarts = job.checkpoints, job.restarts
                self._require_healthy(job, job.restarts - restarts)
                self._progress.update(read)

    def _save_checkpoint(self, job: Job) -> None:
        if job.checkpoint is not None and job.checkpoint != self._manifest.checkpoint:
            self._manifest.checkpoint = job.checkpoint
            self._manifest.save(self._folder)

    def _require_healthy(self, job: Job, restarts: int) -> None:
        if job.is_active and restarts < _MAX_RESTARTS:
            return
        if job.is_active:
            self._flink.cancel(job.id)
        ended = "was cancelled" if job.state == "CANCELED" else "fails"
        raise PenstockError(
            f"the job of the backfill {ended}" + (f": {job.failure}" if job.failure else ""),
            where=f"{self._flink.url}, job {job.id}",
            safe="the live pipeline is not affected, and the job's last checkpoint is kept",
            next="penstock logs taskmanager; then run the same command, which continues the backfill",
        )


def _replayed_records(lag: Lag, manifest: BackfillManifest, topics: Sequence[str]) -> int:
    """Return how many records the job had read at its last checkpoint."""
    read = 0
    for topic, offsets in zip(topics, manifest.replay.sources, strict=True):
        committed = lag.committed_offsets(manifest.job_name, topic)
        for number, start in offsets.start.items():
            read += max(0, min(committed.get(number, start), offsets.end[number]) - start)
    return read


def _newest_checkpoint(checkpoint: str | None) -> str | None:
    """Return the newest complete checkpoint of the same job as ``checkpoint``; None if there is none.

    Only local files are searched. On another file system, such as an object store, ``checkpoint`` is returned as is.
    """
    if checkpoint is None:
        return None
    url = urlsplit(checkpoint)
    if url.scheme not in ("", "file"):
        return checkpoint
    job = Path(unquote(url.path)).parent
    complete = [path.parent for path in job.glob("chk-*/_metadata")]
    newest = max(complete, key=lambda path: int(path.name.removeprefix("chk-")), default=None)
    return None if newest is None else newest.as_uri()


def _write_parts(
    plan: PipelinePlan,
    settings: Settings,
    manifest: BackfillManifest,
    folder: Path,
    progress: ProgressBar,
    stop: threading.Event,
) -> None:
    """Write the scratch topic's rows to part files, after those that exist."""
    topic = manifest.replay.topic
    if not scratch.has_all_records(settings.kafka.access, topic):
        raise PenstockError(
            "rows that the job wrote have been deleted",
            where=f"topic {topic}",
            next=f"delete {folder} and run the command again",
        )
    decoder, rows = Decoder(features_schema(plan)), RowBuilder(plan, manifest.views)
    with Lag(settings.kafka.access) as lag:
        ends = lag.end_offsets(topic)
    progress.start_step("write", sum(ends.values()))
    done = 0
    for partition, end in sorted(ends.items()):
        parts = [part for part in manifest.parts if part.partition == partition]
        start = parts[-1].next_offset if parts else 0
        written = WrittenOffsets(manifest.replay.start.get(partition, 0), manifest.replay.end.get(partition, 0))
        for earlier in parts:
            written.add_part(folder, earlier)
        records = read_topic(settings.kafka.access, topic, start={partition: start}, end=ends)
        while True:
            part = write_part(folder, partition, len(parts), records, decoder, rows, written)
            if part is None:
                break
            parts.append(part)
            manifest.parts.append(part)
            manifest.save(folder)
            progress.update(done + part.next_offset)
            if stop.is_set():
                raise StoppedError
        done += end
        progress.update(done)
