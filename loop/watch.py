"""Opens incidents for alarms, finds their causes, and proposes trainings: what is done once, or again and again."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from backfill.topic_reading import Topics
from loop.causes import diagnose, evidence_of
from loop.entries import Closed, Diagnosed, Entry, Signal
from loop.faults_of_events import fault_of
from loop.first_events import first_event, producer_at
from loop.gathering import Inputs, Periods, gather, place_text
from loop.incidents import Incident, incidents_of, news, over_ms
from loop.lineage import roots_of
from loop.proposals import proposal_for
from loop.sample import Sample
from loop.shifts import Shift
from loop.store import extend
from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from penstock.kafka.reading import Record
from schemas.codec import Registry
from schemas.history import decoded
from scoring.repository import ModelRepository
from streams.plan.project import Project

_log = logging.getLogger(__name__)

# Fewer present events say too little of their distribution.
_LEAST_NOW = 1_000
# With fewer labels of a class since the first alarm, a training needs the events before, too.
_ENOUGH = 500
# Once other versions score so many of the latest events, the incident's version is replaced.
_REPLACED = 0.95


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


class Watch:
    """Takes alarms in, diagnoses what is open, and proposes what follows, look by look.

    Done twice, nothing is added the second time. Killed at any moment, each addition is there whole or not at all.

    Args:
        project: The pipeline.
        kafka: How to reach Kafka.
        limits: The limits.
        repository: Says which inputs a version takes, and which events it was trained on; one that it lacks is taken to
            have the inputs of the definition.
    """

    def __init__(self, project: Project, kafka: KafkaAccess, limits: WatchLimits, repository: ModelRepository) -> None:
        self._project, self._kafka, self._limits, self._repository = project, kafka, limits, repository
        self._alarms: list[Signal] = []  # those that were read
        self._read: dict[int, int] = {}  # up to which offset, by partition
        self._last: dict[int, Record] = {}  # the last record before it

    def look(self, topics: Topics, now_ms: int, registry: Registry | None = None) -> list[Entry]:
        """Look once; returns the log.

        Alarms that an earlier look has read are not read again.

        Args:
            topics: Where topics are read.
            now_ms: The time, epoch ms.
            registry: Finds the schemas of Confluent-framed labels.

        Raises:
            PenstockError: if a topic cannot be read or written.
        """
        self._read_alarms(topics)

        def unknown(log: Sequence[Entry]) -> list[Entry]:
            return news(log, self._alarms, self._limits.quiet_ms, now_ms)

        looked_at: set[str] = set()
        while True:
            entries = extend(self._kafka, self._project.pipeline, unknown)
            for incident in list(incidents_of(entries).values()):
                if incident.is_open and incident.id not in looked_at:
                    looked_at.add(incident.id)
                    version = version_of(self._project, self._repository, incident.model_version)
                    look = _Look(
                        self._project, self._kafka, topics, self._limits, now_ms, registry, version, self._alarms
                    )
                    entries = _look_at(look, incident, incidents_of(entries))
            # Whether a later alarm opens an incident depends on the cause of the one before.
            if not unknown(entries):
                return entries

    def _read_alarms(self, topics: Topics) -> None:
        """Read the alarms that have come; a topic that was made anew is read from its beginning.

        Such a topic may be as long as the one before, or longer. So the last record of each partition is read again: in
        another topic there is another one.
        """
        topic = self._project.pipeline.drift_topic
        ranges = topics.ranges(topic)
        ends = {number: end for number, (_, end) in ranges.items()}
        start = {number: max(first, self._read.get(number, first)) for number, (first, _) in ranges.items()}
        known = {n: one for n, one in self._last.items() if n in ranges and ranges[n][0] <= one.offset}
        records: list[Record] = []
        is_new = any(at > ends[number] for number, at in start.items()) or not self._last.keys() <= ranges.keys()
        if not is_new:
            records = list(topics.read(topic, start=start | {n: one.offset for n, one in known.items()}, end=ends))
            is_new = not all(one in records for one in known.values())
        if is_new:
            _log.warning("%s was made anew: it is read from its beginning", topic)
            records = list(topics.read(topic, start={number: first for number, (first, _) in ranges.items()}, end=ends))
            self._last = {}
        self._last |= {record.partition: record for record in records}
        alarms = {one.id: one for one in (*self._alarms, *alarms_in(records))}
        self._alarms, self._read = sorted(alarms.values(), key=lambda one: (one.event_time_ms, one.id)), ends


def _well_until(known: Mapping[str, Incident], incident: Incident, span_ms: int) -> int | None:
    """Until when all was well before an incident: until the first fault of the version, which is no reference.

    A fault that ended before the reference may begin does not count.
    """
    faulty = [
        one.first_ms
        for one in known.values()
        if one.id != incident.id
        and one.model_version == incident.model_version
        and _is_fault(one.diagnosis)
        and (one.is_open or one.last_ms >= incident.first_ms - span_ms)
    ]
    return min(faulty, default=None)


def _is_fault(diagnosis: Diagnosed | None) -> bool:
    return diagnosis is not None and diagnosis.cause in ("upstream-fault", "label-fault")


@dataclass(frozen=True)
class _Look:
    """What one look at an incident needs."""

    project: Project
    kafka: KafkaAccess
    topics: Topics
    limits: WatchLimits
    now_ms: int
    registry: Registry | None
    version: VersionFacts
    alarms: Sequence[Signal]


def _look_at(look: _Look, incident: Incident, earlier: Mapping[str, Incident]) -> list[Entry]:
    since_ms, now_ms = incident.first_ms, look.now_ms
    # A training that a schedule has proposed does not end by itself.
    ended_ms = None if incident.is_scheduled else over_ms(incident, look.alarms)
    well_until_ms = _well_until(earlier, incident, look.limits.span_ms)
    gathered = gather(
        look.project,
        look.topics,
        incident.model_version,
        look.version.inputs,
        since_ms,
        look.limits.span_ms,
        look.registry,
        until_ms=well_until_ms,
        over_ms=ended_ms,
        trained_to_ms=look.version.trained_to_ms,
    )
    periods = None if gathered is None else gathered.periods
    labels = look.project.pipeline.labels
    # Before the first label is final, there is nothing to train on.
    horizon_ms = 0 if labels is None else labels.horizon or 0
    diagnosed = None
    if not incident.is_scheduled:  # where no alarm has come there is nothing to explain
        diagnosed = _diagnosed(look, incident, periods)

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
        ending = None if ended_ms is None else _nothing_follows(present.diagnosis, periods)
        if ending is not None:
            return [*added, Closed(incident=incident.id, time_ms=now_ms, author="penstock", reason=ending)]
        if gathered is not None and periods is not None and since_ms + horizon_ms <= gathered.end_ms:
            # A fault before it must not be learnt either.
            has_enough = well_until_ms is not None or _is_enough(present.diagnosis, periods.now)
            proposal = proposal_for(
                present,
                log,
                from_ms=since_ms if has_enough else gathered.begin_ms,
                to_ms=gathered.end_ms + 1,
                cool_down_ms=look.limits.cool_down_ms,
                now_ms=now_ms,
            )
            added += [proposal] if proposal is not None else []
        return added

    entries = extend(look.kafka, look.project.pipeline, decide)
    if diagnosed is not None:
        _log.info("incident %s: %s (%s)", incident.id, diagnosed.cause, "; ".join(diagnosed.why))
    return entries


def _diagnosed(look: _Look, incident: Incident, periods: Periods | None) -> Diagnosed | None:
    labels = look.project.pipeline.labels
    signals, labels_topics = incident.signals, () if labels is None else labels.topics
    # A world that has changed stays so, whatever else breaks later.
    is_known = incident.takes_all and not _is_fault(incident.diagnosis)
    if not is_known and (fault := fault_of(signals, labels_topics)) is not None:
        return fault.diagnosed(incident.id, look.now_ms)
    found = None if periods is None or len(periods.now) < _LEAST_NOW else _compared(look, incident, periods)
    if found is None or found.cause in ("unclear", "none"):
        hint = fault_of(signals, labels_topics, hints=True)
        return found if hint is None else hint.diagnosed(incident.id, look.now_ms)
    return found


def _compared(look: _Look, incident: Incident, periods: Periods) -> Diagnosed:
    verdict = diagnose(evidence_of(periods.before, periods.now), roots_of(look.project))
    diagnosed = Diagnosed(
        incident=incident.id,
        time_ms=look.now_ms,
        cause=verdict.cause,
        action=verdict.action,
        why=tuple(verdict.why),
        column=verdict.column,
        shares={name: round(share, 4) for name, share in (verdict.shares or {}).items()},
        mature=len(periods.now.matured()),
    )
    if verdict.fault is None or not _is_news(incident.diagnosis, diagnosed):
        return diagnosed
    return _with_begin(look, diagnosed, incident, periods, verdict.fault)


def _with_begin(look: _Look, diagnosed: Diagnosed, incident: Incident, periods: Periods, fault: Shift) -> Diagnosed:
    """Say with which event the fault began: before the first alarm perhaps, and before the events that are compared."""
    place = None if fault.first is None else periods.places[fault.first]
    if fault.mark is not None:
        begin = first_event(
            look.project,
            look.topics,
            incident.model_version,
            look.version.inputs,
            fault.column,
            fault.mark,
            well_ms=periods.well_ms,
            since_ms=incident.first_ms,
        )
        place = place if begin is None else begin
    if place is None:
        return diagnosed
    said = producer_at(look.topics, place)
    producer, why = (None, ()) if said is None else (said[0], said[1:])
    return diagnosed.model_copy(
        update={"first": place_text(place), "producer": producer, "why": (*diagnosed.why, *why)}
    )


class VersionFacts(NamedTuple):
    """What a diagnosis needs to know of a version: its inputs, and the time of the last event that it knows."""

    inputs: Inputs
    trained_to_ms: int | None


def version_of(project: Project, repository: ModelRepository, version: str) -> VersionFacts:
    """A version by its manifest; if the repository does not have it, with the inputs of the definition."""
    model = project.pipeline.model
    try:
        manifest = repository.manifest(model.name, int(version))
    except (PenstockError, ValueError, OSError) as error:
        _warn(f"version {version} of {model.name} is taken to have the inputs of the definition: {error}")
        return VersionFacts(Inputs(model.inputs, project.pipeline.categories), None)
    return VersionFacts(Inputs(manifest.inputs, manifest.categories), manifest.trained_to_ms)


@lru_cache  # once, not at each look
def _warn(text: str) -> None:
    _log.warning("%s", text)


def _nothing_follows(diagnosis: Diagnosed | None, periods: Periods | None) -> str | None:
    """Why nothing follows from an incident whose alarms have ended; None if something does, or may yet."""
    if diagnosis is None:
        return "its alarms have ended, and too few events tell of it"
    if diagnosis.cause == "none":
        return "its alarms have ended, and nothing had changed that matters"
    if diagnosis.cause == "unclear" and periods is not None and periods.is_final:
        return "its alarms have ended, and the labels of its events do not say more"
    return None


def _is_enough(diagnosis: Diagnosed | None, now: Sample) -> bool:
    """Whether a training can do with the events since the first alarm, and without those before."""
    labels = now.matured().labels
    positives = int((labels > 0).sum())
    enough = min(positives, len(labels) - positives) >= _ENOUGH
    return enough and diagnosis is not None and diagnosis.action != "prepare"


def _is_news(before: Diagnosed | None, now: Diagnosed) -> bool:
    """Whether a diagnosis says something else than the one before."""
    return before is None or (before.cause, before.column) != (now.cause, now.column)


def alarms_in(records: Iterable[Record]) -> Iterator[Signal]:
    """The alarms in the records of the drift topic."""
    for alert in decoded(records, "drift_alert"):
        yield Signal(
            id=alert["alert_id"],
            what=alert["monitor"],
            text=alert["message"],
            event_time_ms=alert["event_time"],
            place=f"{alert['topic']}[{alert['partition']}]@{alert['offset']}",
            model_version=alert["model_version"],
            detector=alert["detector"],
            current=alert["current"],
        )
