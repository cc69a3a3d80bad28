"""Policies and their changes in words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import zip_longest

import click

from penstock.commands.console import printable
from penstock.time import readable
from scoring.rollout.policy import PublishedPolicy, RolloutPolicy
from scoring.rollout.policy_files import diff
from scoring.rollout.policy_log import PolicyChange
from streams.definitions.rollout import Step
from streams.definitions.windows import duration_text

_SHORT_EVIDENCE = 160


def print_line(label: str, text: str) -> None:
    """Print a text behind its label."""
    click.echo(click.style(f"{label:<11} ", dim=True) + text)


def state(change: PolicyChange) -> str:
    """What is being tried, how far it has come, and its status."""
    mode, steps = change.policy.policy.mode, change.policy.policy.steps
    step = f", step {change.step + 1} of {len(steps)}" if steps else ""
    return f"{mode}{step}, {change.status}"


def percent(share: float) -> str:
    """A share in percent.

    >>> percent(0.0005), percent(1)
    ('0.05 %', '100 %')
    """
    return f"{100 * share:.4g} %"


def arms(published: PublishedPolicy) -> Iterator[str]:
    """A line for each arm, for the versions in shadow, and for the exploration slice."""
    policy, weights = published.policy, published.weights
    width = max(len(arm.name) for arm in policy.arms)
    for arm in policy.arms:
        role = "" if arm.role == "candidate" else ", champion"
        yield f"{arm.name:<{width}}  version {arm.version}{role}: {percent(weights[arm.name])}"
    if policy.shadow:
        yield f"in shadow: version {', '.join(map(str, policy.shadow))}"
    if policy.exploration is not None:
        decision = printable(policy.exploration.decision)
        yield f"explored: {percent(policy.exploration.share)}, all decided {decision!r}"


def moves(before: PolicyChange | None, change: PolicyChange) -> str:
    """What a change has changed, in one line."""
    if before is None:
        return f"{state(change)}: {', '.join(arms(change.policy))}"
    found = [] if state(before) == state(change) else [f"{state(before)} → {state(change)}"]
    found += _weights(before.policy, change.policy)
    old, new = before.policy.policy, change.policy.policy
    if old.shadow != new.shadow:
        was, becomes = (", ".join(map(str, each.shadow)) or "none" for each in (old, new))
        found.append(f"in shadow {was} → {becomes}")
    if old.salt != new.salt:
        found.append("another salt: entities are shared out anew")
    if old.exploration != new.exploration:
        found.append("another exploration slice")
    if old.mode == new.mode:
        found += _steps(old.steps, new.steps)
    return ", ".join(found) or "nothing"


def signed(change: PolicyChange) -> str:
    """When it was made, and by whom."""
    return f"{readable(change.time_ms, 'seconds', zone=' UTC')} by {printable(change.author)}"


def evidence(change: PolicyChange, *, whole: bool) -> str | None:
    """The evidence as JSON, cut unless it is wanted whole; None if there is none."""
    if not change.evidence:
        return None
    if whole:
        return json.dumps(change.evidence, indent=2, ensure_ascii=False)
    text = printable(json.dumps(change.evidence, ensure_ascii=False))
    return text if len(text) <= _SHORT_EVIDENCE else f"{text[:_SHORT_EVIDENCE]} ... (all of it: history --evidence)"


def content(change: PolicyChange) -> dict[str, object]:
    """A change as JSON, with what is derived from it."""
    return {
        **change.model_dump(mode="json"),
        "hash": change.policy.hash,
        "version": change.policy.version,
        "file_hash": change.policy.policy.hash,
        "weights": change.policy.weights,
    }


def difference(present: PolicyChange | None, policy: RolloutPolicy) -> tuple[str, ...]:
    """How a file differs from what is published, a sentence each; empty if it is the same."""
    return ("no policy is published",) if present is None else diff(present.policy, policy)


def _steps(old: Sequence[Step], new: Sequence[Step]) -> Iterator[str]:
    """Which steps of a canary are others now, and in what."""
    for number, (was, becomes) in enumerate(zip_longest(old, new), 1):
        if becomes is None:
            yield f"step {number} ({percent(was.weight)}) is gone"
        elif was is None:
            yield f"step {number} is new: {', '.join(f'{name} {text}' for name, text in _step(becomes).items())}"
        elif was != becomes:
            after = _step(becomes)
            moved = [f"{name} {text} → {after[name]}" for name, text in _step(was).items() if text != after[name]]
            yield f"step {number} {', '.join(moved)}"


def _step(step: Step) -> dict[str, str]:
    return {
        "weight": percent(step.weight),
        "least_events": f"{step.least_events:,}",
        "least_time": duration_text(step.least_time),
        "most_time": duration_text(step.most_time),
    }


def _weights(before: PublishedPolicy, after: PublishedPolicy) -> Iterator[str]:
    old, new = ({arm.name: arm.version for arm in each.policy.arms} for each in (before, after))
    for name in dict.fromkeys([*old, *new]):
        was = f"{percent(before.weights[name])} of version {old[name]}" if name in old else "nothing"
        becomes = f"{percent(after.weights[name])} of version {new[name]}" if name in new else "nothing"
        if was == becomes:
            continue
        if old.get(name) == new.get(name):
            yield f"{name} (version {old[name]}) {percent(before.weights[name])} → {percent(after.weights[name])}"
        else:
            yield f"{name} {was} → {becomes}"
    champions = [each.policy.champion.version for each in (before, after)]
    if champions[0] != champions[1]:
        yield f"the champion is version {champions[1]}, no more {champions[0]}"
