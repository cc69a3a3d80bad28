"""Rollouts in the demo: under live traffic, candidates are tried, and the controller decides on them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from examples.demo.command_runner import CommandRunner
from examples.demo.output_readers import PredictionReader
from examples.demo.rollout_readers import Guardrail, GuardrailReader, PolicyReader
from examples.demo.rollout_record import Change, Look, Outcome, Rollouts, Trial, changes_of, limit, looks_of, trial_of
from examples.demo.screen import ScreenState, ShownRollout
from examples.messages import Message
from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from scoring.rollout.policy_files import read_policy
from scoring.rollout.policy_log import PolicyChange
from scoring.rollout.policy_store import read_log
from streams.definitions.pipeline import Pipeline

_AUTHOR = "penstock demo"


@dataclass(frozen=True)
class Candidate:
    """A version that is rolled out.

    Args:
        about: What it is, in words.
        file: The policy of its rollout.
        outcome: How its rollout must end.
        reason: Why it is rolled out, for the log.
        training: Further options of ``penstock model train``.
        most_s: The longest time that it may take.
    """

    about: str
    file: Path
    outcome: Outcome
    reason: str = ""
    training: tuple[str, ...] = ()
    most_s: float = 120.0


@dataclass(frozen=True)
class Traffic:
    """The messages that go on meanwhile, and how many of them per second: more while a candidate is in shadow."""

    messages: Iterator[Message]
    shadow_per_second: float
    live_per_second: float


class Stage(Protocol):
    """What the act needs of the demo."""

    def begin(self, phase: str, text: str) -> None: ...  # noqa: D102
    def step(self, text: str) -> None: ...  # noqa: D102
    def call(self, *command: str, code: int = 0) -> None: ...  # noqa: D102
    def produce(self, messages: Iterator[Message], per_second: float | None) -> None: ...  # noqa: D102


class RolloutAct:
    """Rolls candidates out, one after another; call :meth:`measure` several times a second meanwhile.

    Args:
        pipeline: The pipeline.
        kafka: How to reach Kafka.
        predictions: Counts what was served.
        stage: The demo.
        metrics_port: Where the controller serves its metrics.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        kafka: KafkaAccess,
        predictions: PredictionReader,
        stage: Stage,
        metrics_port: int,
    ) -> None:
        self._candidates: list[Candidate] = []
        self._pipeline = pipeline
        self._kafka = kafka
        self._predictions = predictions
        self._stage = stage
        self._metrics_port = metrics_port
        self._policy = PolicyReader(kafka, pipeline)
        self._guardrails = GuardrailReader(f"http://127.0.0.1:{metrics_port}/metrics")
        self._said: dict[str, Guardrail] = {}
        self._looks: list[Look] = []

    def start(self, commands: CommandRunner) -> None:
        """Start the controller; ``commands`` keeps it running."""
        port = str(self._metrics_port)
        commands.start("controller", "rollout", "controller", "run", self._pipeline.name, "--metrics-port", port)

    def roll_out(self, candidate: Candidate, traffic: Traffic) -> None:
        """Apply a candidate's policy, and :meth:`follow` its rollout."""
        why = ("--reason", candidate.reason, "--author", _AUTHOR)
        self._stage.call("rollout", "apply", self._pipeline.name, "-f", str(candidate.file), *why)
        self.follow(candidate, traffic)

    def follow(self, candidate: Candidate, traffic: Traffic) -> None:
        """Let traffic go on until a rollout that was applied has ended.

        Raises:
            PenstockError: if it ends otherwise than it must, or takes too long.
        """
        self._candidates.append(candidate)
        until = time.monotonic() + candidate.most_s
        # In shadow, a rollout waits for labels of frauds, which are rare. After that, it waits for time to pass.
        for goal, per_second in (("served", traffic.shadow_per_second), ("ended", traffic.live_per_second)):
            self._stage.produce(self._until(goal, candidate, traffic.messages, until), per_second)
        self._check_outcome(candidate)

    def measure(self, now: float, state: ScreenState) -> None:
        """Read what has changed, and show it. ``now`` is in seconds of the monotonic clock."""
        before = self._policy.present
        self._policy.poll()
        present = self._policy.present
        if present is None:
            return
        if present != before:
            self._said = {}
            self._stage.step(_in_words(present))
        candidates = present.policy.policy.candidates
        if candidates:
            self._look(candidates[0].version, present.step, now)
        weights = present.policy.weights
        state.rollout = ShownRollout(
            present.status,
            {f"{arm.name} (version {arm.version})": weights[arm.name] for arm in present.policy.policy.arms},
            present.reason,
            {name: said.verdict for name, said in self._said.items()} if candidates else {},
        )

    def record(self, began: float, began_ms: int) -> Rollouts:
        """All that has happened; the run began at ``began`` (seconds, monotonic), which is ``began_ms`` (epoch ms)."""
        changes = changes_of(read_log(self._kafka, self._pipeline), began_ms, self._pipeline.source.partitions)
        trials = [self._trial(changes, candidate) for candidate in self._candidates]
        looks = [look.model_copy(update={"at_s": round(look.at_s - began, 3)}) for look in self._looks]
        looks = sorted([*looks, *looks_of(changes)], key=lambda look: look.at_s)
        return Rollouts(trials=tuple(filter(None, trials)), changes=changes, looks=tuple(looks))

    def close(self) -> None:
        """Disconnect."""
        self._policy.close()
        self._guardrails.close()

    def _trial(self, changes: tuple[Change, ...], candidate: Candidate) -> Trial | None:
        predictions = self._predictions
        return trial_of(
            changes, read_policy(candidate.file).salt, candidate.about, predictions.under, predictions.entities
        )

    def _look(self, version: int, step: int, now: float) -> None:
        """Read what the guardrails say, and keep what is new."""
        found = self._guardrails.read(step)
        for name, said in found.items():
            if self._said.get(name) != said:
                self._looks.append(
                    Look(
                        at_s=now,
                        version=version,
                        guardrail=name,
                        verdict=said.verdict,
                        low=said.low,
                        high=limit(said.high),
                        least=said.least,
                        most=limit(said.most),
                    )
                )
        self._said = found or self._said

    def _until(self, goal: str, candidate: Candidate, messages: Iterator[Message], until: float) -> Iterator[Message]:
        """Messages until the candidate is ``served``, or until its rollout has ``ended`` and all partitions follow."""
        salt = read_policy(candidate.file).salt
        while not self._is_reached(goal, salt):
            present = self._policy.present
            if present is not None and present.policy.policy.salt == salt and present.status == "paused":
                raise self._failed(candidate, f"was paused: {present.reason}")
            if time.monotonic() > until:
                waits = ", ".join(f"{name} {said.verdict}" for name, said in self._said.items())
                raise self._failed(candidate, f"has not ended within {candidate.most_s:.0f} s ({waits})")
            yield next(messages)

    def _is_reached(self, goal: str, salt: str) -> bool:
        present = self._policy.present
        if present is None or present.policy.policy.salt != salt:
            return False
        if present.status == "ended":
            return goal == "served" or self._policy.is_followed
        return goal == "served" and not present.policy.shadows

    def _check_outcome(self, candidate: Candidate) -> None:
        present = self._policy.present
        assert present is not None
        version = read_policy(candidate.file).candidates[0].version
        outcome = "promoted" if present.policy.policy.champion.version == version else "rolled back"
        if outcome != candidate.outcome:
            raise self._failed(candidate, f"was {outcome}, and not {candidate.outcome}: {present.reason}")

    def _failed(self, candidate: Candidate, what: str) -> PenstockError:
        return PenstockError(
            f"the rollout of {candidate.about} {what}",
            where=str(candidate.file),
            next=f"run the demo with --keep, then `penstock rollout history {self._pipeline.name} --evidence`",
        )


def _in_words(change: PolicyChange) -> str:
    policy, weights = change.policy.policy, change.policy.weights
    if not policy.candidates:
        return f"version {policy.champion.version} scores all"
    candidate = policy.candidates[0]
    share = f"scores {weights[candidate.name] * 100:.3g} %" if weights[candidate.name] else "in shadow"
    return f"version {candidate.version} {share}{', paused' if change.status == 'paused' else ''}"
