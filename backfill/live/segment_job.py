"""The Flink job of a segment of a fill: submitted, watched, submitted again if it is lost, and stopped at its end."""

from __future__ import annotations

import threading
from dataclasses import replace
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaException

from backfill import scratch
from backfill.live.manifest import FillManifest, fill_folder
from backfill.live.planning import filling_plan
from backfill.manifest import scratch_topic
from backfill.progress_bar import ProgressBar
from backfill.replay_job import newest_checkpoint
from backfill.restored import restore
from backfill.resumable import StoppedError
from penstock.errors import PenstockError
from penstock.kafka.lag import Lag
from penstock.settings import Settings
from streams.flink.bounded_jobs import start_fill
from streams.flink.recovery import await_listed
from streams.flink.rest import Flink, Job
from streams.flink.submission import Fill
from streams.plan.project import Project

_POLL_S = 0.2
_STOP_TIMEOUT_S = 300.0
_CANCEL_TIMEOUT_S = 30.0
# So many restarts without a checkpoint between them mean that the job will not recover.
_MAX_RESTARTS = 5
# A TaskManager that was killed takes a while to come back, and the job restarts meanwhile.
_NO_SLOT = "NoResourceAvailableException"
# A part of the names of the tasks that end when everything was read; see JobGraph.java.
_READERS = "replay order"


class SegmentJob:
    """Replays the last segment of a fill. A context manager.

    Args:
        project: The pipeline.
        settings: The addresses of Kafka and Flink.
        manifest: The fill; its last segment is replayed.
        archive: The archive of a first segment, whose URL may hold keys.
        max_per_s: How many events to replay in a second at most; 0: as many as possible.
        flink: The cluster.
        progress: Shows what happens.
        stop: Ends every wait.
    """

    def __init__(
        self,
        project: Project,
        settings: Settings,
        manifest: FillManifest,
        archive: str | None,
        max_per_s: int,
        flink: Flink,
        progress: ProgressBar,
        stop: threading.Event,
    ) -> None:
        self._project, self._settings, self._manifest = project, settings, manifest
        self._archive, self._max_per_s = archive, max_per_s
        self._folder = fill_folder(settings, project.name)
        self._flink, self._progress, self._stop = flink, progress, stop
        self._number = len(manifest.segments) - 1
        self._segment = manifest.segments[-1]
        self._name = f"{manifest.group}-{self._number}"
        self._lag = Lag(settings.kafka.access)
        self._checkpoints, self._restarts = -1, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and issubclass(kind, StoppedError):
            self._cancel()
        self._lag.close()

    def run(self) -> str:
        """Replay the segment; return the savepoint of its end.

        Raises:
            StoppedError: if ``stop`` was set; the job is cancelled at the exit, and its last checkpoint is kept.
            PenstockError: if the job fails again and again, is cancelled, or Flink cannot be reached for long.
        """
        job = None if self._find_job() is None else self._await_job()
        if job is None or job.state in ("FAILED", "CANCELED"):
            self._submit(job)
        self._progress.start_step("fill", self._segment.records, self._read())
        while True:
            job = self._await_job()
            if job is None:
                self._progress.note("Flink has lost the job")
                self._submit(None)
                continue
            savepoint = self._look(job)
            if savepoint is not None:
                self._progress.update(self._segment.records)
                return savepoint
            self._pause()

    def _look(self, job: Job) -> str | None:
        """The savepoint of a segment that is done; None while it is replayed."""
        if job.state == "FINISHED":
            savepoint = self._flink.savepoint(job.id)
            if savepoint is None:
                raise self._failed(job, "has ended without a savepoint")
            return savepoint
        try:
            if job.state == "RUNNING" and self._flink.has_ended(job.id, _READERS):
                return self._flink.stop(job.id, _STOP_TIMEOUT_S)
            job = self._flink.with_details(job)
            read = self._read()
        except (PenstockError, KafkaException):
            # Often temporary, as the savepoint of a job whose TaskManager has just ended.
            return None
        if job.checkpoint is not None and job.checkpoint != self._segment.checkpoint:
            self._segment.checkpoint = job.checkpoint
            self._manifest.save(self._folder)
        if job.checkpoints != self._checkpoints:
            self._checkpoints, self._restarts = job.checkpoints, job.restarts
        if not job.is_active:
            raise self._failed(job, "was cancelled" if job.state == "CANCELED" else "fails")
        if job.restarts - self._restarts >= _MAX_RESTARTS and _NO_SLOT not in (job.failure or ""):
            self._flink.cancel(job.id)
            raise self._failed(job, "fails")
        self._progress.update(read)
        return None

    def _failed(self, job: Job, what: str) -> PenstockError:
        is_stopped = self._manifest.live_savepoint is not None
        return PenstockError(
            f"the job that fills the views {what}" + (f": {job.failure}" if job.failure else ""),
            where=f"{self._flink.url}, job {job.id}",
            safe=f"the running job was stopped, its state is in {self._manifest.live_savepoint}, and events wait"
            if is_stopped
            else "the running job goes on",
            next="penstock logs taskmanager; then run the same command, which continues",
        )

    def _submit(self, before: Job | None) -> None:
        """Submit the job from its newest checkpoint, or from the segment before."""
        segment, number = self._segment, self._number
        if before is not None:
            segment.checkpoint = self._flink.with_details(before).checkpoint or segment.checkpoint
        begin = newest_checkpoint(segment.checkpoint)
        if begin is None and number > 0:
            begin = self._manifest.segments[number - 1].savepoint
        if self._archive is not None and number == 0 and not self._has_copies():
            self._copy(self._archive)
            begin = None
        self._manifest.save(self._folder)
        start_fill(
            replace(self._project, plan=filling_plan(self._project.plan, self._manifest.views)),
            self._settings,
            self._manifest.options,
            name=self._name,
            group=self._manifest.group,
            replay=self._manifest.replay(segment, self._max_per_s),
            fill=Fill(run=self._manifest.run, segment=number, end_savepoint=segment.live_savepoint),
            savepoint=begin,
        )

    def _has_copies(self) -> bool:
        kafka, copies = self._settings.kafka.access, self._segment.restored
        return bool(copies) and all(scratch.has_all_records(kafka, copy.topic) for copy in copies)

    def _copy(self, archive: str) -> None:
        """Copy the archived records to topics for the job."""
        topic = scratch_topic(self._project.name, self._manifest.run)
        self._segment.restored = tuple(
            restore(
                source,
                archive,
                self._settings.kafka.access,
                offsets,
                scratch.copies_topic(topic, number),
                self._progress,
                self._stop,
            )
            for number, (source, offsets) in enumerate(
                zip(self._project.pipeline.sources, self._segment.sources, strict=True)
            )
        )

    def _read(self) -> int:
        """How many records the job had read at its last checkpoint."""
        sources = self._segment.restored or self._segment.sources
        names = [copy.topic for copy in self._segment.restored]
        read = 0
        for topic, offsets in zip(names or [s.topic for s in self._project.plan.sources], sources, strict=True):
            committed = self._lag.committed_offsets(self._manifest.group, topic)
            for number, start in offsets.start.items():
                read += max(0, min(committed.get(number, start), offsets.end[number]) - start)
        return read

    def _find_job(self) -> Job | None:
        """The segment's job; of several (it was submitted again), the active one or the latest."""
        return max(self._flink.jobs(self._name), key=lambda job: (job.is_active, job.start_ms), default=None)

    def _await_job(self) -> Job | None:
        return await_listed(self._find_job, self._pause)

    def _pause(self) -> None:
        if self._stop.wait(_POLL_S):
            raise StoppedError

    def _cancel(self) -> None:
        try:
            for job in self._flink.jobs(self._name):
                if job.is_active:
                    self._flink.cancel(job.id)
                    self._flink.await_end(job.id, _CANCEL_TIMEOUT_S)
        except PenstockError as error:
            self._progress.note(f"the job of the fill keeps running: {error.what}; the same command attaches to it")
