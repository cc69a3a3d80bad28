"""One backfill from its plan to its files; the same call again, after whatever ended it, carries on.

What is known is in the folder's manifest, written before it is acted upon: the offsets to replay, then the job, then
each part. The job's rows go to a scratch topic, exactly once, and become files when the job has finished.
"""

from __future__ import annotations

import fcntl
import shutil
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from confluent_kafka import KafkaException

from backfill import scratch
from backfill.manifest import BackfillManifest, load_manifest, plan_hash, require_same, scratch_topic, selected_views
from backfill.parquet import Rows, Written, write_part
from backfill.planning import plan_replay, start_ms
from backfill.progress_bar import ProgressBar
from backfill.retained import first_offsets, retained
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

_LOCK = ".lock"
_POLL_S = 0.5
# A JobManager that restarts is back in seconds; a supervised one, or one that takes over, in less than this.
_FLINK_AWAY_S = 180.0
_FLINK_FORGOT_S = 10.0
_CANCEL_S = 30.0
# Restarts without a checkpoint between them: what fails so often will fail again.
_MOST_RESTARTS = 5


@dataclass(frozen=True)
class BackfillRequest:
    """The arguments of a backfill: event times [from, to) in epoch ms, and views by name (none: all)."""

    from_ms: int
    to_ms: int
    views: tuple[str, ...]


class StoppedError(Exception):
    """A backfill was asked to stop, and has: the same call carries on."""


def run_backfill(
    project: Project,
    settings: Settings,
    request: BackfillRequest,
    folder: Path,
    progress: ProgressBar,
    stop: threading.Event,
) -> BackfillManifest:
    """Replay the range into Parquet files under ``folder`` and return the complete manifest.

    It changes nothing that the live pipeline uses. A folder that holds the same backfill, unfinished, is carried on
    with; one that is complete is left as it is.

    Raises:
        StoppedError: ``stop`` was set; the job is cancelled and its last checkpoint kept.
        PenstockError: if the range is not possible, a view does not exist, the folder holds something else or is in
            use, the job fails, or Kafka or Flink cannot be reached.
    """
    plan = project.plan
    views = selected_views(plan, request.views, project.reference)
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    with _exclusive_lock(folder):
        manifest = load_manifest(folder)
        if manifest is None:
            try:
                manifest = _plan_backfill(project, settings, request, views, folder)
            except PenstockError:
                if is_new:
                    shutil.rmtree(folder)
                raise
        else:
            require_same(manifest, plan, views, request.from_ms, request.to_ms, folder)
        if manifest.state == "running":
            with Flink(settings.flink.rest) as flink:
                _Replayer(project, settings, manifest, folder, flink, progress, stop).run()
            _write(plan, settings, manifest, folder, progress, stop)
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
    if any(path.name != _LOCK for path in folder.iterdir()):
        raise PenstockError(
            "the folder holds something else than a backfill", where=str(folder), next="name another folder by --out"
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
            [retained(project, source, settings, start_ms(plan, from_ms)) for source in sources],
            from_ms=from_ms,
            to_ms=to_ms,
            scratch=scratch_topic(project.name, run),
            reference=project.reference,
        ),
    )
    manifest.save(folder)
    return manifest


class _Replayer:
    """Sees to it that the job runs, until it has finished."""

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
            StoppedError: if told to stop meanwhile.
        """
        try:
            job = self._found() if self._manifest.job is None else self._found_in_time()
            if job is None or job.state in ("FAILED", "CANCELED"):
                self._submit(job)
            elif job.is_active:
                self._progress.note(f"job {job.id} goes on")
            self._watch()
        except StoppedError:
            self._cancel()
            raise

    def _pause(self) -> None:
        if self._stop.wait(_POLL_S):
            raise StoppedError

    def _found(self) -> Job | None:
        """The run's job; of several (it was submitted again) the one that is active, or the latest."""
        found = self._flink.jobs(self._manifest.job_name)
        return max(found, key=lambda job: (job.is_active, job.start_ms), default=None)

    def _found_in_time(self) -> Job | None:
        """The same, but None only if Flink answers, and has not known the job for a while.

        A JobManager that takes over, or is started anew, needs its time.
        """
        started, unknown_since = time.monotonic(), None
        while True:
            now = time.monotonic()
            try:
                job = self._found()
            except PenstockError:
                unknown_since = None
                if now - started > _FLINK_AWAY_S:
                    raise
            else:
                unknown_since = now if unknown_since is None else unknown_since
                if job is not None or now - unknown_since > _FLINK_FORGOT_S:
                    return job
            self._pause()

    def _cancel(self) -> None:
        """Cancel the job, if Flink can be had in time: it may be recovering, or away."""
        deadline, asked = time.monotonic() + _CANCEL_S, False
        while time.monotonic() < deadline:
            try:
                job = self._found()
                if job is None or not job.is_active:
                    return
                if not asked:
                    self._flink.cancel(job.id)
                    asked = True
            except PenstockError as error:
                self._progress.note(f"not cancelled yet: {error.what}")
            time.sleep(_POLL_S)
        self._progress.note("the job could not be cancelled and goes on; the same command attaches to it")

    def _submit(self, before: Job | None) -> None:
        """Submit the job from its newest checkpoint or, if there is none, from the start."""
        manifest, settings = self._manifest, self._settings
        if before is not None:
            self._note(self._flink.detailed(before))
        checkpoint = _newest(manifest.checkpoint)
        if checkpoint is not None and scratch.is_whole(settings.kafka.access, manifest.replay.topic):
            self._progress.note(f"the job goes on from its checkpoint {checkpoint}")
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
                    "retention has deleted what this backfill reads since it was planned",
                    where=source.topic,
                    next=f"delete {self._folder} and run it again: it says which range is possible",
                )

    def _watch(self) -> None:
        manifest, topics = self._manifest, [source.topic for source in self._project.pipeline.sources]
        checkpoints, restarts, read = -1, 0, 0
        with Lag(self._settings.kafka.access) as lag:
            self._progress.step("replay", manifest.events, _replayed(lag, manifest, topics))
            while True:
                job = self._found_in_time()
                if job is None:
                    # A JobManager without high availability forgets its jobs when it is started anew.
                    self._progress.note("Flink does not know the job any more")
                    self._submit(None)
                    continue
                if job.state == "FINISHED":
                    self._progress.done(manifest.events)
                    return
                self._pause()
                try:
                    job = self._flink.detailed(job)
                    self._note(job)
                    read = _replayed(lag, manifest, topics)
                except (PenstockError, KafkaException):
                    # Away for the moment; if it lasts, the next look at the job says so.
                    continue
                if job.checkpoints != checkpoints:
                    checkpoints, restarts = job.checkpoints, job.restarts
                self._require_well(job, job.restarts - restarts)
                self._progress.done(read)

    def _note(self, job: Job) -> None:
        if job.checkpoint is not None and job.checkpoint != self._manifest.checkpoint:
            self._manifest.checkpoint = job.checkpoint
            self._manifest.save(self._folder)

    def _require_well(self, job: Job, restarts: int) -> None:
        if job.is_active and restarts < _MOST_RESTARTS:
            return
        if job.is_active:
            self._flink.cancel(job.id)
        ended = "was cancelled" if job.state == "CANCELED" else "fails"
        raise PenstockError(
            f"the job of the backfill {ended}" + (f": {job.failure}" if job.failure else ""),
            where=f"{self._flink.url}, job {job.id}",
            safe="the live pipeline is untouched, and the job's last checkpoint is kept",
            next="penstock logs taskmanager; then the same command, which carries on",
        )


def _replayed(lag: Lag, manifest: BackfillManifest, topics: Sequence[str]) -> int:
    """Records that the job has read, as of its last checkpoint."""
    read = 0
    for topic, offsets in zip(topics, manifest.replay.sources, strict=True):
        committed = lag.committed_offsets(manifest.job_name, topic)
        for number, start in offsets.start.items():
            read += max(0, min(committed.get(number, start), offsets.end[number]) - start)
    return read


def _newest(checkpoint: str | None) -> str | None:
    """The newest complete checkpoint beside the one that was seen last; None if it is gone.

    A file system of this machine is looked at; elsewhere (an object store) the one that was seen is taken as it is.
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


def _write(
    plan: PipelinePlan,
    settings: Settings,
    manifest: BackfillManifest,
    folder: Path,
    progress: ProgressBar,
    stop: threading.Event,
) -> None:
    """Turn the rows on the scratch topic into part files, after those that are there already."""
    topic = manifest.replay.topic
    if not scratch.is_whole(settings.kafka.access, topic):
        raise PenstockError(
            "the rows that the job wrote are gone", where=f"topic {topic}", next=f"delete {folder}, and run it again"
        )
    decoder, rows = Decoder(features_schema(plan)), Rows(plan, manifest.views)
    with Lag(settings.kafka.access) as lag:
        ends = lag.end_offsets(topic)
    progress.step("write", sum(ends.values()))
    before = 0
    for partition, end in sorted(ends.items()):
        parts = [part for part in manifest.parts if part.partition == partition]
        start = parts[-1].next_offset if parts else 0
        written = Written(manifest.replay.start.get(partition, 0), manifest.replay.end.get(partition, 0))
        for part in parts:
            written.add_part(folder, part)
        records = read_topic(settings.kafka.access, topic, start={partition: start}, end=ends)
        while True:
            new = write_part(folder, partition, len(parts), records, decoder, rows, written)
            if new is None:
                break
            parts.append(new)
            manifest.parts.append(new)
            manifest.save(folder)
            progress.done(before + new.next_offset)
            if stop.is_set():
                raise StoppedError
        before += end
        progress.done(before)


@contextmanager
def _exclusive_lock(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which ends with the process, whatever ends it."""
    with (folder / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PenstockError(
                "another process is writing this backfill", where=str(folder), next="wait for it, or end it"
            ) from error
        yield
