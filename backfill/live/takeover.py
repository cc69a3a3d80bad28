"""The takeover of a fill: the running job stops with a savepoint, and the new one begins from it and the fill together.

Each step is recorded before and after it. Whatever is killed in between, the same command finds out how far it came.
"""

from __future__ import annotations

import time
from pathlib import Path

from pydantic import ValidationError

from backfill.live.manifest import FillManifest, Segment, forget_fill
from backfill.progress_bar import ProgressBar
from penstock.errors import PenstockError
from penstock.settings import Settings
from streams.flink import lifecycle
from streams.flink.recovery import await_listed
from streams.flink.rest import Flink, Job
from streams.flink.submission import DESCRIPTION_PARAMETER, Description, Join, Offsets
from streams.flink.submit import submit_join
from streams.flink.upgrade import plan_upgrade, require_startable
from streams.plan.project import Project

_POLL_S = 0.1
_JOIN_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 300.0


class Takeover:
    """Lets a fill take over.

    Args:
        project: The pipeline.
        settings: The addresses of Kafka and Flink.
        fill: The fill, which is changed and saved as the takeover goes on.
        folder: Its folder.
        flink: The cluster.
        progress: Shows what happens.
    """

    def __init__(
        self,
        project: Project,
        settings: Settings,
        fill: FillManifest,
        folder: Path,
        flink: Flink,
        progress: ProgressBar,
    ) -> None:
        self._project, self._settings, self._fill = project, settings, fill
        self._folder, self._flink, self._progress = folder, flink, progress

    def resume(self) -> Job | None:
        """Find out how far an earlier call came: the new job, if it has taken over.

        If the old job was started again since, the takeover begins anew.

        Raises:
            PenstockError: if the running job has the views already, or a job has run since the takeover began.
        """
        fill = self._fill
        active = self._active()
        if active is None:
            if fill.live_savepoint is None and fill.live_job is not None:
                self._stopped(self._savepoint_of(fill.live_job))
            return None
        description = self._description(active)
        if description is not None and description.filled == fill.run:
            return lifecycle.await_running(self._flink, active.id, self._project, self._settings, self._start_command())
        if description is not None and not set(fill.views).isdisjoint(description.views):
            forget_fill(self._folder)
            raise PenstockError(
                "another job with these views has been started since the fill began",
                where=f"{self._flink.url}, job {active.id}",
                safe="it goes on; the fill was given up",
                next=f"penstock job status {self._project.reference}",
            )
        if fill.live_savepoint is not None:
            self._progress.note("the old job was started again: the fill catches up with it")
        if fill.segments[-1].live_savepoint is not None:
            fill.segments.pop()
        fill.live_savepoint = fill.joined = None
        if active.id != fill.live_job:  # else an earlier call may have requested its end
            fill.live_job = None
        fill.save(self._folder)
        return None

    def stop_running_job(self) -> None:
        """Stop the running job with a savepoint, after everything was checked that can be.

        Raises:
            PenstockError: if it does not run well, or the new job would not start; it goes on then.
        """
        fill = self._fill
        if fill.live_job is not None and self._active() is None:  # an earlier call had requested it
            self._stopped(self._savepoint_of(fill.live_job))
            return
        plan = plan_upgrade(self._project, self._settings)
        require_startable(self._project, self._settings, plan.running.options)
        fill.live_job, fill.options, fill.drop_state = plan.job.id, plan.running.options, plan.drops_state
        fill.save(self._folder)
        self._progress.note("the running job stops; events wait until the new one has started")
        self._stopped(self._flink.stop(plan.job.id, _STOP_TIMEOUT_S))

    def add_last_segment(self) -> None:
        """Begin the segment that ends where the savepoint of the running job does."""
        fill = self._fill
        assert fill.live_savepoint is not None
        before = fill.segments[-1]
        if before.live_savepoint == fill.live_savepoint:
            return
        if before.records == 0:  # a first segment of which nothing was left to read
            fill.segments.clear()
            starts = [offsets.start for offsets in before.sources]
        else:
            starts = [offsets.end for offsets in before.sources]
        sources = tuple(Offsets(start=dict(start), end=dict(start)) for start in starts)
        fill.segments.append(Segment(sources=sources, live_savepoint=fill.live_savepoint))
        fill.save(self._folder)

    def start(self) -> Job:
        """Join the savepoints and start the new job from both.

        Raises:
            PenstockError: if another job has run since, the savepoints cannot be joined, or the new job does not start.
        """
        fill, project, settings = self._fill, self._project, self._settings
        assert fill.live_savepoint is not None
        self._require_untouched()
        if fill.joined is None:
            self._join(f"{fill.live_savepoint.rstrip('/')}-filled-{fill.run}")
        assert fill.joined is not None
        lifecycle.record_latest(project, settings, fill.joined, fill.options)
        try:
            return lifecycle.start(
                project,
                settings,
                savepoint=fill.joined,
                drop_state=fill.drop_state,
                filled=fill.run,
                **fill.options.model_dump(),
            )
        except PenstockError as error:
            # Otherwise a job that keeps restarting would block the next start.
            lifecycle.cancel(project, settings)
            raise PenstockError(
                f"the old job was stopped, and the new one did not start: {error.what}",
                where=error.where,
                safe=f"nothing is lost: the state is in {fill.live_savepoint}, and events wait in their topic",
                next="fix the cause, and run the same command, which continues; or, with the old definitions and "
                f"release: penstock job start {project.reference} --from-savepoint {fill.live_savepoint}"
                f"{fill.options.arguments()}",
            ) from error

    def _stopped(self, savepoint: str) -> None:
        lifecycle.record_latest(self._project, self._settings, savepoint, self._fill.options)
        self._fill.live_savepoint = savepoint
        self._fill.save(self._folder)

    def _savepoint_of(self, job_id: str) -> str:
        """The savepoint that a job wrote when it was stopped; for a call that ended before it could record it."""
        for job in self._flink.jobs(lifecycle.job_name(self._project)):
            path = self._flink.savepoint(job_id) if job.id == job_id and job.state == "FINISHED" else None
            if path is not None:
                return path
        raise PenstockError(
            "the job was stopped for the takeover, and Flink no longer knows its savepoint",
            where=f"{self._flink.url}, job {job_id}",
            safe="its newest savepoint, in Flink's folder of savepoints, and events wait in their topic",
            next=f"penstock job start {self._project.reference} --from-savepoint PATH with the old definitions; "
            "then run this command again",
        )

    def _require_untouched(self) -> None:
        """Check that no job has run since the takeover began: what it published would be published twice."""
        latest = lifecycle.latest(self._project, self._settings)
        if latest in (self._fill.live_savepoint, self._fill.joined):
            return
        raise PenstockError(
            "the pipeline's job has been started and stopped since the takeover began",
            where=f"its latest savepoint is {latest}",
            safe="nothing was changed",
            next=f"penstock job start {self._project.reference} --from-savepoint latest; then run this command again",
        )

    def _join(self, target: str) -> None:
        fill = self._fill
        filled = fill.segments[-1].savepoint
        assert fill.live_savepoint is not None
        assert filled is not None
        name = f"{fill.group}-join"
        job_id = submit_join(
            self._project,
            self._settings,
            Join(live=fill.live_savepoint, filled=filled, target=target),
            name=name,
        )
        deadline = time.monotonic() + _JOIN_TIMEOUT_S
        while (job := self._flink.job(job_id)).state != "FINISHED":
            job = self._flink.with_details(job)
            if not job.is_active or job.restarts > 2 or time.monotonic() > deadline:
                if job.is_active:
                    self._flink.cancel(job.id)
                raise PenstockError(
                    "the savepoints could not be joined" + (f": {job.failure}" if job.failure else ""),
                    where=f"{fill.live_savepoint} and {filled}",
                    safe=f"the old job's state is in {fill.live_savepoint}, and events wait in their topic",
                    next="run the same command, which continues; or, with the old definitions: penstock job start "
                    f"{self._project.reference} --from-savepoint {fill.live_savepoint}{fill.options.arguments()}",
                )
            time.sleep(_POLL_S)
        fill.joined = target
        fill.save(self._folder)

    def _active(self) -> Job | None:
        """The pipeline's active job; None if it has none."""
        name = lifecycle.job_name(self._project)

        def find() -> Job | None:
            return max(self._flink.jobs(name), key=lambda job: job.is_active, default=None)

        job = await_listed(find, lambda: time.sleep(_POLL_S))
        return job if job is not None and job.is_active else None

    def _description(self, job: Job) -> Description | None:
        try:
            return Description.model_validate_json(self._flink.parameters(job.id).get(DESCRIPTION_PARAMETER, ""))
        except ValidationError:  # another release submitted it
            return None

    def _start_command(self) -> str:
        return f"penstock job start {self._project.reference} --from-savepoint latest{self._fill.options.arguments()}"
