"""Starts the feature job of a pipeline, stops it with a savepoint, and shows its status.

Submission itself needs PyFlink (:mod:`streams.flink.submit`); everything else is Flink's REST interface
(:mod:`streams.flink.rest`).
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from penstock.errors import PenstockError
from penstock.kafka.names import group_of
from penstock.kafka.topics import require_topics
from penstock.settings import Settings
from schemas.committed import require_unchanged
from streams.flink.rest import Flink, Job
from streams.flink.submission import Options, Replay
from streams.flink.submit import submit_job
from streams.plan.project import Project

LATEST = "latest"
_RUNNING_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 300.0
_END_TIMEOUT_S = 60.0
# Also how often a backfill's progress is known.
_BACKFILL_CHECKPOINT_MS = 2_000


def job_name(project: Project) -> str:
    """The name of the pipeline's job in Flink."""
    return f"penstock-{project.name}"


def job_group(project: Project) -> str:
    """The consumer group of the pipeline's job."""
    return group_of(project.name, "features")


def start(
    project: Project,
    settings: Settings,
    *,
    savepoint: str | None = None,
    drops_state: bool = False,
    **options: Any,
) -> Job:
    """Submit the pipeline's job and return once all its tasks run.

    Args:
        project: What to run.
        settings: Where Kafka and Flink are, and the key of personal data.
        savepoint: Path of a savepoint or retained checkpoint to continue from, or :data:`LATEST` for the one that the
            last :func:`stop` left. None starts with empty windows and a new epoch, at the consumer group's committed
            offsets (the topic's beginning for a new group).
        drops_state: Go on although the savepoint holds state of stages that the pipeline does not have any more.
        **options: How it runs: the fields of :class:`streams.flink.submission.Options`.

    Raises:
        PenstockError: if a topic, a jar, the key or Flink is missing, the definition changed under an old version, a
            job of that name runs already, or Flink refuses the job. Nothing runs then.
    """
    chosen = Options(**options)
    require_ready(project, settings)
    with Flink(settings.flink.rest) as flink:
        _require_none_running(flink, project)
        job_id = submit_job(
            project,
            settings,
            chosen,
            name=job_name(project),
            group=job_group(project),
            savepoint=_savepoint(project, settings, savepoint),
            drops_state=drops_state,
        )
        return _await_running(flink, job_id, project)


def start_backfill(
    project: Project, settings: Settings, *, name: str, replay: Replay, checkpoint: str | None = None
) -> str:
    """Submit the same job over a bounded part of the raw topic; returns its id without waiting for it to run.

    Args:
        project: What to run.
        settings: Where Kafka and Flink are, and the key of personal data.
        name: The job's name, and that of its consumer group.
        replay: What to read, and where the rows go.
        checkpoint: The retained checkpoint of the same backfill to continue from; the new job takes it over.

    Raises:
        PenstockError: as :func:`start`.
    """
    require_unchanged(project.forms, project.schemas)
    require_topics(
        [project.pipeline.source.topic, replay.topic],
        settings.kafka.access,
        partitions=project.pipeline.source.partitions,
        pipeline=project.reference,
    )
    # One task sees all partitions, and so their order.
    options = Options(parallelism=1, exactly_once=True, checkpoint_interval_ms=_BACKFILL_CHECKPOINT_MS)
    return submit_job(project, settings, options, name=name, group=name, savepoint=checkpoint, replay=replay)


def stop(project: Project, settings: Settings) -> str:
    """Stop the job with a savepoint; returns the savepoint's path, from which :func:`start` can continue.

    Raises:
        PenstockError: if no job of the pipeline runs, or the savepoint fails (the job then goes on).
    """
    with Flink(settings.flink.rest) as flink:
        path = flink.stop(require_running(flink, project).id, _STOP_TIMEOUT_S)
    remembered = _latest_file(project, settings)
    remembered.parent.mkdir(parents=True, exist_ok=True)
    remembered.write_text(path + "\n", encoding="utf-8")
    return path


def end(project: Project, settings: Settings) -> None:
    """Cancel whatever runs, or tries to, under the pipeline's name, and wait until it has ended; no savepoint is made.

    Raises:
        PenstockError: if Flink cannot be reached, or a job does not end.
    """
    with Flink(settings.flink.rest) as flink:
        for job in flink.jobs(job_name(project)):
            if job.is_active:
                flink.cancel(job.id)
                flink.await_end(job.id, _END_TIMEOUT_S)


def status(project: Project, settings: Settings) -> Job | None:
    """The pipeline's job, the latest if there have been several; None if Flink knows none.

    Raises:
        PenstockError: if Flink cannot be reached.
    """
    with Flink(settings.flink.rest) as flink:
        jobs = sorted(flink.jobs(job_name(project)), key=lambda job: (job.is_active, job.start_ms))
        return flink.detailed(jobs[-1]) if jobs else None


def require_ready(project: Project, settings: Settings) -> None:
    """Check the preconditions of a job that Flink does not check itself.

    Raises:
        PenstockError: if a topic is missing, or a definition changed under an old version.
    """
    plan = project.plan
    require_unchanged(project.forms, project.schemas)
    topics = [topic for source in plan.sources for topic in (source.topic, source.dead_letter_topic)]
    require_topics(
        [*topics, plan.features_topic],
        settings.kafka.access,
        partitions=plan.source.partitions,
        pipeline=project.reference,
    )


def require_running(flink: Flink, project: Project) -> Job:
    """The pipeline's job.

    Raises:
        PenstockError: if there is none that runs, or is on its way to.
    """
    job = _running(flink, project)
    if job is None:
        raise PenstockError(
            f"no job {job_name(project)} is running", where=flink.url, next=f"penstock job status {project.reference}"
        )
    return job


def _running(flink: Flink, project: Project) -> Job | None:
    return next((job for job in flink.jobs(job_name(project)) if job.is_active), None)


def _require_none_running(flink: Flink, project: Project) -> None:
    job = _running(flink, project)
    if job is not None:
        raise PenstockError(
            f"job {job.name} is {job.state} already",
            where=f"{flink.url}, job {job.id}",
            safe="nothing was changed",
            next=f"penstock job stop {project.reference}",
        )


def _savepoint(project: Project, settings: Settings, savepoint: str | None) -> str | None:
    if savepoint != LATEST:
        return savepoint
    remembered = _latest_file(project, settings)
    if not remembered.is_file():
        raise PenstockError(
            f"no savepoint of {project.name} is remembered",
            where=str(remembered),
            next=f"penstock job start {project.reference} --from-savepoint PATH, or without it to start empty",
        )
    return remembered.read_text(encoding="utf-8").strip()


def _latest_file(project: Project, settings: Settings) -> Path:
    """Where the path of the last savepoint is kept."""
    return settings.flink.state / "latest-savepoints" / project.name


def _await_running(flink: Flink, job_id: str, project: Project) -> Job:
    deadline = time.monotonic() + _RUNNING_TIMEOUT_S
    while True:
        job = flink.detailed(flink.job(job_id))
        if job.state == "RUNNING" and job.tasks_running == job.tasks:
            return job
        if not job.is_active or time.monotonic() > deadline or job.restarts > 2:
            raise PenstockError(
                f"job {job.name} does not run: it is {job.state}, {job.tasks_running} of {job.tasks} tasks run"
                + (f"; {job.failure}" if job.failure else ""),
                where=f"{flink.url}, job {job_id}",
                next=f"penstock job status {project.reference}; penstock logs taskmanager",
            )
        time.sleep(0.2)
