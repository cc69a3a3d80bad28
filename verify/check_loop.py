"""Checks what the log of incidents claims, against the alerts, the gates and the rollouts that it speaks of.

Its records are JSON, as ``docs/reference/records.md`` documents them. An incident consists of alerts that were
published; faults of a source or of labels propose no training; and what was rolled out for a proposal had passed the
gates before.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from penstock.kafka.reading import Record
from schemas.codec import Undecodable, UnknownSchema
from schemas.history import record_decoder
from verify.findings import Findings
from verify.rollout_log import Change

_TRAINABLE = {"concept-drift": "retrain", "covariate-shift": "prepare", "calibration": "recalibrate"}
# A training that a schedule has proposed has no alert.
_SCHEDULED = "proposed:"


@dataclass
class LoopFindings(Findings):
    """Result of the check.

    ``incidents`` counts those that alerts have opened, and ``causes`` them by their last cause, ``unknown`` without
    one. ``retrained`` is the version that a proposal has led to and that was promoted, ``replaced`` the one before it,
    and ``seconds`` the time from the first alert to the promotion, by Kafka's clock and the controller's; None without.
    """

    incidents: int = 0
    causes: Counter[str] = field(default_factory=Counter)
    retrained: int | None = None
    replaced: int | None = None
    seconds: float | None = None


@dataclass
class _Incident:
    signals: list[str] = field(default_factory=list)
    cause: str = "unknown"
    proposals: list[str] = field(default_factory=list)
    steps: dict[str, set[str]] = field(default_factory=dict)


def check_loop(
    topic: str, records: Sequence[Record], alerts: Iterable[Record], changes: Sequence[Change]
) -> LoopFindings:
    """Check the log.

    Args:
        topic: Its topic, for messages.
        records: Its records.
        alerts: Those of the drift topic.
        changes: The changes of the rollout policy, in their order.
    """
    findings, incidents = LoopFindings(), dict[str, _Incident]()
    published = _times_of(alerts)
    claimed: dict[str, str] = {}
    for record in records:
        where = f"{topic}[{record.partition}]@{record.offset}"
        try:
            entry = json.loads(record.value or b"")
            kind, name = entry["kind"], entry["incident"]
            incident = incidents.setdefault(name, _Incident()) if kind == "opened" else incidents.get(name)
            if incident is None:
                findings.mismatch(f"{where}: {kind} of incident {name}, which was not opened")
                continue
            _take(entry, incident)
            for wrong in (*_unpublished(entry, published, claimed), *_wrong_proposal(entry, incident)):
                findings.mismatch(f"{where}: {wrong}")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            findings.mismatch(f"{where}: is no entry of a log of incidents: {error!r}")
    _check_rollouts(changes, incidents.values(), findings)
    by_alerts = [one for one in incidents.values() if not all(each.startswith(_SCHEDULED) for each in one.signals)]
    findings.incidents, findings.causes = len(by_alerts), Counter(one.cause for one in by_alerts)
    _find_recovery(changes, incidents.values(), published, findings)
    return findings


def _times_of(alerts: Iterable[Record]) -> Mapping[str, int]:
    """When each alert was published, epoch ms."""
    decoder, found = record_decoder("drift_alert"), dict[str, int]()
    for record in alerts:
        with suppress(Undecodable, UnknownSchema):  # `check_drift` reports it
            found.setdefault(decoder.decode(record.value or b"")["alert_id"], record.timestamp)
    return found


def _take(entry: Mapping[str, Any], incident: _Incident) -> None:
    match entry["kind"]:
        case "opened" | "joined":
            incident.signals += [signal["id"] for signal in entry["signals"]]
        case "diagnosed":
            incident.cause = entry["cause"]
        case "proposed":
            incident.proposals.append(entry["proposal"])
        case "stepped" if entry["outcome"] == "done":
            incident.steps.setdefault(entry["proposal"], set()).add(entry["step"])


def _unpublished(entry: Mapping[str, Any], published: Mapping[str, int], claimed: dict[str, str]) -> Iterable[str]:
    """Alerts of an entry that were never published, or that another incident has, too."""
    if entry["kind"] not in ("opened", "joined"):
        return
    for signal in entry["signals"]:
        name = signal["id"]
        if name not in published and not name.startswith(_SCHEDULED):
            yield f"incident {entry['incident']} has the alert {name}, which was not published"
        if claimed.setdefault(name, entry["incident"]) != entry["incident"]:
            yield f"incidents {claimed[name]} and {entry['incident']} both have the alert {name}"


def _wrong_proposal(entry: Mapping[str, Any], incident: _Incident) -> Iterable[str]:
    if entry["kind"] != "proposed" or entry["cause"] == "scheduled":
        return
    if entry["cause"] != incident.cause:
        yield f"{entry['proposal']} is because of {entry['cause']}, and the incident of {incident.cause}"
    if _TRAINABLE.get(entry["cause"]) != entry["action"]:
        yield f"{entry['proposal']} proposes to {entry['action']} because of {entry['cause']}"


def _check_rollouts(changes: Iterable[Change], incidents: Iterable[_Incident], findings: LoopFindings) -> None:
    """What is rolled out for a proposal must have passed the gates, and be told as rolled out."""
    steps = {name: one.steps.get(name, set()) for one in incidents for name in one.proposals}
    rolled_out = {change.policy.policy.salt for change in changes}
    for name, done in steps.items():
        if name in rolled_out and "gates" not in done:
            findings.mismatch(f"{name} was rolled out, and has not passed the gates")
        if "rollout" in done and name not in rolled_out:
            findings.mismatch(f"{name} is told as rolled out, and no policy has tried it")


def _find_recovery(
    changes: Sequence[Change], incidents: Iterable[_Incident], published: Mapping[str, int], findings: LoopFindings
) -> None:
    """The last version that a proposal has led to and that was promoted."""
    by_proposal = {name: one for one in incidents for name in one.proposals}
    tried: Change | None = None
    for change in changes:
        policy = change.policy.policy
        candidates = [arm.version for arm in policy.arms if arm.role != "champion"]
        if candidates and policy.salt in by_proposal:
            tried = change
            continue
        if tried is None or candidates:
            continue
        before, incident = tried.policy.policy, by_proposal[tried.policy.policy.salt]
        champion = next(arm.version for arm in policy.arms if arm.role == "champion")
        if champion in [arm.version for arm in before.arms if arm.role != "champion"]:
            findings.retrained = champion
            findings.replaced = next(arm.version for arm in before.arms if arm.role == "champion")
            first = min((published[name] for name in incident.signals if name in published), default=None)
            findings.seconds = None if first is None else round((change.time_ms - first) / 1_000, 1)
        tried = None
