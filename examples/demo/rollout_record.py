"""What happened in the rollouts of a demo: the changes of the policy, what the guardrails said, and how it ended. Pure.

All times are seconds since the pipeline's run began.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, JsonValue

from scoring.rollout.evidence import WORST_FIRST
from scoring.rollout.policy_log import Logged, Marker, PolicyChange, Status

Outcome = Literal["promoted", "rolled back"]


class _RecordModel(BaseModel):
    model_config = ConfigDict(frozen=True)


class Change(_RecordModel):
    """A change of the policy.

    ``weights`` are by version of the model, ``candidate`` is the version that is tried, None after the end, and
    ``salt`` that of its rollout. ``followed_s`` is when the last partition had taken the policy up, None if not all
    have.
    """

    at_s: float
    author: str
    reason: str
    policy: str
    salt: str
    status: Status
    champion: int
    candidate: int | None
    weights: dict[int, float]
    followed_s: float | None
    evidence: dict[str, JsonValue]


class Look(_RecordModel):
    """What a guardrail said of the candidate at a moment: the interval of what it measures, and its bounds.

    A bound of None is infinite. ``what`` is the quantity that is measured, in words, if that is known.
    """

    at_s: float
    version: int
    guardrail: str
    verdict: str
    low: float
    high: float | None
    least: float
    most: float | None
    what: str | None = None


class Trial(_RecordModel):
    """How the rollout of one candidate ended.

    Args:
        version: The candidate's version of the model.
        about: What it is, in words.
        outcome: How it ended.
        from_s: When it began.
        to_s: When the last policy of it was published.
        followed_s: When all partitions had taken that one up.
        events: How many events were scored under its policies before the last one.
        served: How many of them the candidate has decided.
        entities: Of how many entities.
    """

    version: int
    about: str
    outcome: Outcome
    from_s: float
    to_s: float
    followed_s: float | None
    events: int
    served: int
    entities: int


class Rollouts(_RecordModel):
    """The rollouts of a pipeline, in order."""

    trials: tuple[Trial, ...]
    changes: tuple[Change, ...]
    looks: tuple[Look, ...]


def changes_of(log: Sequence[Logged], began_ms: int, partitions: int) -> tuple[Change, ...]:
    """The changes in a log.

    Args:
        log: The log, in its order.
        began_ms: When the run began, in epoch ms.
        partitions: How many partitions take a policy up.
    """
    found = []
    for place, logged in enumerate(log):
        if isinstance(logged.entry, PolicyChange):
            followed = _followed_ms(log[place + 1 :], logged.entry.policy.hash, partitions)
            found.append(_change(logged.entry, began_ms, followed))
    return tuple(found)


def word_for(before: Change | None, change: Change) -> str:
    """What a change has done, in a word or two: the candidate's present share, or how it ended."""
    if change.status == "paused":
        return "paused"
    if change.candidate is not None:
        weight = change.weights[change.candidate]
        return f"{weight * 100:.3g} %" if weight else "shadow"
    if before is None or before.candidate is None:
        return "ended"
    return "promoted" if change.champion == before.candidate else "rolled back"


def trial_of(
    changes: Sequence[Change],
    salt: str,
    about: str,
    counts: Mapping[tuple[str, int], int],
    entities: Mapping[tuple[str, int], Iterable[str]],
) -> Trial | None:
    """How a rollout has ended; None if it has not.

    Args:
        changes: All changes, in order.
        salt: The salt of its policies.
        about: What the candidate is.
        counts: The number of predictions by policy and version.
        entities: The entities of these predictions.
    """
    own = [change for change in changes if change.salt == salt]
    tried = [change for change in own if change.candidate is not None]
    if not tried or own[-1].candidate is not None:
        return None
    end, version = own[-1], tried[-1].candidate
    assert version is not None
    policies = {change.policy for change in tried}
    return Trial(
        version=version,
        about=about,
        outcome="promoted" if end.champion == version else "rolled back",
        from_s=tried[0].at_s,
        to_s=end.at_s,
        followed_s=end.followed_s,
        events=sum(count for (policy, _), count in counts.items() if policy in policies),
        served=sum(count for (policy, by), count in counts.items() if policy in policies and by == version),
        entities=len(
            set().union(*(each for (policy, by), each in entities.items() if policy in policies and by == version))
        ),
    )


def looks_of(changes: Sequence[Change]) -> list[Look]:
    """What the guardrails said at the controller's decisions: each, of its reports, the one that was worst off."""
    found = []
    for change in changes:
        worst: dict[str, dict[str, Any]] = {}
        reports: Any = change.evidence.get("guardrails", [])
        for report in (one for one in reports if one["is_candidate"]):
            held = worst.setdefault(report["guardrail"], report)
            if _rank(report) < _rank(held):
                worst[report["guardrail"]] = report
        found += [_look(change, report) for report in worst.values()]
    return found


def limit(value: float) -> float | None:
    """A bound; None if it is infinite, which JSON cannot say."""
    return value if math.isfinite(value) else None


def _look(change: Change, report: Mapping[str, Any]) -> Look:
    measured = min(report["measured"], key=_rank)
    return Look(
        # It is the last look under the policy before.
        at_s=round(change.at_s - 0.001, 3),
        version=report["version"],
        guardrail=report["guardrail"],
        verdict=report["verdict"],
        low=measured["low"],
        high=measured["high"],
        least=measured["allowed_low"],
        most=measured["allowed_high"],
        what=measured["what"],
    )


def _rank(judged: Mapping[str, Any]) -> int:
    """As the controller chooses what its metrics show of a guardrail."""
    return WORST_FIRST.index(judged["verdict"])


def _change(change: PolicyChange, began_ms: int, followed_ms: int | None) -> Change:
    policy, weights = change.policy.policy, change.policy.weights
    by_version: dict[int, float] = {}
    for arm in policy.arms:
        by_version[arm.version] = by_version.get(arm.version, 0.0) + weights[arm.name]
    return Change(
        at_s=_seconds(change.time_ms, began_ms),
        author=change.author,
        reason=change.reason,
        policy=change.policy.version,
        salt=policy.salt,
        status=change.status,
        champion=policy.champion.version,
        candidate=policy.candidates[0].version if policy.candidates else None,
        weights=by_version,
        followed_s=None if followed_ms is None else _seconds(followed_ms, began_ms),
        evidence=change.evidence,
    )


def _followed_ms(later: Sequence[Logged], policy: str, partitions: int) -> int | None:
    """When the last partition took a policy up, before the next change; None if not all have."""
    waiting = set(range(partitions))
    for logged in later:
        if isinstance(logged.entry, PolicyChange) and logged.entry.policy.hash != policy:
            return None
        if isinstance(logged.entry, Marker) and logged.entry.policy == policy:
            waiting.discard(logged.entry.partition)
            if not waiting:
                return logged.time_ms
    return None


def _seconds(time_ms: int, began_ms: int) -> float:
    return round((time_ms - began_ms) / 1_000, 3)
