"""Incidents as their log tells of them, and what follows from new alarms. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from loop.entries import Closed, Diagnosed, Entry, Joined, Opened, Proposed, Signal, Stepped

SCHEDULED = "proposed:"
"""How the id of what opens an incident begins that is no alarm, but a training that a schedule has proposed."""


@dataclass
class Incident:
    """An incident.

    Attributes:
        id: Its id.
        opened_ms: When it was opened.
        signals: Its alarms, the first one first.
        diagnosis: The last one.
        proposals: The trainings that were proposed.
        steps: What was done about them.
        closed: How it ended; None while it is open.
    """

    id: str
    opened_ms: int
    signals: list[Signal]
    diagnosis: Diagnosed | None = None
    proposals: list[Proposed] = field(default_factory=list)
    steps: list[Stepped] = field(default_factory=list)
    closed: Closed | None = None

    @property
    def is_open(self) -> bool:
        """Whether it has not ended."""
        return self.closed is None

    @property
    def is_scheduled(self) -> bool:
        """Whether no alarm has opened it, but a training that was proposed without one."""
        return self.signals[0].id.startswith(SCHEDULED)

    @property
    def first_ms(self) -> int:
        """The event time of its first alarm, epoch ms."""
        return min(signal.event_time_ms for signal in self.signals)

    @property
    def model_version(self) -> str:
        """The version that its first alarm is about."""
        return self.signals[0].model_version


def incidents_of(entries: Iterable[Entry]) -> dict[str, Incident]:
    """All incidents by id, in the order in which they were opened; entries of an incident that was not are left out."""
    found: dict[str, Incident] = {}
    for entry in entries:
        if isinstance(entry, Opened):
            found.setdefault(entry.incident, Incident(entry.incident, entry.time_ms, list(entry.signals)))
        elif (incident := found.get(entry.incident)) is not None:
            _add(incident, entry)
    return found


def _add(incident: Incident, entry: Entry) -> None:
    match entry:
        case Joined():
            incident.signals += entry.signals
        case Diagnosed():
            incident.diagnosis = entry
        case Proposed():
            incident.proposals.append(entry)
        case Stepped():
            incident.steps.append(entry)
        case Closed():
            incident.closed = entry


def news(entries: Sequence[Entry], signals: Iterable[Signal], quiet_ms: int, now_ms: int) -> list[Entry]:
    """What to add to the log for alarms that it does not know.

    An alarm belongs to the incident that an alarm has opened for its version, and that is open still. After an incident
    was closed, alarms of up to ``quiet_ms`` of event time after its last one belong to what has been closed, and open
    nothing.

    Args:
        entries: The log.
        signals: All alarms, in the order of their event times.
        quiet_ms: How long after an incident the same version opens no other one, in ms of event time.
        now_ms: The time, epoch ms.
    """
    incidents = incidents_of(entries)
    known = {signal.id for incident in incidents.values() for signal in incident.signals}
    last = {incident.model_version: incident for incident in incidents.values() if not incident.is_scheduled}
    opened: dict[str, list[Signal]] = {}
    joined: dict[str, list[Signal]] = {}
    for signal in signals:
        if signal.id in known:
            continue
        known.add(signal.id)
        if signal.model_version in opened:
            opened[signal.model_version].append(signal)
            continue
        incident = last.get(signal.model_version)
        if incident is not None and incident.is_open:
            joined.setdefault(incident.id, []).append(signal)
        elif incident is None or signal.event_time_ms > _last_ms(incident) + quiet_ms:
            opened[signal.model_version] = [signal]
    return [
        *(Joined(incident=name, time_ms=now_ms, signals=tuple(found)) for name, found in joined.items()),
        *(Opened(incident=_id(found[0]), time_ms=now_ms, signals=tuple(found)) for found in opened.values()),
    ]


def _last_ms(incident: Incident) -> int:
    return max(signal.event_time_ms for signal in incident.signals)


def _id(first: Signal) -> str:
    """The same for the same alarm, so that an incident that is opened again has the same id; easy to type."""
    return f"inc-{hashlib.sha256(first.id.encode()).hexdigest()[:8]}"
