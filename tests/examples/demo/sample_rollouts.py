"""A log of two rollouts and what guardrails said meanwhile: version 2 is promoted, version 3 is rolled back."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import count

from examples.demo.rollout_record import Look, Rollouts, changes_of, trial_of
from scoring.rollout.policy import Arm, PublishedPolicy, RolloutPolicy, Step, publish
from scoring.rollout.policy_log import Entry, Logged, Marker, PolicyChange, Status

BEGAN_MS = 1_800_000_000_000
PARTITIONS = 4
_STEP = partial(Step, least_events=100, least_time="1s", most_time="2m")
BETTER = RolloutPolicy(
    pipeline="fraud",
    mode="canary",
    salt="fraud/better",
    arms=(Arm(name="first", version=1, role="champion"), Arm(name="better", version=2)),
    steps=tuple(_STEP(weight=weight) for weight in (0, 0.2, 0.5)),
)
BAD = RolloutPolicy(
    pipeline="fraud",
    mode="canary",
    salt="fraud/bad",
    arms=(Arm(name="better", version=2, role="champion"), Arm(name="bad", version=3)),
    steps=(_STEP(weight=0.05),),
)


def alone(policy: RolloutPolicy, place: int) -> RolloutPolicy:
    """Only one of the arms, as after the end of a rollout."""
    arm = policy.arms[place]
    champion = Arm(name=arm.name, version=arm.version, role="champion")
    return RolloutPolicy(pipeline="fraud", mode="shadow", salt=policy.salt, arms=(champion,))


def log() -> list[Logged]:
    """The log: version 2 in shadow, at 20 and 50 %, then promoted; version 3 at 5 %, then rolled back."""
    return list(_entries())


def _entries() -> Iterator[Logged]:
    present: PublishedPolicy | None = None
    offsets = count()
    for at_s, policy, weight, status, author, reason in (
        (200.0, BETTER, 0.0, "running", "ada@host", "trained on all labels so far"),
        (214.0, BETTER, 0.2, "running", "controller", "step 1 passed: 4,000 events in 14 s"),
        (220.5, BETTER, 0.5, "running", "controller", "step 2 passed: 500 events in 6 s"),
        (226.0, alone(BETTER, 1), None, "ended", "controller", "all steps passed"),
        (231.0, BAD, 0.05, "running", "ada@host", "another training function"),
        (232.5, alone(BAD, 0), None, "ended", "controller", "rolled back: decision_rate: 30 to 60, at most 3"),
    ):
        time_ms = BEGAN_MS + round(at_s * 1_000)
        before = present
        change = _change(policy, before, weight, status, author, reason, time_ms)
        present = change.policy
        yield Logged(next(offsets), time_ms, change)
        for partition in range(PARTITIONS):
            yield Logged(next(offsets), time_ms + 100 * (partition + 1), _marker(partition, present))


def _change(
    policy: RolloutPolicy,
    before: PublishedPolicy | None,
    weight: float | None,
    status: str,
    author: str,
    reason: str,
    time_ms: int,
) -> PolicyChange:
    champion, *others = policy.arms
    weights = None if weight is None else {champion.name: 1 - weight, others[0].name: weight}
    said: Status = "ended" if status == "ended" else "running"
    return PolicyChange(
        policy=publish(policy, before, weights),
        author=author,
        reason=reason,
        previous=None if before is None else before.hash,
        time_ms=time_ms,
        status=said,
    )


def _marker(partition: int, policy: PublishedPolicy) -> Entry:
    return Marker(partition=partition, first_offset=100, policy=policy.hash)


def looks() -> Iterator[Look]:
    """Intervals that shrink, and those of version 3 that are far outside."""
    measures = {
        "errors": (0.001, 0, 0.03, "share of moments without a score in time"),
        "latency": (1.02, 0, 3, "p99 of a call / the champion's"),
        "decision_rate": (1.1, 1 / 3, 3, "share of positive decisions / the champion's"),
        "quality": (0.9, 0, 1.05, "mean loss / the champion's"),
        "calibration": (1.05, 0.5, 2, "mean score / share of positive labels"),
        "fairness": (1.0, 0.2, 5, "share of positive decisions, event.country=AT / the champion's"),
        "scores": (0.01, 0, 0.5, "share of equal scores"),
        "split": (0.2, 0.2, 0.2, None),
    }
    for begin, end, version in ((200, 214, 2), (214, 220, 2), (220, 226, 2), (231, 232, 3)):
        for second in range(begin, end):
            for name, (value, least, most, what) in measures.items():
                wide = 3.0 / (second - begin + 1)
                found = value * 30 if version == 3 and name == "decision_rate" else value
                high = None if second == begin else found * (1 + wide)
                verdict = "equivalent" if high is not None and high <= most else "continue"
                yield Look(
                    at_s=second + 0.5,
                    version=version,
                    guardrail=name,
                    verdict="worse" if found > most else verdict,
                    low=20.0 if found > most else found * max(0.0, 1 - wide),
                    high=high,
                    least=least,
                    most=most,
                    what=what if second == end - 1 else None,
                )


def rollouts() -> Rollouts:
    """All that has happened."""
    changes = changes_of(log(), BEGAN_MS, PARTITIONS)
    policies = [change.policy for change in changes]
    counts = {(policies[0], 1): 4_300, (policies[1], 2): 130, (policies[2], 2): 300, (policies[4], 3): 12}
    entities = {(policies[1], 2): {"a", "b"}, (policies[2], 2): {"b", "c"}, (policies[4], 3): {"a"}}
    trials = [
        trial_of(changes, BETTER.salt, "a version that knows more", counts, entities),
        trial_of(changes, BAD.salt, "a version whose labels were mixed up", counts, entities),
    ]
    return Rollouts(trials=tuple(filter(None, trials)), changes=changes, looks=tuple(looks()))
