"""The Flink job of a backfill: submitted, watched, submitted again if it is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import unquote, urlsplit

from confluent_kafka import KafkaException

from backfill import scratch
from backfill.kafka_offsets import first_offsets
from backfill.manifest import BackfillManifest
from backfill.progress_bar import ProgressBar
from backfill.restored import restore
from backfill.resumable import StoppedError
from penstock.counts import counted
from penstock.errors import PenstockError
from penstock.kafka.lag import Lag
from penstock.settings import Settings
from streams.flink.bounded_jobs import start_backfill
from streams.flink.recovery import await_listed
from streams.flink.rest import Flink, Job
from streams.flink.submission import Offsets
from streams.plan.project import Project

_POLL_S = 0.5
_CANCEL_TIMEOUT_S = 30.0
_DETAILS_EVERY_S = 1.0
# Longer than a pause of the job: then it has probably written its last row.
_QUIET_S = 0.5
# So many restarts without a checkpoint between them mean that the job will not recover.
_MAX_RESTARTS = 5


class ReplayJob:
    """Submits the job, or attaches to it, and submits it again if it is lost, until it has finished.

    Args:
        project: What to run.
        settings: The addresses of Kafka and Flink.
        manifest: Says what to replay; the job and its checkpoints are saved in it.
        archive: Has the events that Kafka has deleted; its URL may hold keys, which the manifest's does not.
        folder: The backfill's folder.
        flink: The cluster.
        progress: Shows what happens.
        stop: Ends every wait.

    Attributes:
        topics_made: How often the scratch topic was made. What was read of an earlier one counts no more.
    """

    def __init__(
        self,
        project: Project,
        settings: Settings,
        manifest: BackfillManifest,
        archive: str | None,
        folder: Path,
        flink: Flink,
        progress: ProgressBar,
        stop: threading.Event,
    ) -> None:
        self._stop = stop
        self._project = project
        self._settings = settings
        self._manifest = manifest
        self._archive = archive
        self._folder = folder
        self._flink = flink
        self._progress = progress
        copies = [each.topic for each in manifest.replay.restored]
        self._topics = copies or [
            *(source.topic for source in project.pipeline.sources),
            *project.plan.reference_topics,
        ]
        self._lag = Lag(settings.kafka.access)
        self._checkpoints, self._restarts = -1, 0
        self._detailed_at = self._grew_at = 0.0
        self._log_end = 0
        self.topics_made = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and issubclass(kind, StoppedError):
            self._cancel()
        self._lag.close()

    def begin(self) -> None:
        """Attach to the job, or submit it.

        Raises:
            StoppedError: if ``stop`` was set. Then, and if it is raised later on, the job is cancelled at the exit.
            PenstockError: if the job cannot be submitted.
        """
        job = self._find_job() if self._manifest.job is None else self._await_job()
        if job is None or job.state in ("FAILED", "CANCELED"):
            self._require_slots()
            # Without one in the manifest, a job is of topics that were about to be made anew: its checkpoint is, too.
            self._submit(job if self._manifest.job is not None else None)
        elif job.is_active:
            self._progress.note(f"attached to job {job.id}, which is running")
        self._progress.start_step("replay", self._manifest.events, self._replayed_records())

    def _require_slots(self) -> None:
        """Check that the job could run, which would wait for minutes, and fail without a word of the option."""
        wanted = self._manifest.replay.parallelism
        if wanted > 1 and wanted > (free := self._flink.free_slots()):
            raise PenstockError(
                f"Flink has {counted(free, 'free slot')}, not {wanted}",
                where=self._flink.url,
                safe="no job was started",
                next=f"run the same command with --parallelism {max(1, free)}; it changes no row",
            )

    def has_finished(self) -> bool:
        """Look at the job: whether it has finished. A lost one is submitted again.

        Raises:
            StoppedError: if ``stop`` was set.
            PenstockError: if the job fails again and again, or Flink cannot be reached for long.
        """
        job = self._await_job()
        if job is None:
            # A JobManager without high availability loses its jobs when it restarts.
            self._progress.note("Flink has lost the job")
            self._submit(None)
            return False
        if job.state == "FINISHED":
            self._progress.update(self._manifest.events)
            return True
        try:
            if job.state == "RUNNING":
                self._end_soon(job)
            if time.monotonic() < self._detailed_at + _DETAILS_EVERY_S and job.is_active:
                return False
            self._detailed_at = time.monotonic()
            job = self._flink.with_details(job)
            self._save_checkpoint(job)
            read = self._replayed_records()
        except (PenstockError, KafkaException):
            # Often temporary; if Flink stays unreachable, the next _await_job raises.
            return False
        if job.checkpoints != self._checkpoints:
            self._checkpoints, self._restarts = job.checkpoints, job.restarts
        self._require_healthy(job, job.restarts - self._restarts)
        self._progress.update(read)
        return False

    def _end_soon(self, job: Job) -> None:
        """Request the checkpoint that commits the last rows, which the job would wait for."""
        now, topic = time.monotonic(), self._manifest.replay.topic
        log_end = sum(self._lag.log_ends(topic).values())
        if log_end != self._log_end:
            self._log_end, self._grew_at = log_end, now
        elif now > self._grew_at + _QUIET_S and sum(self._lag.end_offsets(topic).values()) < log_end:
            self._grew_at = now
            self._flink.checkpoint(job.id)

    def _pause(self) -> None:
        if self._stop.wait(_POLL_S):
            raise StoppedError

    def _find_job(self) -> Job | None:
        """Return the run's job; of several (it was resubmitted), the active one or the latest."""
        jobs = self._flink.jobs(self._manifest.job_name)
        return max(jobs, key=lambda job: (job.is_active, job.start_ms), default=None)

    def _await_job(self) -> Job | None:
        return await_listed(self._find_job, self._pause)

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
        checkpoint = newest_checkpoint(manifest.checkpoint)
        if checkpoint is not None and self._has_all_records():
            self._progress.note(f"the job continues from its checkpoint {checkpoint}")
        else:
            checkpoint = None
            if self._archive is None:
                self._require_retained()
            self._forget_progress()
            if self._archive is not None and not manifest.replay.restored:
                self._copy(self._archive)
            scratch.create(settings.kafka.access, manifest.replay.topic, self._project.pipeline.source.partitions)
            self.topics_made += 1
        manifest.save(self._folder)
        manifest.job = start_backfill(
            self._project, settings, name=manifest.job_name, replay=manifest.replay, checkpoint=checkpoint
        )
        manifest.save(self._folder)

    def _forget_progress(self) -> None:
        """Before topics are made anew, so that nothing goes on from a checkpoint of the old ones if this is killed."""
        manifest = self._manifest
        if manifest.replay.restored and not self._has_all_copies():
            manifest.replay = manifest.replay.model_copy(update={"restored": ()})
        manifest.job = manifest.checkpoint = None
        manifest.parts.clear()
        manifest.save(self._folder)

    def _has_all_records(self) -> bool:
        """Whether the rows of before the checkpoint are there, and the records of after it."""
        return scratch.has_all_records(self._settings.kafka.access, self._manifest.replay.topic) and (
            self._archive is None or self._has_all_copies()
        )

    def _has_all_copies(self) -> bool:
        kafka = self._settings.kafka.access
        return all(scratch.has_all_records(kafka, copies.topic) for copies in self._manifest.replay.restored)

    def _copy(self, archive: str) -> None:
        """Copy the archived records to topics for the job."""
        manifest, kafka = self._manifest, self._settings.kafka.access
        restored = []
        for number, (source, offsets) in enumerate(
            zip(self._project.pipeline.sources, manifest.replay.sources, strict=True)
        ):
            topic = scratch.copies_topic(manifest.replay.topic, number)
            restored.append(restore(source, archive, kafka, offsets, topic, self._progress, self._stop))
        manifest.replay = manifest.replay.model_copy(update={"restored": tuple(restored)})
        self._topics = [copies.topic for copies in restored]

    def _require_retained(self) -> None:
        replay = self._manifest.replay
        for topic, offsets in zip(self._topics, (*replay.sources, *replay.lookups), strict=True):
            first = first_offsets(self._settings.kafka.access, topic, offsets.start)
            if any(first[partition] > start for partition, start in offsets.start.items()):
                raise PenstockError(
                    "since this backfill was planned, retention has deleted records that it reads",
                    where=topic,
                    next=f"delete {self._folder} and run the command again: it names the possible range",
                )

    def _save_checkpoint(self, job: Job) -> None:
        if job.checkpoint is not None and job.checkpoint != self._manifest.checkpoint:
            self._manifest.checkpoint = job.checkpoint
            self._manifest.save(self._folder)

    def _replayed_records(self) -> int:
        """How many records the job had read at its last checkpoint."""
        read = 0
        replay = self._manifest.replay
        of_topics: Sequence[Offsets] = replay.restored or (*replay.sources, *replay.lookups)
        for topic, offsets in zip(self._topics, of_topics, strict=True):
            committed = self._lag.committed_offsets(self._manifest.job_name, topic)
            for number, start in offsets.start.items():
                read += max(0, min(committed.get(number, start), offsets.end[number]) - start)
        return read

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


def newest_checkpoint(checkpoint: str | None) -> str | None:
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
