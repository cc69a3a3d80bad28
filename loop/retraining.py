"""Carries a proposed training out: backfill, training, gates, and a rollout that begins in shadow.

Each step is a command that a person could type. It is done once: the log of incidents has what is done, a version says
which proposal it answers, and applying a policy that is applied already does nothing. So a training that was killed
goes on where it was. What was done is done again if what it made is gone: features, or a version, whose successor must
pass the gates itself.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from loop.entries import Outcome, Proposed, Step, Stepped
from loop.incidents import Incident
from penstock.errors import PenstockError
from penstock.time import iso
from scoring.gates.gates import Limits
from scoring.repository import ModelRepository
from streams.definitions.windows import duration_text
from streams.plan.project import Project

Run = Callable[[Sequence[str]], int]
"""Runs ``penstock`` with arguments; returns its exit code."""

AUTHOR = "penstock retrain"
_NOTHING_TO_DO = 99  # the exit code of commands that were done before
_GATES: Mapping[int, tuple[Outcome, str]] = {
    10: ("refused", "a gate refuses it"),
    11: ("undecided", "some gate cannot tell: the report says which"),
}


@dataclass(frozen=True)
class Training:
    """What is to be carried out, and where.

    Args:
        project: The pipeline.
        proposal: The proposal.
        folder: Where its files go.
        repository: Has the versions.
        champion: The version that serves now.
        since_ms: The event time of the incident's first alarm, or at which the period of a scheduled training begins.
        judged: The share of the time since then, the latest, on whose events the gates judge the new version.
        steps: The steps of the rollout, as a policy has them; None for those that the pipeline declares.
        limits: What the gates hold the new version to.
        source: The folder or URL of an archive that has what Kafka has deleted, or None.
        alarms: Gives the ids of all alarms about the version to replace, when gates are to judge.
    """

    project: Project
    proposal: Proposed
    folder: Path
    repository: ModelRepository
    champion: int
    since_ms: int
    judged: float = 0.25
    steps: Sequence[object] | None = None
    limits: Limits = field(default_factory=Limits)
    source: str | None = None
    alarms: Callable[[], Iterable[str]] = tuple

    @property
    def backfill(self) -> Path:
        """The folder of the features."""
        return self.folder / "backfill"

    @property
    def policy(self) -> Path:
        """The file of the rollout's policy."""
        return self.folder / "rollout.yaml"

    @property
    def until_ms(self) -> int:
        """The time at which labels are known that the new version is trained on.

        Of the events whose labels are final at the end of the period, those that become final until then are for
        training, and the later ones for the gates.
        """
        end = self.proposal.to_ms - self._horizon_ms
        return end - int((end - self.since_ms) * self.judged) + self._horizon_ms

    def require_final_labels(self) -> None:
        """Check that labels of events since the first alarm are final at the end of the period.

        Raises:
            PenstockError: if they are not.
        """
        end = self.proposal.to_ms
        if self.since_ms + self._horizon_ms >= end:
            raise PenstockError(
                f"no label of events since {iso(self.since_ms)} is final at the end of the period: labels are "
                f"{duration_text(self._horizon_ms)} after their events",
                where=f"{self.proposal.proposal}, {iso(self.proposal.from_ms)} to {iso(end)}",
                safe="the model that serves is as it was",
                next="penstock retrain propose PIPELINE --from TIME --to TIME --reason TEXT, with a longer period",
            )

    @property
    def _horizon_ms(self) -> int:
        labels = self.project.pipeline.labels
        return 0 if labels is None else labels.horizon or 0

    @property
    def gates(self) -> Path:
        """The file of gates that the version is held against."""
        return self.folder / "gates.toml"

    def version(self) -> int | None:
        """The version that answers the proposal; None if there is none yet."""
        made = self._answer()
        return None if made is None else made[0]

    def done(self, steps: Iterable[Stepped]) -> set[Step]:
        """The steps that are done, and need not be done again; ``steps`` has those of the incident."""
        made = self._answer()
        found: set[Step] = set()
        for one in steps:
            if one.proposal != self.proposal.proposal or one.outcome != "done":
                continue
            # A version may have been deleted since, and another one made; or another one may have become the champion.
            if one.step in ("gates", "rollout") and (made is None or one.time_ms < made[1]):
                continue
            if one.step == "gates" and made is not None and one.detail != _passes(made[0], self.champion):
                continue
            found.add(one.step)
        found = found - {"training"} if made is None else found | {"training"}
        if "gates" not in found and not self.backfill.is_dir():  # perhaps another machine has it
            found.discard("backfill")
        return found

    def _answer(self) -> tuple[int, int] | None:
        """The version that answers the proposal, and when its training began, epoch ms."""
        name = self.project.pipeline.model.name
        for version in reversed(self.repository.versions(name)):
            provenance = self.repository.manifest(name, version).provenance
            if provenance is not None and provenance.incident == self.proposal.proposal:
                return version, provenance.made_ms
        return None

    def command(self, step: Step) -> list[str]:
        """The command of a step, without ``penstock``."""
        reference, proposal = self.project.reference, self.proposal
        reason = f"{proposal.proposal}: {proposal.cause} of incident {proposal.incident}"
        backfill, version = str(self.backfill), str(self.version() or "N")
        source = [] if self.source is None else ["--source", self.source]
        match step:
            case "backfill":
                period = ["--from", iso(proposal.from_ms), "--to", iso(proposal.to_ms)]
                return ["backfill", "run", reference, *period, "--out", backfill, *source]
            case "training":
                until, signed = ["--until", iso(self.until_ms)], ["--author", AUTHOR, "--incident", proposal.proposal]
                return ["model", "train", reference, "--backfill", backfill, *until, *signed, *source]
            case "gates":
                against = ["--version", version, "--against", str(self.champion), "--gates", str(self.gates)]
                return ["model", "check", reference, "--backfill", backfill, *against, *source]
            case "rollout":
                signed = ["--author", AUTHOR, "--reason", reason]
                return ["rollout", "apply", reference, "-f", str(self.policy), *signed]

    def write_gates(self, incident: Incident) -> None:
        """Write the file of gates: the limits, and as closed the alarms that this training answers."""
        closed = dict.fromkeys((*self.limits.closed_alerts, *(one.id for one in incident.signals), *self.alarms()))
        limits = self.limits.model_copy(update={"closed_alerts": tuple(closed)})
        # Values are texts, numbers and lists of these, which JSON and TOML write alike.
        lines = [f"{name} = {json.dumps(value)}\n" for name, value in limits.model_dump(mode="json").items()]
        self.gates.write_text("".join(lines), encoding="utf-8")

    def write_policy(self, version: int) -> None:
        """Write the policy that tries the version: in shadow first, then on more and more entities."""
        policy: dict[str, object] = {
            "pipeline": self.project.pipeline.name,
            "mode": "canary",
            "salt": self.proposal.proposal,
            "arms": [
                {"name": "present", "version": self.champion, "role": "champion"},
                {"name": "retrained", "version": version},
            ],
        }
        if self.steps is not None:
            policy["steps"] = list(self.steps)
        self.policy.write_text(yaml.safe_dump(policy, sort_keys=False))


STEPS: tuple[Step, ...] = ("backfill", "training", "gates", "rollout")


def carry_out(
    training: Training,
    incident: Incident,
    run: Run,
    tell: Callable[[Step, Outcome, str], None],
    require_wanted: Callable[[], None] = lambda: None,
) -> Outcome:
    """Do the steps that are not done; returns how it ended.

    Args:
        training: What to carry out.
        incident: The incident, whose steps say what is done.
        run: Runs a command.
        tell: Is told of each step that ended: what it made, or why it failed.
        require_wanted: Called before the rollout, hours after the proposal perhaps; raises if it must not begin now.

    Raises:
        PenstockError: if a command fails, the rollout must not begin, or no label of the period is final. What is done
            stays done.
    """
    training.require_final_labels()
    training.folder.mkdir(parents=True, exist_ok=True)
    done = training.done(incident.steps)
    for step in STEPS:
        if step in done:
            continue
        if step == "rollout":
            require_wanted()
            training.write_policy(_require_version(training))
        if step == "gates":
            training.write_gates(incident)
        code = run(training.command(step))
        if step == "gates" and code in _GATES:
            outcome, why = _GATES[code]
            tell(step, outcome, f"version {_require_version(training)}: {why}")
            return outcome
        if code not in (0, _NOTHING_TO_DO):
            command = shlex.join(["penstock", *training.command(step)])
            tell(step, "failed", f"exit code {code}")
            raise PenstockError(
                f"the {step} of {training.proposal.proposal} failed with exit code {code}",
                where=command,
                safe="the steps before it; the model that serves is as it was",
                next=f"penstock retrain run {training.project.reference} --proposal {training.proposal.proposal}, "
                "which goes on with this step; or withdraw it: penstock incidents close "
                f"{training.project.reference} {incident.id} --reason TEXT",
            )
        tell(step, "done", _made(training, step))
    return "done"


def _made(training: Training, step: Step) -> str:
    match step:
        case "backfill":
            return str(training.backfill)
        case "training":
            return f"version {_require_version(training)}, trained until {iso(training.until_ms)}"
        case "gates":
            return _passes(_require_version(training), training.champion)
        case "rollout":
            return f"version {_require_version(training)} begins in shadow"


def _passes(version: int, champion: int) -> str:
    return f"version {version} passes against version {champion}"


def _require_version(training: Training) -> int:
    version = training.version()
    if version is None:
        raise PenstockError(
            f"no version answers {training.proposal.proposal}",
            where=f"model {training.project.pipeline.model.name}",
            safe="the model that serves is as it was",
            next=f"penstock retrain run {training.project.reference} --proposal {training.proposal.proposal}",
        )
    return version
