"""The third act of the demo: why drift alerts came, and what follows: a version that is trained anew, or nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from examples.demo.rollout_act import Candidate, Stage, Traffic
from loop.causes import Cause
from loop.incidents import Incident, incidents_of
from loop.store import read_entries
from penstock.commands.exit_codes import ExitCode
from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from streams.definitions.pipeline import Pipeline

_TRAINABLE: tuple[Cause, ...] = ("concept-drift", "covariate-shift", "calibration")
# Traffic between two looks at the incidents: labels become final meanwhile.
_BETWEEN_S = 3.0
_MOST_S = 90.0
QUIET = ("--quiet", "7d")
"""A demo's few events have few alarms, days apart, that belong together all the same."""


@dataclass(frozen=True)
class Expected:
    """What the alerts of a pipeline must lead to.

    Args:
        causes: One of these must be found.
        column: The column at fault, of a fault.
        rollout: A file with the steps of the rollout of a version that is trained anew; None: nothing must be trained.
        gates: The gates that this version must pass.
        is_alone: Whether this is the only incident: with nothing to train, ``penstock retrain run`` then does nothing.
    """

    causes: tuple[Cause, ...]
    column: str | None = None
    rollout: Path | None = None
    gates: Path | None = None
    is_alone: bool = True


class LoopAct:
    """Finds out why alerts came, and trains anew if that is proposed, by Penstock's own commands.

    Args:
        expected: What must come of it.
        pipeline: The pipeline.
        kafka: How to reach Kafka.
        stage: The demo.
        folder: Where the files of the training go.
    """

    def __init__(self, expected: Expected, pipeline: Pipeline, kafka: KafkaAccess, stage: Stage, folder: Path) -> None:
        self._expected = expected
        self._pipeline = pipeline
        self._kafka = kafka
        self._stage = stage
        self._folder = folder

    def find_cause(self, traffic: Traffic) -> Incident:
        """Watch for incidents until the cause is found; traffic goes on meanwhile.

        Raises:
            PenstockError: if that takes too long.
        """
        name, until = self._pipeline.name, time.monotonic() + _MOST_S
        while True:
            self._stage.call("incidents", "watch", name, *QUIET)
            incidents = incidents_of(read_entries(self._kafka, self._pipeline)).values()
            found = next((one for one in incidents if self._is_expected(one)), None)
            if found is not None:
                return found
            if time.monotonic() > until:
                causes = ", ".join(one.diagnosis.cause for one in incidents if one.diagnosis is not None) or "none"
                raise PenstockError(
                    f"no open incident of {name} has the cause {' or '.join(self._expected.causes)}; causes: {causes}",
                    next=f"run the demo with --keep, then `penstock incidents list {name}`",
                )
            self._stage.produce(
                islice(traffic.messages, int(_BETWEEN_S * traffic.shadow_per_second)), traffic.shadow_per_second
            )

    def retrain(self, incident: Incident) -> Candidate | None:
        """Carry out what the incident proposes; returns what is tried then, None if nothing must be trained."""
        auto = [option for cause in _TRAINABLE for option in ("--auto", cause)]
        command = ("retrain", "run", self._pipeline.name, *auto, "--folder", str(self._folder))
        if self._expected.rollout is None:
            if self._expected.is_alone:
                self._stage.call(*command, code=ExitCode.NOTHING_TO_DO)
            return None
        self._stage.call(*command, "--rollout", str(self._expected.rollout), "--gates", str(self._expected.gates))
        (proposal,) = incident.proposals
        return Candidate(
            about=f"a version trained anew because of {proposal.cause}",
            file=self._folder / proposal.proposal / "rollout.yaml",
            outcome="promoted",
        )

    def backfill(self, incident: Incident) -> Path:
        """The folder of the features that the version was trained on."""
        return self._folder / incident.proposals[0].proposal / "backfill"

    def _is_expected(self, incident: Incident) -> bool:
        diagnosis, expected = incident.diagnosis, self._expected
        if diagnosis is None or not incident.is_open or diagnosis.cause not in expected.causes:
            return False
        if expected.column is not None and diagnosis.column != expected.column:
            return False
        return bool(incident.proposals) == (expected.rollout is not None)
