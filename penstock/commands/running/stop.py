"""``penstock stop``: stops everything of a pipeline that ``penstock run`` has started."""

from __future__ import annotations

import signal

import click

from penstock.commands.errors import pipeline_argument
from penstock.commands.running.looking import told_of_others
from penstock.counts import counted
from penstock.errors import PenstockError
from penstock.running.parts import FEATURES
from penstock.running.record import PartRecord, RunFolder
from penstock.running.session import end_leftovers
from penstock.running.signalling import send
from penstock.settings import Settings
from streams.flink import lifecycle
from streams.plan.project import Project, open_project

# The longest of all parts: a savepoint of much state, then the scorer and the sinks.
_WAIT_S = 600.0


@click.command()
@pipeline_argument
def stop(pipeline: str) -> None:
    """Stop everything of PIPELINE that `penstock run` runs, in order; the feature job with a savepoint.

    Does nothing if nothing runs. Also ends what a killed supervisor has left.
    """
    project = open_project(pipeline)
    folder = RunFolder.of(project.name)
    record, was_held = folder.read(), folder.is_held
    if was_held:
        if record is None or not send(record, signal.SIGTERM):
            raise PenstockError(
                "the run has begun or ends at this moment",
                where=str(folder.path),
                safe="nothing was changed",
                next=f"penstock stop {pipeline}, again",
            )
        click.echo(f"stopping pid {record.pid}")
        if not folder.await_end(_WAIT_S):
            raise PenstockError(
                f"it has not stopped within {_WAIT_S:.0f} s", where=str(folder.path), next=f"penstock logs {pipeline}"
            )
        record = folder.read()
    if left := end_leftovers(folder):
        click.echo(f"ended {counted(len(left), 'process', 'processes')} that a killed supervisor had left")
    parts = () if record is None else record.parts
    # Of a part that was killed, the reason stays.
    unsure = [part.name for part in parts if part.state != "stopped" or part.reason is not None]
    if not was_held and not left and not unsure:
        for line in ("nothing to stop", *told_of_others(project.name)):
            click.echo(line)
        return
    if FEATURES in unsure:
        _require_no_job(project)
    if record is not None:
        folder.write(record.model_copy(update={"parts": tuple(map(_as_stopped, parts))}))
    click.echo("stopped")


def _require_no_job(project: Project) -> None:
    """Check what has become of the feature job, as the process that kept it going did not stop as it should.

    Raises:
        PenstockError: if it runs, or nobody can tell, as the stack's folder was deleted.
    """
    try:
        settings = Settings()
    except PenstockError as error:
        raise PenstockError(
            f"everything has stopped here; whether the feature job has, too, cannot be asked: {error.what}",
            where=error.where,
            safe="everything that was committed to Kafka",
            next=f"if Flink still runs: PENSTOCK_FLINK_REST=http://HOST:PORT penstock job stop {project.reference}",
        ) from error
    job = lifecycle.status(project, settings)
    if job is not None and job.is_active:
        raise PenstockError(
            f"the feature job is still {job.state.lower()}",
            where=f"job {job.id}",
            safe="nothing else of the pipeline runs here",
            next=f"penstock job stop {project.reference}",
        )


def _as_stopped(part: PartRecord) -> PartRecord:
    return part.model_copy(update={"state": "stopped", "pid": None, "reason": None, "next": None, "ready": False})
