"""One stack and one pipeline on which candidates are tried, one after the other, under traffic."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from penstock.kafka.reading import read_topic, starts_at
from penstock.paths import ROOT
from penstock.settings import Settings
from schemas.history import record_decoder
from scoring.repository import ModelRepository
from scoring.rollout.policy_log import Marker, PolicyChange
from scoring.rollout.policy_store import Logged, iterate_log, read_policy
from scoring.trained_model import TrainedModel
from streams.definitions.loading import load_pipeline
from tests.bench.rollout_trials.models import Candidate, linear
from tests.bench.rollout_trials.traffic import Traffic
from tests.bench.rollout_trials.world import INPUTS
from tests.scoring.scorer_bench import manifest_of, penstock

PARTITIONS = 4
_CHAMPION = 1
_POLL_S = 0.2
# How long a rollout may take; the steps pause long before.
_LONGEST_S = 120.0
_DEADLINE_MS = 1_000

DEFINITION = f"""
from typing import Annotated

from penstock import ENTITY, EVENT_ID, EVENT_TIME, Contract, Entity, Guardrail, Labels, Model, Pipeline, Rollout
from penstock import Source, View, count, sum_


class Pay(Contract, name="trial_pay", version=1):
    pay_id: Annotated[str, EVENT_ID]
    event_time: Annotated[int, EVENT_TIME]
    person: Annotated[str, ENTITY]
    amount: float
    region: int


class Known(Contract, name="trial_known", version=1):
    pay_id: Annotated[str, EVENT_ID]
    known_at: Annotated[int, EVENT_TIME]
    is_fraud: bool


person = Entity(name="person", key="person")
pipeline = Pipeline(
    name="trials",
    source=Source(topic="events.trials", contract=Pay, key="person", partitions={PARTITIONS}),
    entities=(person,),
    views=(View(name="activity", version=1, entity=person, aggregates=(count(over="1h"), sum_("amount", over="1h"))),),
    model=Model(
        name="trials",
        inputs={INPUTS!r},
        threshold=0.5,
        positive="block",
        negative="pass",
        groups=("event.region",),
    ),
    labels=Labels(topic="labels.trials", contract=Known, value="is_fraud"),
    # Shorter moments and wider bounds than the defaults, so that a rollout takes seconds: the machine may be busy.
    rollout=Rollout(
        together="50ms",
        guardrails=(
            Guardrail(measure="errors", absolute=(0, 0.05), awaited=True),
            Guardrail(measure="latency", relative=(0, 4)),
        ),
    ),
)
"""
_IN_SHADOW: dict[str, Any] = {"weight": 0, "least_events": 3000, "least_time": "3s", "most_time": "30s"}
_WITH_USERS: list[dict[str, Any]] = [
    {"weight": weight, "least_events": 200, "least_time": "2s", "most_time": "60s"} for weight in (0.25, 1)
]


@dataclass(frozen=True)
class Trial:
    """How a rollout went.

    Args:
        model: What is wrong with the candidate, or ``good`` and a number.
        begins: ``shadow`` or ``canary``.
        expected: ``promoted``, ``stopped`` or ``not promoted``.
        verdict: ``refused`` (before anything was served), ``rolled back``, ``paused`` or ``promoted``.
        reason: What the log says.
        events: How many predictions the candidate made, in shadow and for users.
        seconds_to_last_marker: From the first of them until the last partition had left the candidate; None if it was
            refused or not rolled back.
        decision_to_last_marker_s: The part of that after the controller had decided.
        users_touched: How many people it decided about, or would have if it had given a number.
        seconds: From the policy's publication to the verdict.
    """

    model: str
    begins: str
    expected: str
    verdict: str
    reason: str
    events: int
    seconds_to_last_marker: float | None
    decision_to_last_marker_s: float | None
    users_touched: int
    seconds: float

    @property
    def is_as_expected(self) -> bool:
        """Whether it ended as it must."""
        ends = {"promoted": ("promoted",), "stopped": ("refused", "rolled back")}
        return self.verdict in ends.get(self.expected, ("refused", "rolled back", "paused"))


class Town:
    """A pipeline of payments on a running stack, with a champion, a scorer, a controller, and traffic.

    Args:
        folder: For definitions, policies and logs.
        seed: Of the traffic.
        per_second: How many payments.
    """

    def __init__(self, folder: Path, seed: int, per_second: float) -> None:
        self._folder = folder
        self._reference = str(folder / "trials.py")
        Path(self._reference).write_text(DEFINITION, encoding="utf-8")
        self.pipeline = load_pipeline(self._reference)
        self._settings = Settings()
        self._repository = ModelRepository(self._settings.model_repository)
        self._number = 0
        self._call("topics", "create")
        self._traffic = Traffic(self.pipeline, self._settings, seed, per_second)
        self._add(linear())
        self._call("model", "load")

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Scorer, controller and traffic, for the duration of the block."""
        with (
            self._service("scorer", "scorer", "run", self._reference, "--deadline-ms", str(_DEADLINE_MS)),
            self._service("controller", "rollout", "controller", "run", self._reference),
            self._traffic.flowing(),
        ):
            yield

    def tried(self, candidate: Candidate) -> Trial:
        """Try a candidate until its rollout ends; afterwards the champion of before decides everything."""
        self._number += 1
        version = self._add(candidate.file)
        begin = time.time()
        refused = self._apply(version, candidate.begins)
        if refused is not None:
            return Trial(
                candidate.name, candidate.begins, candidate.expected, "refused", refused, 0, None, None, 0, 0.0
            )
        present = self._policy()
        applied, deadline = present, time.monotonic() + _LONGEST_S
        while present.status == "running" and time.monotonic() < deadline:
            time.sleep(_POLL_S)
            present = self._policy()
        took = time.time() - begin
        verdict = "not decided" if present.status == "running" else "paused"
        if present.status == "ended":
            verdict = "promoted" if present.policy.policy.champion.version == version else "rolled back"
        if verdict != "rolled back":
            self._call("rollout", "rollback", "--reason", "the next trial")
        ended = self._policy()
        self._wait_until_left(ended)
        made = self._predictions_of(version, applied.time_ms)
        left_ms = max(logged.time_ms for logged in self._markers_of(ended))
        is_rolled_back = verdict == "rolled back" and bool(made)
        return Trial(
            model=candidate.name,
            begins=candidate.begins,
            expected=candidate.expected,
            verdict=verdict,
            reason=present.reason,
            events=len(made),
            seconds_to_last_marker=(left_ms - min(at for at, _ in made)) / 1000 if is_rolled_back else None,
            decision_to_last_marker_s=(left_ms - ended.time_ms) / 1000 if is_rolled_back else None,
            users_touched=len({entity for _, entity in made if entity is not None}),
            seconds=round(took, 1),
        )

    def _add(self, file: bytes) -> int:
        manifest = manifest_of(self.pipeline)
        return self._repository.add(self.pipeline.model.name, TrainedModel(file, None, manifest))

    def _apply(self, version: int, begins: str) -> str | None:
        """Publish the policy that tries a version; returns why it was refused."""
        steps = [_IN_SHADOW, *_WITH_USERS] if begins == "shadow" else _WITH_USERS
        policy = {
            "pipeline": "trials",
            "mode": "canary",
            "salt": f"trials/{self._number}",
            "arms": [
                {"name": "present", "version": _CHAMPION, "role": "champion"},
                {"name": "candidate", "version": version},
            ],
            # In a canary without a step in shadow, too, the candidate is compared on the same events.
            "shadow": [] if begins == "shadow" else [version],
            "steps": steps,
        }
        file = self._folder / f"trial-{self._number}.yaml"
        file.write_text(yaml.safe_dump(policy), encoding="utf-8")
        done = self._run("rollout", "apply", "-f", str(file), "--reason", "a trial")
        return None if done.returncode == 0 else done.stderr.strip()

    def _policy(self) -> PolicyChange:
        found = read_policy(self._settings.kafka.access, self.pipeline)
        assert found is not None
        return found

    def _markers_of(self, change: PolicyChange) -> list[Logged]:
        """The first marker of a policy on each partition, after it was published last."""
        found: dict[int, Logged] = {}
        published_at = 0
        for logged in iterate_log(self._settings.kafka.access, self.pipeline):
            if isinstance(logged.entry, PolicyChange) and logged.entry == change:
                published_at = logged.offset
                found.clear()
            elif isinstance(logged.entry, Marker) and logged.entry.policy == change.policy.hash and published_at:
                found.setdefault(logged.entry.partition, logged)
        return list(found.values())

    def _wait_until_left(self, ended: PolicyChange) -> None:
        deadline = time.monotonic() + 60
        while len(self._markers_of(ended)) < PARTITIONS:
            assert time.monotonic() < deadline, "the scorer does not take up the policy that ends a trial"
            time.sleep(_POLL_S)

    def _predictions_of(self, version: int, since_ms: int) -> list[tuple[int, str | None]]:
        """When a candidate scored, and whom it decided about; nobody in shadow."""
        decoder, found = record_decoder("prediction"), []
        for topic in (self.pipeline.predictions_topic, self.pipeline.shadow_topic):
            is_live = topic == self.pipeline.predictions_topic
            kafka = self._settings.kafka.access
            starts = starts_at(kafka, topic, [(partition, since_ms) for partition in range(PARTITIONS)])
            for record in read_topic(kafka, topic, start={place: at.offset for place, at in enumerate(starts)}):
                if record.timestamp < since_ms:  # a few may follow
                    continue
                one = decoder.decode(record.value or b"")
                rollout = one["rollout"] or {}
                # Where the candidate gave no number, the champion's stands under its arm.
                if one["model_version"] == str(version) or (is_live and rollout.get("arm") == "candidate"):
                    found.append((one["scored_at"], one["entity"] if is_live else None))
        return found

    def _call(self, *command: str) -> None:
        done = self._run(*command)
        assert done.returncode == 0, done.stdout + done.stderr

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return penstock(*command[:2], self._reference, *command[2:])

    @contextlib.contextmanager
    def _service(self, name: str, *command: str) -> Iterator[None]:
        """A service as a process, with its log in the folder."""
        with (self._folder / f"{name}.log").open("w", encoding="utf-8") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "penstock", *command], cwd=ROOT, env=dict(os.environ), stdout=log, stderr=log
            )
        try:
            yield
            assert process.poll() is None, f"the {name} has ended: see {self._folder / name}.log"
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def tried_all(town: Town, candidates: Sequence[Candidate], say: Callable[[str], None]) -> list[Trial]:
    """Try each candidate."""
    trials = []
    for candidate in candidates:
        trial = town.tried(candidate)
        trials.append(trial)
        took = "" if trial.seconds_to_last_marker is None else f", {trial.seconds_to_last_marker:.1f} s"
        mark = "" if trial.is_as_expected else "  NOT AS EXPECTED"
        reason = re.sub(r"\s+", " ", trial.reason)[:160]
        say(
            f"{trial.model} ({trial.begins}): {trial.verdict} after {trial.events:,} predictions{took}, "
            f"{trial.users_touched:,} users{mark}: {reason}"
        )
    return trials
