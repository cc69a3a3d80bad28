"""``penstock retrain``: carries out trainings that were proposed."""

from __future__ import annotations

import hashlib
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
import yaml

from backfill.resumable import exclusive_lock
from backfill.run import BackfillRequest, plan_backfill
from loop.entries import Entry, Opened, Outcome, Proposed, Signal, Step, Stepped
from loop.incidents import SCHEDULED, incidents_of
from loop.proposals import is_ended, open_proposals, undecided_proposals
from loop.retraining import STEPS, Training, carry_out
from loop.store import extend, read_entries
from loop.watch import alarms_in
from penstock.commands.errors import pipeline_argument
from penstock.commands.exit_codes import ExitCode
from penstock.commands.model.check import gates_option, limits_in
from penstock.commands.options import EventTime, source_option
from penstock.commands.rollout.signing import signed_options
from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from penstock.kafka.reading import read_topic
from penstock.settings import Settings
from scoring.repository import ModelRepository
from scoring.rollout.policy_log import PolicyChange
from scoring.rollout.policy_store import read_followed
from streams.plan.project import Project, open_project

_CAUSES = ["concept-drift", "covariate-shift", "calibration", "scheduled"]


@click.group()
def retrain() -> None:
    """Train a model anew where an incident proposes it: backfill, training, gates, and a rollout that begins in shadow.

    One id runs through all of it: that of the proposal. `penstock audit` tells the whole story.
    """


@retrain.command("list")
@pipeline_argument
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
def list_command(pipeline: str, *, as_json: bool) -> None:
    """List the trainings that were proposed, and what came of them."""
    project = open_project(pipeline)
    entries = read_entries(Settings().kafka.access, project.pipeline)
    states = {one.proposal: "open" for one in open_proposals(entries)}
    states |= {one.proposal: "undecided" for one in undecided_proposals(entries)}
    rows: list[dict[str, Any]] = []
    for incident in incidents_of(entries).values():
        for one in incident.proposals:
            steps = {step.step: step.outcome for step in incident.steps if step.proposal == one.proposal}
            state = states.get(one.proposal, "ended" if is_ended(incident, one.proposal) else "closed")
            rows.append({**one.model_dump(exclude={"kind"}), "state": state, "steps": steps})
    if as_json:
        click.echo(json.dumps(rows))
        return
    for row in rows:
        done = ", ".join(f"{step} {outcome}" for step, outcome in row["steps"].items()) or "nothing done yet"
        click.echo(f"{row['proposal']}  {row['state']:<9}  {row['cause']}, {row['action']}: {done}")
    if not rows:
        click.echo("no training was proposed")


@retrain.command()
@pipeline_argument
@click.option("--from", "from_ms", type=EventTime(), required=True, help="Train on events from this event time on.")
@click.option(
    "--to", "to_ms", type=EventTime(), required=True, help="Train and judge on events before this event time."
)
@source_option
@signed_options("it stays in the log for ever")
def propose(pipeline: str, from_ms: int, to_ms: int, archive: str | None, reason: str, author: str) -> None:
    """Propose a training without an incident, as a schedule does; the same period with the same reason once.

    The events of the period must be there: in Kafka, or with --source in an archive.
    """
    if from_ms >= to_ms:
        raise click.UsageError("--from is not before --to")
    project, settings = open_project(pipeline), Settings()
    now_ms = time.time_ns() // 1_000_000
    version = str(_champion(project, settings))
    name = hashlib.sha256(f"{from_ms} {to_ms} {reason}".encode()).hexdigest()[:8]
    signal = Signal(
        id=f"{SCHEDULED}{name}",
        what="schedule",
        text=f"{reason} (by {author})",
        event_time_ms=to_ms,
        place="",
        model_version=version,
    )
    proposed = Proposed(
        incident=f"inc-{name}",
        time_ms=now_ms,
        proposal=f"ret-{name}",
        cause="scheduled",
        action="retrain",
        from_ms=from_ms,
        to_ms=to_ms,
        model_version=version,
    )

    def decide(log: Sequence[Entry]) -> list[Entry]:
        if proposed.incident in incidents_of(log):
            return []
        if open_ones := open_proposals(log):
            raise PenstockError(
                f"{open_ones[0].proposal} is proposed already, and only one training is proposed at a time",
                where=project.pipeline.retrain_topic,
                safe="nothing was proposed",
                next=f"penstock retrain run PIPELINE --proposal {open_ones[0].proposal}; or close its incident: "
                f"penstock incidents close PIPELINE {open_ones[0].incident} --reason TEXT",
            )
        plan_backfill(project, settings, BackfillRequest(from_ms, to_ms, (), archive=archive))  # raises without events
        return [Opened(incident=proposed.incident, time_ms=now_ms, signals=(signal,)), proposed]

    extend(settings.kafka.access, project.pipeline, decide)
    click.echo(proposed.proposal)


@retrain.command()
@pipeline_argument
@click.option("--proposal", "name", metavar="ID", help="Which; by default the one that is open, if --auto allows it.")
@click.option(
    "--auto",
    "causes",
    multiple=True,
    type=click.Choice(_CAUSES),
    help="Carry out what is open if this is its cause, without a person; may be given several times.",
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where its files go (default: retrain/NAME beside the model repository).",
)
@click.option(
    "--judged",
    type=click.FloatRange(0.05, 0.9),
    default=0.25,
    show_default=True,
    help="The share of the time since the first alarm, the latest, on whose events the gates judge the new version.",
)
@click.option(
    "--rollout",
    "template",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A YAML file whose `steps` the rollout takes (default: those of the pipeline).",
)
@source_option
@gates_option
@click.option("--dry-run", is_flag=True, help="Print the commands, and do nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end.")
def run(
    pipeline: str,
    name: str | None,
    causes: tuple[str, ...],
    folder: Path | None,
    judged: float,
    template: Path | None,
    archive: str | None,
    limits: Path | None,
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Carry out a training: backfill, training, gates, and a rollout, which the rollout controller moves on.

    What is done is not done again, so the command goes on where another one was killed. Without --proposal, one of
    which gates could not tell is tried again if no other one is open. Exits with 10 if a gate refuses the new version,
    with 11 if the gates cannot tell, and with 99 if there is nothing to do.
    """
    project, settings = open_project(pipeline), Settings()
    kafka = settings.kafka.access
    entries = read_entries(kafka, project.pipeline)
    proposal = _choose(entries, name, causes)
    incident = None if proposal is None else incidents_of(entries)[proposal.incident]
    if proposal is None or incident is None or not incident.is_open or is_ended(incident, proposal.proposal):
        text = "no training is open"
        if proposal is not None and incident is not None:
            text = f"{proposal.proposal} has ended" if incident.is_open else f"{incident.id} was closed"
        click.echo(json.dumps({"proposal": name, "outcome": "nothing"}) if as_json else f"{text}: nothing to do")
        sys.exit(ExitCode.NOTHING_TO_DO)
    root = folder or Path(settings.model_repository).parent / "retrain" / project.pipeline.name
    training = Training(
        project=project,
        proposal=proposal,
        folder=root / proposal.proposal,
        repository=ModelRepository(settings.model_repository),
        champion=_champion(project, settings),
        since_ms=proposal.from_ms if incident.is_scheduled else incident.first_ms,
        judged=judged,
        steps=None if template is None else _steps_in(template),
        limits=limits_in(limits),
        # Alarms that a scheduled training does not answer stay open.
        alarms=tuple if incident.is_scheduled else partial(_alarms_about, kafka, project, proposal.model_version),
        source=archive,
    )
    if dry_run:
        for step in STEPS:
            click.echo(shlex.join(["penstock", *training.command(step)]))
        return

    def tell(step: Step, outcome: Outcome, detail: str) -> None:
        click.echo(f"{step} {outcome}: {detail}", err=True)
        stepped = Stepped(
            incident=proposal.incident,
            time_ms=time.time_ns() // 1_000_000,
            proposal=proposal.proposal,
            step=step,
            outcome=outcome,
            detail=detail,
        )
        extend(kafka, project.pipeline, lambda log: [] if _is_told(log, stepped) else [stepped])

    def require_wanted() -> None:
        if not incidents_of(read_entries(kafka, project.pipeline))[proposal.incident].is_open:
            raise PenstockError(
                f"{proposal.incident} was closed meanwhile, so {proposal.proposal} is not tried",
                safe="the version stays in the repository; the model that serves is as it was",
                next=f"penstock incidents show PIPELINE {proposal.incident}",
            )
        _require_no_other_rollout(read_followed(kafka, project.pipeline), proposal)

    training.folder.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(training.folder):
        outcome = carry_out(training, incident, _run, tell, require_wanted)
    version = training.version()
    if as_json:
        click.echo(json.dumps({"proposal": proposal.proposal, "outcome": outcome, "version": version}))
    else:
        click.echo(f"{proposal.proposal}: version {version} {_RESULTS[outcome].format(proposal.proposal)}")
    if outcome == "refused":
        sys.exit(ExitCode.REFUSED)
    if outcome == "undecided":
        sys.exit(ExitCode.INCONCLUSIVE)


_RESULTS = {
    "done": "begins in shadow: penstock rollout show PIPELINE",
    "refused": "is refused by a gate",
    "undecided": "is not tried: some gate cannot tell, and the report above says which; when more labels are final: "
    "penstock retrain run PIPELINE --proposal {}",
}


def _choose(entries: Sequence[Entry], name: str | None, causes: Sequence[str]) -> Proposed | None:
    proposals = [one for incident in incidents_of(entries).values() for one in incident.proposals]
    if name is not None:
        found = next((one for one in proposals if one.proposal == name), None)
        if found is None:
            known = ", ".join(one.proposal for one in proposals) or "none"
            raise PenstockError(
                f"there is no proposal {name}; there are: {known}", next="penstock retrain list PIPELINE"
            )
        return found
    found = next(iter([*open_proposals(entries), *reversed(undecided_proposals(entries))]), None)
    if found is not None and found.cause not in causes:
        raise PenstockError(
            f"{found.proposal} is open because of {found.cause}, which --auto does not name",
            safe="nothing was trained",
            next=f"penstock retrain run PIPELINE --proposal {found.proposal}",
        )
    return found


def _alarms_about(kafka: KafkaAccess, project: Project, version: str) -> list[str]:
    """The ids of all alarms about a version: they go on while another one is trained."""
    if project.pipeline.monitors is None:
        return []
    return [
        one.id for one in alarms_in(read_topic(kafka, project.pipeline.drift_topic)) if one.model_version == version
    ]


def _champion(project: Project, settings: Settings) -> int:
    """The version that serves: by the policy, or without one, as the repository is configured."""
    change = read_followed(settings.kafka.access, project.pipeline)
    if change is not None:
        return change.policy.policy.champion.version
    return ModelRepository(settings.model_repository).current(project.pipeline.model.name)


def _require_no_other_rollout(present: PolicyChange | None, proposal: Proposed) -> None:
    """Check that the rollout replaces no other one that is being tried.

    Raises:
        PenstockError: if it does.
    """
    if present is None or present.status == "ended" or present.policy.policy.salt == proposal.proposal:
        return
    raise PenstockError(
        f"another rollout is {present.status}, under policy {present.policy.version}, which this one would replace",
        safe="the version has passed the gates, and stays in the repository; the model that serves is as it was",
        next="penstock rollout show PIPELINE; when it has ended: penstock retrain run PIPELINE --proposal "
        f"{proposal.proposal}, which goes on with this step",
    )


def _steps_in(file: Path) -> list[object]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise PenstockError(f"the file is no YAML: {error}", where=str(file)) from error
    steps = content.get("steps") if isinstance(content, dict) else None
    if not isinstance(steps, list) or not steps:
        raise PenstockError(
            "the file has no list of steps",
            where=str(file),
            next="steps: [{weight: 0, least_events: 10000, least_time: 1h, most_time: 7d}, ...]",
        )
    return steps


def _is_told(log: Sequence[Entry], stepped: Stepped) -> bool:
    """Whether the last that the log says of the proposal is the same; failures are told each time."""
    said = [one for one in log if isinstance(one, Stepped) and one.proposal == stepped.proposal]
    if not said or stepped.outcome == "failed":
        return False
    return said[-1] == stepped.model_copy(update={"time_ms": said[-1].time_ms})


def _run(arguments: Sequence[str]) -> int:
    """Run a command of Penstock as a process of its own; what it prints goes to standard error."""
    click.echo(click.style(f"$ {shlex.join(['penstock', *arguments])}", dim=True), err=True)
    return subprocess.run([sys.executable, "-m", "penstock", *arguments], stdout=sys.stderr, check=False).returncode
