"""Makes what the judge of a rollout is told, with defaults for what a test does not care about."""

from __future__ import annotations

from typing import Any

from scoring.rollout.facts import Facts
from scoring.rollout.judge import Judge
from scoring.rollout.observations import Letter, Live, Shadow
from scoring.rollout.policy import Arm, RolloutPolicy, publish
from scoring.rollout.policy_log import PolicyChange
from streams.definitions.rollout import Rollout, Step

THRESHOLD = 0.5
PARTITIONS = 4
SECOND = 1_000

PRESENT = Arm(name="present", version=1, role="champion")
TRIED = Arm(name="tried", version=2)


def step(weight: float, **changed: Any) -> Step:
    return Step.model_validate({"weight": weight, "least_events": 10, "least_time": "10s", "most_time": "1h"} | changed)


def change(*weights: float, number: int = 0, time_ms: int = 0, **policy: Any) -> PolicyChange:
    """A canary at its first step; with other fields, another policy."""
    fields: dict[str, Any] = {
        "pipeline": "p",
        "mode": "canary",
        "salt": "p/tried",
        "arms": (PRESENT, TRIED),
        "steps": tuple(map(step, weights)),
    }
    declared = RolloutPolicy(**(fields | policy))
    return PolicyChange(
        policy=publish(declared), author="ada", reason="try", previous=None, time_ms=time_ms, step=number
    )


def in_shadow_only(*versions: int) -> PolicyChange:
    """Versions that score in shadow beside the champion, and no candidate."""
    return change(mode="shadow", arms=(PRESENT,), steps=(), shadow=versions)


def experiment(mode: str = "ab", weight: float = 0.5) -> PolicyChange:
    """Two arms with weights."""
    weights = (None, None) if mode == "bandit" else (1 - weight, weight)
    arms = tuple(arm.model_copy(update={"weight": one}) for arm, one in zip((PRESENT, TRIED), weights, strict=True))
    return change(mode=mode, arms=arms, steps=())


def facts(rollout: Rollout | None = None, **changed: Any) -> Facts:
    return Facts(rollout or Rollout(), THRESHOLD, **({"task": "binary"} | changed))


def judge(rollout: Rollout | None = None, **changed: Any) -> Judge:
    return Judge(facts(rollout, **changed))


def live(number: int, of: PolicyChange, **changed: Any) -> Live:
    """The event of that number, one in each second, each of another entity."""
    row = Live(
        partition=number % PARTITIONS,
        offset=number // PARTITIONS,
        event_id=f"event-{number}",
        entity=f"entity-{number}",
        event_time_ms=number * SECOND,
        policy=of.policy.version,
        arm="present",
        version=1,
        score=0.1 + number % 97 / 1_000,
        is_fallback=False,
        infer_ms=5.0 + number % 7,
        scored_at_ms=number * SECOND,
    )
    return row._replace(**changed)


def tried(number: int, of: PolicyChange, **changed: Any) -> Live:
    """The same, by the candidate."""
    return live(number, of, **({"arm": "tried", "version": 2} | changed))


def shadow(number: int, of: PolicyChange, **changed: Any) -> Shadow:
    """The shadow prediction of the candidate for the event of that number."""
    served = live(number, of)
    row = Shadow(*served[:5], policy=of.policy.version, version=2, score=served.score, infer_ms=served.infer_ms)
    return row._replace(**changed)


def letter(number: int, **changed: Any) -> Letter:
    """The dead letter of the event of that number."""
    row = Letter(
        number % PARTITIONS, number // PARTITIONS, f"event-{number}", f"entity-{number}", time_ms=number * SECOND
    )
    return row._replace(**changed)


def complete(number: int) -> dict[int, int]:
    """All events before that number have been handed over."""
    return {partition: (number - partition + PARTITIONS - 1) // PARTITIONS for partition in range(PARTITIONS)}
