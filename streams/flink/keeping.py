"""Keeps the feature job of a pipeline going: starts it or goes on with it, and stops it with a savepoint at the end."""

from __future__ import annotations

import logging
import threading

from penstock.errors import PenstockError
from penstock.kafka.lag import Lag
from penstock.settings import Settings
from streams.flink import lifecycle
from streams.flink.rest import Flink, Job
from streams.plan.project import Project

_log = logging.getLogger(__name__)

_POLL_S = 2.0


def keep_job(project: Project, settings: Settings, stop: threading.Event, *, poll_s: float = _POLL_S) -> str | None:
    """Start the job, or go on with it, until ``stop`` is set; returns the path of the savepoint of the end.

    A job that a command of somebody's has stopped stays stopped, as that command may be about to start another one;
    None if it is so at the end.

    Raises:
        PenstockError: if the job does not start, fails for good, or cannot be stopped with a savepoint.
    """
    job = start_or_continue(project, settings)
    _log.info("%s is %s: job %s", job.name, job.state.lower(), job.id)
    said = job.state
    while not stop.wait(poll_s):
        try:
            job = _look(project, settings, job)
        except _UnreachableError as error:
            _log.warning("%s; the job is not watched meanwhile", error.what)
            continue
        if job.state != said:
            said = job.state
            waits = "" if job.is_active else "; it was stopped by a command, and stays so until one starts it again"
            _log.info("job %s is %s%s", job.id, said.lower(), waits)
    with Flink(settings.flink.rest) as flink:
        if lifecycle.active_job(flink, project) is None:
            return None
    return lifecycle.stop(project, settings)


def start_or_continue(project: Project, settings: Settings) -> Job:
    """The active job; else a new one that continues from what the last one left, with that one's options.

    Raises:
        PenstockError: as :func:`lifecycle.start`; also if a job ran before, and nothing is known of its state.
    """
    with Flink(settings.flink.rest) as flink:
        active = lifecycle.active_job(flink, project)
        if active is not None:
            if active.state == "RUNNING":  # whoever started it may have been killed before it could note this
                lifecycle.note_progress(project, settings)
            return active
        left = lifecycle.left_state(flink, project, settings)
        ended = flink.jobs(lifecycle.job_name(project))
        last = max(ended, key=lambda job: job.start_ms, default=None)
        options = lifecycle.latest_options(project, settings) if last is None else lifecycle.options_of(flink, last)
    if left is None:
        _require_first(project, settings)
    return lifecycle.start(project, settings, savepoint=left, **options.model_dump())


class _UnreachableError(PenstockError):
    """Flink does not answer; its jobs may run on."""


def _look(project: Project, settings: Settings, before: Job) -> Job:
    try:
        found = lifecycle.status(project, settings)
    except PenstockError as error:
        raise _UnreachableError(error.what, where=error.where) from error
    checkpoint = before.checkpoint or "PATH"
    if found is None:
        raise PenstockError(
            f"Flink no longer knows job {before.id}",
            where=settings.flink.rest,
            safe="its checkpoints are kept, and events wait in Kafka",
            next=f"penstock job start {project.reference} --from-savepoint {checkpoint}",
        )
    if found.state == "FAILED":
        raise PenstockError(
            f"job {found.id} has failed: {found.failure or 'Flink does not say why'}",
            where=settings.flink.rest,
            safe="its checkpoints are kept, and events wait in Kafka",
            next="penstock logs taskmanager",
        )
    return found


def _require_first(project: Project, settings: Settings) -> None:
    """Check that no job has read the topic before: empty windows would count too little for as long as they are.

    Raises:
        PenstockError: if one has.
    """
    with Lag(settings.kafka.access) as lag:
        committed = lag.committed_offsets(lifecycle.job_group(project), project.pipeline.source.topic)
    if committed:
        raise PenstockError(
            "a job has read the topic before, and nothing is known of its state: windows would begin empty",
            where=f"consumer group {lifecycle.job_group(project)}, {settings.flink.rest}",
            safe="nothing was changed",
            next=f"penstock job start {project.reference} --from-savepoint PATH, with a savepoint or checkpoint; "
            f"to begin with empty windows: penstock job start {project.reference} --empty",
        )
