"""The rollout in the recorded run: a canary, first in shadow, then with half of the cards, then rolled back."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

from examples.demo.command_runner import CommandRunner
from penstock.settings import Settings
from scoring.audit import in_slice, positions
from scoring.rollout.judge import AUTHOR
from scoring.rollout.policy import publish
from scoring.rollout.policy_log import PolicyChange
from scoring.rollout.policy_store import change_policy, read_policy
from streams.definitions.pipeline import Pipeline
from tests.scoring.scorer_bench import wait_for

_WEIGHT, _SHARE = 0.5, 0.01
_TIMES = {"least_events": 1, "least_time": "1s", "most_time": "1h"}


def canary(
    pipeline: str, events: Iterable[Mapping[str, Any]], *, champion: int, candidate: int, shadow: int
) -> dict[str, Any]:
    """A canary that explores.

    Of the cards of these events, the busiest is the champion's at each step, the next is the candidate's as soon as
    that has weight, and the third has its decision forced.
    """
    first, second, third = (card for card, _ in Counter(event["card"] for event in events).most_common(3))

    def divides(salt: str) -> bool:
        of_first, of_second = positions(salt, [first, second])
        return bool(of_second < _WEIGHT <= of_first)

    def explores(salt: str) -> bool:
        return in_slice(salt, [first, second, third], _SHARE).tolist() == [False, False, True]

    return {
        "pipeline": pipeline,
        "mode": "canary",
        "salt": next(filter(divides, (f"{pipeline}/{number}" for number in count()))),
        "arms": [
            {"name": "present", "version": champion, "role": "champion"},
            {"name": "next", "version": candidate},
        ],
        "shadow": [shadow],
        "steps": [{"weight": weight, **_TIMES} for weight in (0.0, _WEIGHT, 1.0)],
        "exploration": {
            "share": _SHARE,
            "decision": "pass",
            "salt": next(filter(explores, (f"{pipeline}/exploration-{number}" for number in count()))),
        },
    }


class RolloutOfRun:
    """Publishes the changes of the rollout; while events flow, it waits until the scorer follows them.

    Args:
        pipeline: Its definition.
        settings: The addresses of the stack.
        services: Runs commands; one of them is ``scorer``.
        file: The pipeline, as commands name it.
        folder: Takes the policy's file, and has the logs of commands in ``logs``.
    """

    def __init__(
        self, pipeline: Pipeline, settings: Settings, services: CommandRunner, file: str, folder: Path
    ) -> None:
        self._pipeline, self._kafka = pipeline, settings.kafka.access
        self._services, self._file, self._folder = services, file, folder

    def apply(self, policy: Mapping[str, Any]) -> None:
        """Publish the policy, as a person does."""
        path = self._folder / "rollout.yaml"
        path.write_text(json.dumps(policy), encoding="utf-8")
        self._call("apply", "-f", str(path), "--reason", "another model may be better")

    def widen(self) -> None:
        """Give the candidate weight in the controller's name: so few events are no evidence for the controller."""
        assert change_policy(self._kafka, self._pipeline, _next_step) is not None
        self._await_followed()

    def roll_back(self) -> None:
        """Take the weight back, as a person does."""
        self._call("rollback", "--reason", "it has no number for large amounts")
        self._await_followed()

    def rescore(self) -> None:
        """Correct what the candidate has scored."""
        self._call("rescore", "--reason", "it had no number for large amounts")

    def _call(self, command: str, *arguments: str) -> None:
        self._services.call(f"rollout-{command}", "rollout", command, self._file, *arguments)

    def _await_followed(self) -> None:
        present = read_policy(self._kafka, self._pipeline)
        assert present is not None
        log, line = self._folder / "logs" / "scorer.log", f"policy {present.policy.version} by {present.author}"
        wait_for(lambda: line in log.read_text(encoding="utf-8"), 60, "the scorer to follow the policy")


def _next_step(present: PolicyChange | None) -> PolicyChange:
    assert present is not None
    declared, step = present.policy.policy, present.step + 1
    weight = declared.steps[step].weight
    return PolicyChange(
        policy=publish(declared, present.policy, {"present": 1 - weight, "next": weight}),
        author=AUTHOR,
        reason="nothing is worse in shadow",
        evidence={"errors": {"events": 1_000, "log_e": -0.7}},
        previous=present.policy.hash,
        time_ms=time.time_ns() // 1_000_000,
        step=step,
    )
