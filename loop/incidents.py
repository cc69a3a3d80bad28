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
    def last_ms(self) -> int:
        """The event time of its last alarm, epoch ms."""
        return max(signal.event_time_ms for signal in self.signals)

    def is_near(self, event_time_ms: int, quiet_ms: int) -> bool:
        """Whether a time is at most ``quiet_ms`` from its alarms."""
        return self.first_ms - quiet_ms <= event_time_ms <= self.last_ms + quiet_ms

    @property
    def takes_all(self) -> bool:
        """Whether it is open with a cause that is known, which all later alarms belong to."""
        known = self.diagnosis is not None and self.diagnosis.cause not in ("none", "unclear")
        return self.is_open and known

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
    """What to add to the log for alarms that it does not know, up to the first one that opens an incident of its own.

    Later alarms wait until the cause of that incident was sought, as they may belong to it: then ask again.

    An alarm belongs to the last incident of its version if it comes at most ``quiet_ms`` of event time after the last
    alarm of that one, or before the first; if that incident was closed, it opens nothing. An open incident whose cause
    is known takes all alarms: what is at fault is so until somebody mends it.

    Args:
        entries: The log.
        signals: All alarms, in the order of their event times.
        quiet_ms: How long after an alarm the next one belongs to the same incident, in ms of event time.
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
        incident = last.get(signal.model_version)
        if incident is None or not (incident.takes_all or incident.is_near(signal.event_time_ms, quiet_ms)):
            if opened:
                break
            incident = last[signal.model_version] = Incident(_id(signal), now_ms, [signal])
            opened[incident.id] = [signal]
        elif incident.is_open:
            incident.signals.append(signal)
            (opened if incident.id in opened else joined).setdefault(incident.id, []).append(signal)
    return [
        *(Joined(incident=name, time_ms=now_ms, signals=tuple(found)) for name, found in joined.items()),
        *(Opened(incident=name, time_ms=now_ms, signals=tuple(found)) for name, found in opened.items()),
    ]


def over_ms(incident: Incident, signals: Iterable[Signal]) -> int | None:
    """When an incident was over, epoch ms: at the next alarm of its version that is none of its own; None if none came.

    Args:
        incident: The incident.
        signals: All alarms.
    """
    own = {signal.id for signal in incident.signals}
    later = (
        signal.event_time_ms
        for signal in signals
        if signal.model_version == incident.model_version and signal.id not in own
    )
    return min((at_ms for at_ms in later if at_ms > incident.last_ms), default=None)


def _id(first: Signal) -> str:
    """The same for the same alarm, so that an incident that is opened again has the same id; easy to type."""
    return f"inc-{hashlib.sha256(first.id.encode()).hexdigest()[:8]}"
