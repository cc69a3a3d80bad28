"""Starts the feature job of a pipeline, stops it with a savepoint, and shows its status.

Jobs are submitted through PyFlink (:mod:`streams.flink.submit`); everything else uses Flink's REST interface
(:mod:`streams.flink.rest`). Jobs over a part of the topics: :mod:`streams.flink.bounded_jobs`.
"""

from __future__ import annotations

import contextlib
import re
import time
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from penstock.errors import PenstockError
from penstock.kafka.names import dead_letters_of, group_of
from penstock.kafka.topics import largest_messages, require_existing, require_room, require_topics
from penstock.settings import Settings
from schemas.committed import require_unchanged
from streams.flink.rest import Flink, Job
from streams.flink.starting import deleted_error, starts
from streams.flink.submission import DESCRIPTION_PARAMETER, Description, Limits, Options
from streams.flink.submit import submit_job
from streams.plan.pipeline_topics import room_of_job
from streams.plan.project import Project

LATEST = "latest"
"""In place of a savepoint's path: the savepoint of the last :func:`stop`."""
_RUNNING_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 300.0
_CANCEL_TIMEOUT_S = 60.0


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
    empty: bool = False,
    drop_state: bool = False,
    skip_deleted: bool = False,
    filled: str | None = None,
    **options: Any,
) -> Job:
    """Submit the pipeline's job and return once all its tasks run.

    Args:
        project: What to run.
        settings: The addresses of Kafka and Flink, and the key of personal data.
        savepoint: Path of a savepoint or retained checkpoint to continue from, or :data:`LATEST` for the savepoint of
            the last :func:`stop`. None starts with empty windows and a new epoch, at the consumer group's committed
            offsets (the topic's beginning for a new group), and is refused if there is state to continue from.
        empty: Start with empty windows even if there is.
        drop_state: Start even if the savepoint has state of stages that the pipeline no longer has.
        skip_deleted: Go on where Kafka deleted records before the job read them. Ends a job that restarts because of
            them.
        filled: The fill whose views the savepoint has; the job's description names it.
        **options: The fields of :class:`streams.flink.submission.Options`.

    Raises:
        PenstockError: if a topic, a jar, the key or Flink is missing, the definition changed under an old version, a
            job of that name runs already, an earlier one left state to continue from, Kafka deleted records before they
            were read, or Flink refuses the job: no job was started then. Also if the job does not run after two
            minutes, or keeps restarting: it still exists then, unless deleted records are the cause.
    """
    job_options = Options(**options)
    limits = require_ready(project, settings)
    with Flink(settings.flink.rest) as flink:
        if skip_deleted:
            _end_job_behind_deleted(flink, project, settings)
        _require_no_active_job(flink, project)
        if savepoint is None and not empty:
            _require_no_state(flink, project, settings)
        command = _start_command(project, job_options, savepoint)
        from_offsets = starts(project, settings, job_group(project), command, skip_deleted=skip_deleted)
        job_id = submit_job(
            project,
            settings,
            job_options,
            limits,
            name=job_name(project),
            group=job_group(project),
            savepoint=_savepoint_path(project, settings, savepoint),
            drop_state=drop_state,
            starts=from_offsets,
            skip_deleted=skip_deleted,
            filled=filled,
        )
        started = await_running(flink, job_id, project, settings, command)
        note_progress(project, settings)
        return started


def stop(project: Project, settings: Settings) -> str:
    """Stop the job with a savepoint; returns the savepoint's path, from which :func:`start` can continue.

    Raises:
        PenstockError: if no job of the pipeline runs, or the savepoint fails (the job keeps running then).
    """
    with Flink(settings.flink.rest) as flink:
        job = require_running(flink, project)
        options = options_of(flink, job)
        path = flink.stop(job.id, _STOP_TIMEOUT_S)
    record_latest(project, settings, path, options)
    return path


def record_latest(project: Project, settings: Settings, path: str, options: Options) -> None:
    """Make a savepoint the one that :data:`LATEST` means; ``options`` are those of the job that wrote it."""
    file = _latest_savepoint_file(project, settings)
    file.parent.mkdir(parents=True, exist_ok=True)
    # All at once: after a full disk the one before still counts.
    partial = file.with_name(f"{file.name}.partial")
    partial.write_text(f"{path}\n{options.model_dump_json()}\n", encoding="utf-8")
    partial.replace(file)


def note_progress(project: Project, settings: Settings) -> None:
    """A job has gone beyond the savepoint of the last :func:`stop`: only who names :data:`LATEST` still gets it."""
    with contextlib.suppress(FileNotFoundError):
        _latest_savepoint_file(project, settings).replace(_used_savepoint_file(project, settings))


def latest(project: Project, settings: Settings) -> str | None:
    """The savepoint that :data:`LATEST` means; None if there is none."""
    for file in (_latest_savepoint_file(project, settings), _used_savepoint_file(project, settings)):
        if file.is_file():
            return file.read_text(encoding="utf-8").partition("\n")[0].strip()
    return None


def latest_options(project: Project, settings: Settings) -> Options:
    """The options of the job that wrote the latest savepoint, if no job ran since; the defaults if not known."""
    try:
        text = _latest_savepoint_file(project, settings).read_text(encoding="utf-8")
        return Options.model_validate_json(text.partition("\n")[2])
    except (FileNotFoundError, ValidationError):
        return Options()


def cancel(project: Project, settings: Settings) -> None:
    """Cancel every active job of the pipeline without a savepoint, and wait until it has ended.

    Raises:
        PenstockError: if Flink cannot be reached, or a job does not end.
    """
    with Flink(settings.flink.rest) as flink:
        for job in flink.jobs(job_name(project)):
            if job.is_active:
                flink.cancel(job.id)
                flink.await_end(job.id, _CANCEL_TIMEOUT_S)


def failure_of(project: Project, settings: Settings, job: Job) -> PenstockError | None:
    """What to do about a job that fails because Kafka deleted records before it read them; None for other failures."""
    with Flink(settings.flink.rest) as flink:
        options = options_of(flink, job)
    last = None if latest(project, settings) is None else LATEST
    return deleted_error(job, settings, _start_command(project, options, job.checkpoint or last))


def options_of(flink: Flink, job: Job) -> Options:
    """The options that a job was submitted with; the defaults if another release has submitted it."""
    try:
        return Description.model_validate_json(flink.parameters(job.id).get(DESCRIPTION_PARAMETER, "")).options
    except ValidationError:
        return Options()


def status(project: Project, settings: Settings) -> Job | None:
    """The pipeline's active or else its latest job; None if Flink knows none.

    Raises:
        PenstockError: if Flink cannot be reached.
    """
    with Flink(settings.flink.rest) as flink:
        jobs = sorted(flink.jobs(job_name(project)), key=lambda job: (job.is_active, job.start_ms))
        return flink.with_details(jobs[-1]) if jobs else None


def require_ready(project: Project, settings: Settings) -> Limits:
    """Check those preconditions of a job that Flink does not check; returns what its topics take.

    Raises:
        PenstockError: if a topic is missing or takes too little, or a definition changed under an old version.
    """
    plan, kafka = project.plan, settings.kafka.access
    require_unchanged(project.forms, project.schemas)
    unpublished = dead_letters_of(plan.features_topic)
    topics = [topic for source in plan.sources for topic in (source.topic, source.dead_letter_topic)]
    topics += [plan.features_topic, unpublished]
    require_topics(topics, kafka, partitions=plan.source.partitions, pipeline=project.reference)
    require_existing(plan.reference_topics, kafka, project.reference)
    largest = largest_messages(topics, kafka)
    require_room(room_of_job(project.pipeline, largest), largest, kafka)
    return Limits(
        features=largest[plan.features_topic],
        dead_letters=tuple(largest[source.dead_letter_topic] for source in plan.sources),
        unpublished=largest[unpublished],
    )


def require_running(flink: Flink, project: Project) -> Job:
    """The pipeline's active job.

    Raises:
        PenstockError: if it has none.
    """
    job = active_job(flink, project)
    if job is None:
        raise PenstockError(
            f"job {job_name(project)} is not running", where=flink.url, next=f"penstock job status {project.reference}"
        )
    return job


def active_job(flink: Flink, project: Project) -> Job | None:
    """The pipeline's job that has not ended."""
    return next((job for job in flink.jobs(job_name(project)) if job.is_active), None)


def _require_no_active_job(flink: Flink, project: Project) -> None:
    job = active_job(flink, project)
    if job is not None:
        raise PenstockError(
            f"job {job.name} is already {job.state}",
            where=f"{flink.url}, job {job.id}",
            safe="nothing was changed",
            next=f"penstock job stop {project.reference}",
        )


def _end_job_behind_deleted(flink: Flink, project: Project, settings: Settings) -> None:
    """Cancel the active job if it cannot go on: it could write no savepoint, and its checkpoints are kept."""
    job = active_job(flink, project)
    if job is not None and failure_of(project, settings, flink.with_details(job)) is not None:
        cancel(project, settings)


def _start_command(project: Project, options: Options, savepoint: str | None) -> str:
    source = "--empty" if savepoint is None else f"--from-savepoint {savepoint}"
    return f"penstock job start {project.reference} {source}{options.arguments()}"


def _require_no_state(flink: Flink, project: Project, settings: Settings) -> None:
    """Check that nothing is left of an earlier job: windows that start empty would undercount for as long as they are.

    Raises:
        PenstockError: if there is a savepoint of the last stop, or a checkpoint of a job that ended without one.
    """
    left = left_state(flink, project, settings)
    if left is None and (used := latest(project, settings)) is not None:
        raise PenstockError(
            "the job would start with empty windows, and Flink does not know the job that ran last",
            where=f"it began after savepoint {used}",
            safe="nothing was changed",
            next=f"penstock job start {project.reference} --from-savepoint PATH, with its newest checkpoint; "
            f"to discard its state: penstock job start {project.reference} --empty",
        )
    if left is None:
        return
    kind = "checkpoint" if "/chk-" in left else "savepoint"
    raise PenstockError(
        "the job would start with empty windows, although there is state to continue from",
        where=f"{kind} {_savepoint_path(project, settings, left)}",
        safe="nothing was changed",
        next=f"penstock job start {project.reference} --from-savepoint {left}; "
        f"to discard that state: penstock job start {project.reference} --empty",
    )


def left_state(flink: Flink, project: Project, settings: Settings) -> str | None:
    """What the last job has left, as ``savepoint`` of :func:`start` takes it; None if nothing is known of it.

    The savepoint of the last :func:`stop` is no such state if a job ran since, and Flink does not know that job.
    """
    ended = sorted(flink.jobs(job_name(project)), key=lambda job: job.start_ms)
    checkpoint = None if not ended or ended[-1].state == "FINISHED" else flink.with_details(ended[-1]).checkpoint
    if checkpoint is not None:
        return checkpoint
    if _latest_savepoint_file(project, settings).is_file():
        return LATEST
    # Who stopped the job was killed before it could record the savepoint.
    return flink.savepoint(ended[-1].id) if ended and ended[-1].state == "FINISHED" else None


def _savepoint_path(project: Project, settings: Settings, savepoint: str | None) -> str | None:
    if savepoint is None or savepoint.startswith("/") or re.match(r"[a-z][a-z0-9+.-]*:", savepoint):
        return savepoint  # as Flink takes it: a path on its machines, or a URL
    if savepoint != LATEST:
        return _local_savepoint(project, savepoint)
    found = latest(project, settings)
    if found is None:
        raise PenstockError(
            f"no latest savepoint of {project.name} is recorded",
            where=str(_latest_savepoint_file(project, settings)),
            next=f"penstock job start {project.reference} --from-savepoint PATH, or --empty",
        )
    return found


def _local_savepoint(project: Project, savepoint: str) -> str:
    """The absolute path of a folder that the user named from where he is, as Flink runs somewhere else."""
    path = Path(savepoint).resolve()
    if not path.is_dir():
        raise PenstockError(
            f"there is no savepoint {savepoint}",
            where=str(path),
            safe="no job was started",
            next=f"penstock job start {project.reference} --from-savepoint PATH, "
            "with the path or URL that `penstock job stop` printed, or with latest",
        )
    return str(path)


def _latest_savepoint_file(project: Project, settings: Settings) -> Path:
    """The file with the path of the last savepoint, and the options of its job, until a job goes beyond it."""
    return settings.flink.state / "latest-savepoints" / project.name


def _used_savepoint_file(project: Project, settings: Settings) -> Path:
    """The same file afterwards."""
    return _latest_savepoint_file(project, settings).with_name(f"{project.name}.used")


def await_running(flink: Flink, job_id: str, project: Project, settings: Settings, command: str) -> Job:
    """Wait until all tasks of a job run; ``command`` starts it, for messages.

    Raises:
        PenstockError: if it does not run after two minutes, or keeps restarting; see :func:`start`.
    """
    deadline = time.monotonic() + _RUNNING_TIMEOUT_S
    while True:
        job = flink.with_details(flink.job(job_id))
        if job.state == "RUNNING" and job.tasks_running == job.tasks:
            return job
        deleted = deleted_error(job, settings, command) if job.restarts else None
        if deleted is not None:
            cancel(project, settings)
            raise deleted
        if not job.is_active or time.monotonic() > deadline or job.restarts > 2:
            raise PenstockError(
                f"job {job.name} did not start: it is {job.state}, {job.tasks_running} of {job.tasks} tasks are running"
                + (f"; {job.failure}" if job.failure else ""),
                where=f"{flink.url}, job {job_id}",
                next=f"penstock job status {project.reference}; penstock logs taskmanager",
            )
        time.sleep(0.2)
