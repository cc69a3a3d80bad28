"""Upgrade or rescale a running job: ``penstock job upgrade | rescale``.

Both stop the job with a savepoint and start the new one from it. All checks that can run beforehand run while the old
job still runs. If the new job does not start nevertheless, nothing is lost: events wait in the raw topic, and the error
names the command that continues.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ValidationError

from penstock.errors import PenstockError
from penstock.settings import Settings
from schemas.committed import record_file
from streams.flink import lifecycle
from streams.flink.rest import Flink, Job
from streams.flink.submission import DESCRIPTION, Description, Options
from streams.flink.submit import description_of, rehearse
from streams.plan.project import Project


@dataclass(frozen=True)
class JobChange:
    """The result of an upgrade or a rescale.

    Args:
        job: The new job.
        savepoint: The savepoint that it started from.
        options: Its options.
        added: Views (``name@version``) that began empty.
        removed: Views whose state was dropped.
    """

    job: Job
    savepoint: str
    options: Options
    added: tuple[str, ...]
    removed: tuple[str, ...]


def upgrade(project: Project, settings: Settings) -> JobChange:
    """Replace the running job by one of the current definitions and the current release, with the same options.

    Views that mean the same go on where they were, new ones begin empty, the state of those that are gone is dropped.

    Raises:
        PenstockError: if no job runs, a view changed under an old version, records of the job could not be read any
            more afterwards, or the new job would not start: the job runs on then. If the new job does not come up, it
            is stopped, and the error has the command with which to go on.
    """
    with Flink(settings.flink.rest) as flink:
        before, running = _running(flink, project)
    wanted = description_of(project, running.options)
    _require_same_meaning(running, wanted, project)
    _require_readable(running, wanted, project)
    return _replace_job(project, settings, before, running, wanted)


def rescale(project: Project, settings: Settings, parallelism: int) -> JobChange:
    """Give the running job ``parallelism`` tasks per operator; everything else stays as it is.

    Raises:
        PenstockError: if no job runs, its definitions are not the current ones, or Flink has too few slots: the job
            runs on then. Else as :func:`upgrade`.
    """
    with Flink(settings.flink.rest) as flink:
        before, running = _running(flink, project)
        slots = flink.slots(before.id)
    options = running.options.model_copy(update={"parallelism": parallelism})
    wanted = description_of(project, options)
    if running.plan != wanted.plan:
        raise PenstockError(
            "the definitions are not those of the running job",
            where=f"{settings.flink.rest}, job {before.id}",
            safe="the job runs on as it was",
            next=f"penstock job upgrade {project.reference}, then this again",
        )
    if parallelism > slots:
        raise PenstockError(
            f"Flink has {slots} slots for this job, not {parallelism}",
            where=settings.flink.rest,
            safe="the job runs on as it was",
            next="start more TaskManagers, or choose a lower parallelism",
        )
    return _replace_job(project, settings, before, running, wanted)


def _running(flink: Flink, project: Project) -> tuple[Job, Description]:
    """The running job and its description."""
    job = lifecycle.require_running(flink, project)
    if job.state != "RUNNING" or job.tasks_running < job.tasks:
        raise PenstockError(
            f"job {job.name} is {job.state}, {job.tasks_running} of {job.tasks} tasks run: it cannot save its state",
            where=f"{flink.url}, job {job.id}",
            safe="nothing was changed",
            next=f"penstock job status {project.reference}",
        )
    try:
        return job, Description.model_validate_json(flink.parameters(job.id).get(DESCRIPTION, ""))
    except ValidationError as error:
        raise PenstockError(
            "the job does not say how it was started: another release submitted it",
            where=f"{flink.url}, job {job.id}",
            safe="the job runs on",
            next=f"penstock job stop {project.reference}, then "
            f"penstock job start {project.reference} --from-savepoint latest",
        ) from error


def _require_same_meaning(running: Description, wanted: Description, project: Project) -> None:
    """Refuse views that changed under the same version: definitions that are not committed can change unnoticed."""
    for view, meaning in wanted.views.items():
        if running.views.get(view, meaning) != meaning:
            name, _, version = view.partition("@")
            raise PenstockError(
                f"view {view} is not what the running job computes under that version",
                where=f"pipeline {project.name}",
                safe="the job runs on as it was",
                next=f"give View(name={name!r}) version={int(version) + 1}, then this again",
            )


def _require_readable(running: Description, wanted: Description, project: Project) -> None:
    """Refuse uncommitted record schemas: readers look up the schema of a record among the committed ones only."""
    if running.form == wanted.form:
        return
    for form, whose in ((running.form, "the running job"), (wanted.form, "the present definitions")):
        file = record_file(project.plan.features_topic, form, project.schemas)
        if not file.is_file():
            raise PenstockError(
                f"the form that records of {whose} have is not committed: no reader could tell what they hold",
                where=str(file),
                safe="the job runs on as it was",
                next=f"with the definitions of {whose}: penstock schemas export {project.reference}",
            )


def _replace_job(
    project: Project, settings: Settings, before: Job, running: Description, wanted: Description
) -> JobChange:
    options = wanted.options
    lifecycle.require_ready(project, settings)
    rehearse(project, settings, options, name=before.name, group=lifecycle.job_group(project))
    drops_state = not set(running.entities) <= set(wanted.entities)
    savepoint = lifecycle.stop(project, settings)
    try:
        job = lifecycle.start(project, settings, savepoint=savepoint, drops_state=drops_state, **options.model_dump())
    except PenstockError as error:
        # A job that keeps restarting would block the next start.
        lifecycle.end(project, settings)
        drop = " --drop-state" if drops_state else ""
        start = f"penstock job start {project.reference} --from-savepoint {savepoint}"
        raise PenstockError(
            f"the job was stopped, and the new one does not run: {error.what}",
            where=error.where,
            safe=f"nothing is lost: its state is in {savepoint}, and events wait in their topic",
            next=f"mend it, then {start}{drop}{options.arguments()}; "
            f"or with the former definitions and release: {start}{running.options.arguments()}",
        ) from error
    return JobChange(
        job=job,
        savepoint=savepoint,
        options=options,
        added=tuple(view for view in wanted.views if view not in running.views),
        removed=tuple(view for view in running.views if view not in wanted.views),
    )
