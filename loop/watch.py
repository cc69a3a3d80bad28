"""Opens incidents for alarms, finds their causes, and proposes trainings: what is done once, or again and again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from backfill.topic_reading import Topics
from loop.causes import diagnose, evidence_of
from loop.entries import Closed, Diagnosed, Entry, Signal
from loop.gathering import Periods, gather
from loop.incidents import Incident, incidents_of, news, over_ms
from loop.lineage import roots_of
from loop.proposals import proposal_for
from loop.records import decoded
from loop.store import extend
from penstock.kafka.access import KafkaAccess
from penstock.kafka.reading import Record
from schemas.codec import Registry
from streams.plan.project import Project

_log = logging.getLogger(__name__)

# Fewer present events say too little of their distribution.
_LEAST_NOW = 1_000
# Once other versions score so many of the latest events, the incident's version is replaced.
_REPLACED = 0.95

TrainedTo = Callable[[str], int | None]
"""The time of the last event that a version was trained on, epoch ms; None if it is not known."""


@dataclass(frozen=True)
class WatchLimits:
    """The limits of a watch, all in milliseconds of event time except the last.

    Args:
        span_ms: How long before an incident its reference may begin.
        quiet_ms: How long after an incident the same version opens no other one.
        cool_down_ms: How long after a training none is proposed, in ms of the clock.
    """

    span_ms: int
    quiet_ms: int
    cool_down_ms: int


def watch_once(
    project: Project,
    kafka: KafkaAccess,
    topics: Topics,
    limits: WatchLimits,
    now_ms: int,
    registry: Registry | None = None,
    trained_to: TrainedTo = lambda _version: None,
) -> list[Entry]:
    """Take in the alarms that there are, diagnose what is open, propose what follows; returns the log.

    ``trained_to`` says which events a version knows: these are no reference. Done twice, nothing is added the second
    time. Killed at any moment, each addition is there whole or not at all.

    Raises:
        PenstockError: if a topic cannot be read or written.
    """
    pipeline = project.pipeline
    alarms = sorted(_alarms(topics.read(pipeline.drift_topic)), key=lambda one: (one.event_time_ms, one.id))
    look = _Look(project, kafka, topics, limits, now_ms, registry, trained_to, alarms)
    looked_at: set[str] = set()
    while True:
        entries = extend(kafka, pipeline, lambda log: news(log, alarms, limits.quiet_ms, now_ms))
        for incident in list(incidents_of(entries).values()):
            if incident.is_open and incident.id not in looked_at:
                looked_at.add(incident.id)
                entries = _look_at(look, incident, incidents_of(entries))
        if not news(entries, alarms, limits.quiet_ms, now_ms):
            return entries


def _well_until(known: Mapping[str, Incident], incident: Incident) -> int | None:
    """Until when all was well before an incident: until the first fault of the version, which is no reference."""
    faulty = [
        signal.event_time_ms
        for one in known.values()
        if one.id != incident.id and one.model_version == incident.model_version and _is_fault(one.diagnosis)
        for signal in one.signals
    ]
    return min(faulty, default=None)


def _is_fault(diagnosis: Diagnosed | None) -> bool:
    return diagnosis is not None and diagnosis.cause in ("upstream-fault", "label-fault")


@dataclass(frozen=True)
class _Look:
    """The arguments of :func:`watch_once`."""

    project: Project
    kafka: KafkaAccess
    topics: Topics
    limits: WatchLimits
    now_ms: int
    registry: Registry | None
    trained_to: TrainedTo
    alarms: Sequence[Signal]


def _look_at(look: _Look, incident: Incident, earlier: Mapping[str, Incident]) -> list[Entry]:
    project, now_ms, limits = look.project, look.now_ms, look.limits
    since_ms = incident.first_ms
    until_ms = _well_until(earlier, incident)
    ended_ms = over_ms(incident, look.alarms)
    gathered = gather(
        project,
        look.topics,
        incident.model_version,
        since_ms,
        limits.span_ms,
        look.registry,
        until_ms=until_ms,
        over_ms=ended_ms,
        trained_to_ms=look.trained_to(incident.model_version),
    )
    periods = None if gathered is None else gathered.periods
    diagnosed = None
    if periods is not None and not incident.is_scheduled:  # where no alarm has come there is nothing to explain
        diagnosed = _diagnosed(project, incident, periods, now_ms)

    def decide(log: Sequence[Entry]) -> list[Entry]:
        present = incidents_of(log).get(incident.id)
        if present is None or not present.is_open:
            return []
        added: list[Entry] = []
        if diagnosed is not None and _is_news(present.diagnosis, diagnosed):
            added.append(diagnosed)
            present.diagnosis = diagnosed
        if gathered is not None and gathered.others >= _REPLACED:
            why = f"other versions than {incident.model_version} score now"
            return [*added, Closed(incident=incident.id, time_ms=now_ms, author="penstock", reason=why)]
        if ended_ms is not None and _says_nothing(present.diagnosis):
            why = "its alarms have ended, and nothing had changed that matters"
            return [*added, Closed(incident=incident.id, time_ms=now_ms, author="penstock", reason=why)]
        if gathered is not None and periods is not None:
            proposal = proposal_for(
                present,
                log,
                from_ms=gathered.begin_ms if present.diagnosis and present.diagnosis.action == "prepare" else since_ms,
                to_ms=gathered.end_ms + 1,
                cool_down_ms=limits.cool_down_ms,
                now_ms=now_ms,
            )
            added += [proposal] if proposal is not None else []
        return added

    entries = extend(look.kafka, project.pipeline, decide)
    if diagnosed is not None:
        _log.info("incident %s: %s (%s)", incident.id, diagnosed.cause, "; ".join(diagnosed.why))
    return entries


def _diagnosed(project: Project, incident: Incident, periods: Periods, now_ms: int) -> Diagnosed | None:
    if len(periods.now) < _LEAST_NOW:
        return None
    evidence = evidence_of(periods.before, periods.now)
    verdict = diagnose(evidence, roots_of(project))
    first = next(
        (shift.first for shift in evidence.shifts if verdict.column is not None and shift.first is not None), None
    )
    return Diagnosed(
        incident=incident.id,
        time_ms=now_ms,
        cause=verdict.cause,
        action=verdict.action,
        why=tuple(verdict.why),
        column=verdict.column,
        first=None if first is None else periods.places[first],
        shares={name: round(share, 4) for name, share in (verdict.shares or {}).items()},
        mature=len(periods.now.matured()),
    )


def _says_nothing(diagnosis: Diagnosed | None) -> bool:
    """Whether nothing is to be done about an incident whose alarms have ended, or too few events tell."""
    return diagnosis is None or diagnosis.cause == "none"


def _is_news(before: Diagnosed | None, now: Diagnosed) -> bool:
    """Whether a diagnosis says something else than the one before."""
    return before is None or (before.cause, before.column) != (now.cause, now.column)


def _alarms(records: Iterable[Record]) -> Iterable[Signal]:
    for alert in decoded(records, "drift_alert"):
        yield Signal(
            id=alert["alert_id"],
            what=alert["monitor"],
            text=alert["message"],
            event_time_ms=alert["event_time"],
            place=f"{alert['topic']}[{alert['partition']}]@{alert['offset']}",
            model_version=alert["model_version"],
        )
