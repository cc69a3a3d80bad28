"""The story of an incident or of a training, from alarm to recovery: who did what, when, and why. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from loop.entries import Closed, Diagnosed, Entry, Joined, Opened, Proposed, Stepped
from penstock.counts import counted
from penstock.time import iso
from scoring.rollout.policy_log import Logged, PolicyChange


@dataclass(frozen=True)
class Line:
    """A line of a story.

    Args:
        time_ms: When, epoch ms.
        what: What happened, in a word or two.
        text: The same for a person.
        where: The record or version that says so.
    """

    time_ms: int
    what: str
    text: str
    where: str = ""


@dataclass(frozen=True)
class Version:
    """A version of the model, as far as a story tells of it."""

    number: int
    made_ms: int
    answers: str | None
    data_hash: str | None
    verdict: str | None


def incident_of(entries: Iterable[Entry], name: str) -> str | None:
    """The incident that is called so, or to which a proposal called so belongs; None if there is none."""
    for entry in entries:
        if name == entry.incident or (isinstance(entry, Proposed) and entry.proposal == name):
            return entry.incident
    return None


def story(
    entries: Sequence[Entry], incident: str, versions: Iterable[Version], changes: Iterable[Logged]
) -> list[Line]:
    """All that happened about an incident, in its order.

    Args:
        entries: The log of incidents.
        incident: Its id.
        versions: The versions of the model.
        changes: The log of rollouts: those whose salt is one of its proposals are told, and what ends them.
    """
    own = [entry for entry in entries if entry.incident == incident]
    proposals = {entry.proposal for entry in own if isinstance(entry, Proposed)}
    lines = [line for entry in own for line in _lines(entry)]
    for version in versions:
        if version.answers in proposals:
            data = "" if version.data_hash is None else f", data {version.data_hash[:12]}"
            judged = "" if version.verdict is None else f", gates: {version.verdict}"
            lines.append(Line(version.made_ms, "version", f"version {version.number} was made{data}{judged}"))
    lines += _rollout(changes, proposals)
    return sorted(lines, key=lambda line: line.time_ms)


def _lines(entry: Entry) -> list[Line]:
    match entry:
        case Opened() | Joined():
            first = entry.signals[0]
            more = len(entry.signals) - 1
            others = f" and {counted(more, 'other alarm')}" if more else ""
            what = "opened" if isinstance(entry, Opened) else "more alarms"
            text = f"{first.text}{others}; the stream had come to {iso(first.event_time_ms)}"
            return [Line(entry.time_ms, what, text, first.place)]
        case Diagnosed():
            column = f" of column {entry.column}" if entry.column is not None else ""
            text = f"{entry.cause}{column}: {'; '.join(entry.why)}"
            return [Line(entry.time_ms, "cause", text, entry.first or "")]
        case Proposed():
            period = f"on events from {iso(entry.from_ms)} to {iso(entry.to_ms)}"
            return [Line(entry.time_ms, "proposed", f"{entry.proposal}: {entry.action} {period}")]
        case Stepped():
            return [Line(entry.time_ms, entry.step, f"{entry.outcome}: {entry.detail}")]
        case Closed():
            return [Line(entry.time_ms, "closed", f"{entry.reason} (by {entry.author})")]


def _rollout(changes: Iterable[Logged], proposals: set[str]) -> list[Line]:
    lines, before = [], ""
    for logged in changes:
        change = logged.entry
        if not isinstance(change, PolicyChange):
            continue
        salt = change.policy.policy.salt
        # What ends a rollout has the champion alone, and perhaps another salt.
        if salt in proposals or before in proposals:
            shares = ", ".join(f"version {arm.version}" for arm in change.policy.policy.arms)
            text = f"{change.status}, step {change.step + 1}, {shares}: {change.reason} (by {change.author})"
            lines.append(Line(change.time_ms, "rollout", text, f"policy {change.policy.version}"))
        before = salt
    return lines
