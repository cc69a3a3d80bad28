"""When a training is proposed, and the proposal as a CloudEvent. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence

from loop.causes import Action
from loop.entries import Entry, Outcome, Proposed, Step, Stepped
from loop.incidents import Incident, incidents_of
from penstock.time import iso

PROPOSED: tuple[Action, ...] = ("retrain", "recalibrate", "prepare")


def proposal_for(
    incident: Incident, entries: Sequence[Entry], *, from_ms: int, to_ms: int, cool_down_ms: int, now_ms: int
) -> Proposed | None:
    """The training to propose for an incident; None if there is none.

    Faults of a source or of labels propose none. At most one proposal is open, and none is made within the cool-down
    of the last one that was carried out, or of which gates could not tell. After that, what gates could not tell is
    proposed anew, with the events that have come since.

    Args:
        incident: The incident, diagnosed.
        entries: The log.
        from_ms: The first event time to train on.
        to_ms: The event time before which events are to be used.
        cool_down_ms: How long after a training none is proposed, in ms.
        now_ms: The time, epoch ms.
    """
    diagnosis = incident.diagnosis
    if diagnosis is None or diagnosis.action not in PROPOSED or not incident.is_open:
        return None
    same = [proposal for proposal in incident.proposals if proposal.action == diagnosis.action]
    if any(not is_undecided(incident, one.proposal) or one.to_ms >= to_ms for one in same):
        return None
    if open_proposals(entries):
        return None
    ended = [
        entry.time_ms
        for entry in entries
        if isinstance(entry, Stepped) and (entry.step == "rollout" or entry.outcome == "undecided")
    ]
    if ended and now_ms < max(ended) + cool_down_ms:
        return None
    number = len(incident.proposals) + 1
    return Proposed(
        incident=incident.id,
        time_ms=now_ms,
        proposal=incident.id.replace("inc-", "ret-") + (f"-{number}" if number > 1 else ""),
        cause=diagnosis.cause,
        action=diagnosis.action,
        from_ms=from_ms,
        to_ms=to_ms,
        model_version=incident.model_version,
    )


def open_proposals(entries: Sequence[Entry]) -> list[Proposed]:
    """The proposals that block others: neither carried out, refused nor undecided, and their incident is open."""
    return [one for incident, one in _possible(entries) if not is_undecided(incident, one.proposal)]


def undecided_proposals(entries: Sequence[Entry]) -> list[Proposed]:
    """The proposals of which gates could not tell, which may be tried again, and whose incident is open."""
    return [one for incident, one in _possible(entries) if is_undecided(incident, one.proposal)]


def is_ended(incident: Incident, proposal: str) -> bool:
    """Whether a proposal was carried out, or refused by a gate, for good."""
    return any(
        outcome == "refused" or (step, outcome) == ("rollout", "done") for step, outcome in _steps(incident, proposal)
    )


def is_undecided(incident: Incident, proposal: str) -> bool:
    """Whether the last that is known of a proposal is that gates could not tell."""
    return _steps(incident, proposal)[-1:] == [("gates", "undecided")]


def _possible(entries: Sequence[Entry]) -> list[tuple[Incident, Proposed]]:
    return [
        (incident, proposal)
        for incident in incidents_of(entries).values()
        if incident.is_open
        for proposal in incident.proposals
        if not is_ended(incident, proposal.proposal)
    ]


def _steps(incident: Incident, proposal: str) -> list[tuple[Step, Outcome]]:
    return [(one.step, one.outcome) for one in incident.steps if one.proposal == proposal]


def cloud_event(entry: Entry, pipeline: str) -> bytes | None:
    """The entry as a CloudEvent in structured mode, JSON; None if it is not about a proposal.

    Source: CloudEvents 1.0, JSON event format.
    """
    match entry:
        case Proposed():
            kind, identity = "penstock.retrain.proposed", entry.proposal
        case Stepped():
            kind, identity = f"penstock.retrain.{entry.step}.{entry.outcome}", f"{entry.proposal}/{entry.step}"
        case _:
            return None
    event = {
        "specversion": "1.0",
        "id": f"{identity}/{entry.time_ms}",
        "source": f"/penstock/{pipeline}",
        "type": kind,
        "subject": entry.proposal,
        "time": iso(entry.time_ms),
        "datacontenttype": "application/json",
        "data": entry.model_dump(mode="json", exclude={"kind", "time_ms"}),
    }
    return json.dumps(event, sort_keys=True).encode()
