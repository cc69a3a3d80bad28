"""Upgrade or rescale a running job: ``penstock job upgrade | rescale``.

Both stop the job with a savepoint and start the new job from it. All possible checks run before the old job is stopped.
If the new job still does not start, nothing is lost: events wait in the raw topic, and the error names the command that
continues.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ValidationError

from penstock.errors import PenstockError
from penstock.settings import Settings
from schemas.committed import record_file
from schemas.compatibility import optional_changes
from streams.flink import lifecycle
from streams.flink.rest import Flink, Job
from streams.flink.submission import DESCRIPTION_PARAMETER, Description, Options
from streams.flink.submit import description_of, dry_run_job
from streams.plan.project import Project


@dataclass(frozen=True)
class ReplacedJob:
    """The result of an upgrade or a rescale.

    Args:
        job: The new job.
        savepoint: The savepoint that it started from.
        options: Its options.
        added: Views (``name@version``) that started empty.
        removed: Views whose state was dropped.
    """

    job: Job
    savepoint: str
    options: Options
    added: tuple[str, ...]
    removed: tuple[str, ...]


@dataclass(frozen=True)
class UpgradePlan:
    """What an upgrade would do, checked as far as it can be without a change.

    Args:
        job: The running job.
        running: Its description.
        target: The description of the new job.
    """

    job: Job
    running: Description
    target: Description

    @property
    def added(self) -> tuple[str, ...]:
        """Views (``name@version``) that the running job lacks: they would begin empty."""
        return tuple(view for view in self.target.views if view not in self.running.views)

    @property
    def removed(self) -> tuple[str, ...]:
        """Views that the new job would no longer have: their state would be dropped."""
        return tuple(view for view in self.running.views if view not in self.target.views)

    @property
    def drops_state(self) -> bool:
        """Whether the state of a whole entity is dropped."""
        return not set(self.running.entities) <= set(self.target.entities)


def plan_upgrade(project: Project, settings: Settings) -> UpgradePlan:
    """Say what an upgrade to the current definitions would do; changes nothing.

    Raises:
        PenstockError: if no job runs, a view changed under an old version, or a schema of feature records is not
            committed.
    """
    with Flink(settings.flink.rest) as flink:
        old_job, running = _running_job(flink, project)
    target = description_of(project, running.options)
    _require_unchanged_views(running, target, project)
    _require_committed_records(running, target, project)
    return UpgradePlan(old_job, running, target)


def upgrade(project: Project, settings: Settings) -> ReplacedJob:
    """Replace the running job by a job with the current definitions and release, and the same options.

    Unchanged views keep their state, new views start empty, and the state of removed views is dropped.

    Raises:
        PenstockError: as :func:`plan_upgrade`, or if the dry run of the new job fails: the old job keeps running then.
            Also if the new job does not start: it is cancelled, and the error names the command that continues.
    """
    return _replace_job(project, settings, plan_upgrade(project, settings))


def rescale(project: Project, settings: Settings, parallelism: int) -> ReplacedJob:
    """Replace the running job by one with ``parallelism`` tasks per operator and nothing else changed.

    Raises:
        PenstockError: if no job runs, its definitions are not the current ones, or Flink has too few slots: the job
            keeps running then. Otherwise as :func:`upgrade`.
    """
    with Flink(settings.flink.rest) as flink:
        old_job, running = _running_job(flink, project)
        slots = flink.available_slots(old_job.id)
    options = running.options.model_copy(update={"parallelism": parallelism})
    target = description_of(project, options)
    if running.plan != target.plan:
        raise PenstockError(
            "the current definitions are not those of the running job",
            where=f"{settings.flink.rest}, job {old_job.id}",
            safe="the job keeps running unchanged",
            next=f"penstock job upgrade {project.reference}, then repeat this command",
        )
    if parallelism > slots:
        raise PenstockError(
            f"Flink has {slots} slots for this job, not {parallelism}",
            where=settings.flink.rest,
            safe="the job keeps running unchanged",
            next="start more TaskManagers, or choose a lower parallelism",
        )
    return _replace_job(project, settings, UpgradePlan(old_job, running, target))


def _running_job(flink: Flink, project: Project) -> tuple[Job, Description]:
    """The running job and its description."""
    job = lifecycle.require_running(flink, project)
    if job.state != "RUNNING" or job.tasks_running < job.tasks:
        raise PenstockError(
            f"job {job.name} cannot write a savepoint: it is {job.state}, {job.tasks_running} of {job.tasks} tasks run",
            where=f"{flink.url}, job {job.id}",
            safe="nothing was changed",
            next=f"penstock job status {project.reference}",
        )
    try:
        return job, Description.model_validate_json(flink.parameters(job.id).get(DESCRIPTION_PARAMETER, ""))
    except ValidationError as error:
        raise PenstockError(
            "the job has no description that this release can read: another release submitted it",
            where=f"{flink.url}, job {job.id}",
            safe="the job keeps running",
            next=f"penstock job stop {project.reference}, then "
            f"penstock job start {project.reference} --from-savepoint latest",
        ) from error


def _require_unchanged_views(running: Description, target: Description, project: Project) -> None:
    """Refuse views that changed under the same version: no other check covers definitions that are not committed."""
    optional = next(optional_changes(running.optional, target.optional), None)
    for view, view_hash in target.views.items():
        running_hash = running.views.get(view)
        if running_hash is not None and (running_hash != view_hash or optional):
            name, _, version = view.partition("@")
            reason = f": {optional}" if running_hash == view_hash else ""
            raise PenstockError(
                f"view {view} differs from the running job's view of the same version{reason}",
                where=f"pipeline {project.name}",
                safe="the job keeps running unchanged",
                next=f"give View(name={name!r}) version={int(version) + 1}, then repeat this command",
            )


def _require_committed_records(running: Description, target: Description, project: Project) -> None:
    """Refuse record schemas that are not committed: readers find the schema of a record among the committed ones."""
    if running.form == target.form:
        return
    for fingerprint, owner, where in (
        (running.form, "the running job", "with the definitions that it runs: "),
        (target.form, "the current definitions", ""),
    ):
        file = record_file(project.plan.features_topic, fingerprint, project.schemas)
        if not file.is_file():
            raise PenstockError(
                f"the schema of the records of {owner} is not committed, so no reader could decode them",
                where=str(file),
                safe="the job keeps running unchanged",
                next=f"{where}penstock schemas export {project.reference}",
            )


def require_startable(project: Project, settings: Settings, options: Options) -> None:
    """Check what can be checked of a new job while the old one runs, its graph included.

    Raises:
        PenstockError: if it would not start.
    """
    limits = lifecycle.require_ready(project, settings)
    dry_run_job(
        project, settings, options, limits, name=lifecycle.job_name(project), group=lifecycle.job_group(project)
    )


def _replace_job(project: Project, settings: Settings, plan: UpgradePlan) -> ReplacedJob:
    running, options, drop_state = plan.running, plan.target.options, plan.drops_state
    require_startable(project, settings, options)
    savepoint = lifecycle.stop(project, settings)
    try:
        job = lifecycle.start(project, settings, savepoint=savepoint, drop_state=drop_state, **options.model_dump())
    except PenstockError as error:
        # Otherwise a job that keeps restarting would block the next start.
        lifecycle.cancel(project, settings)
        drop = " --drop-state" if drop_state else ""
        start = f"penstock job start {project.reference} --from-savepoint {savepoint}"
        raise PenstockError(
            f"the old job was stopped, and the new one did not start: {error.what}",
            where=error.where,
            safe=f"nothing is lost: the state is in {savepoint}, and events wait in their topic",
            next=f"fix the cause, then {start}{drop}{options.arguments()}; "
            f"or with the old definitions and release: {start}{running.options.arguments()}",
        ) from error
    return ReplacedJob(
        job=job,
        savepoint=savepoint,
        options=options,
        added=plan.added,
        removed=plan.removed,
    )
