"""What served features are compared with: recomputed by the kernel from the raw events, or the rows of a backfill."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from backfill.parity.features import Recomputation, Warm
from backfill.parity.findings import Findings
from backfill.parity.kernel import FeatureKernel, StageKernel, ViewValues
from backfill.parity.orders import event_time_turn
from backfill.parity.raw import (
    JOB,
    RawEvent,
    RawEvents,
    duplicates,
    entities_of,
    has_whole_key,
    key_of,
    of_entities,
    of_keys,
    read_source,
    refused_places,
    with_columns,
)
from backfill.parity.rows import BackfillRows
from backfill.parity.sample import Chosen
from backfill.parity.served import Served
from backfill.parity.sources import NOTHING_MISSING, Range, Sources
from backfill.parity.values import FEATURES, RECORD, Cause, Difference, Place, same, same_in_sql, scored_sources
from penstock.kafka.names import dead_letters_of
from penstock.kafka.reading import Record
from schemas.dead_letters import DeadLetter
from streams.oracle.derived_columns import derive
from streams.oracle.lookups import read_history
from streams.oracle.reference import Row
from streams.plan.entity_text import entity_text
from streams.plan.model import PipelinePlan, StagePlan, ViewPlan
from streams.plan.project import Project

RECORD_GONE = "events whose feature record is no longer kept"
EVENT_GONE = "records whose raw event is no longer kept, or is outside of the backfill"
_EVENT = "event"


class Recomputing:
    """Makes the other side, and compares which events have a record, and their columns.

    Args:
        project: The pipeline.
        sources: Where its topics are.
        wanted: Which events are compared.
        chosen: Which entities are.
        served: What was served for them.
        findings: Gets counts and differences.
    """

    def __init__(
        self, project: Project, sources: Sources, wanted: Range, chosen: Chosen, served: Served, findings: Findings
    ) -> None:
        self._project, self._plan = project, project.plan
        self._sources, self._wanted, self._chosen = sources, wanted, chosen
        self._served, self._findings = served, findings
        self._history = None
        if self._plan.lookups:
            self._history = read_history(project, sources.read, sources.pii_key, sources.registry)
        self._too_long = _too_long(self._plan, sources.read(dead_letters_of(self._plan.features_topic)))

    def by_kernel(self, kernel: FeatureKernel) -> Recomputation:
        """From the raw events of the chosen entities, each entity's in the order of a replay."""
        raw, counted, twice = self._events(self._chosen)
        waiting = set()
        for place, event in counted.items():
            if not self._plan.sources[place.source].triggers or not self._wanted.has(event.time):
                continue
            if place in self._served.first:
                self._compare_columns(place, event.row)
                self._compare_lookups(place, raw.events[place].row)
            elif self._without_record(place, event.timestamp) is Cause.IN_FLIGHT:
                waiting.add(place)
        self._keep_only(counted)
        for place in self._served.first:
            self._check_event(place, raw, counted, twice)
        known = {place: event for place, event in counted.items() if place not in waiting}
        values: dict[str, dict[Place, ViewValues]] = {view.name: {} for view in self._plan.views}
        for stage in self._plan.stages:
            chains = [
                sorted(events.values(), key=self._turn)
                for entity, events in _by_entity(stage, known.values()).items()
                if self._chosen(stage.entity, entity)
            ]
            chains = [chain for chain in chains if any(event.place in self._served.first for event in chain)]
            for chain, answers in zip(chains, StageKernel(self._plan, stage, kernel).compute(chains), strict=True):
                for event, views in zip(chain, answers, strict=True):
                    if event.place in self._served.first:
                        for name, part in views.items():
                            values[name][event.place] = part

        def events_of(stage: StagePlan, entities: set[str]) -> Mapping[str, Mapping[Place, RawEvent]]:
            found = _by_entity(stage, counted.values())
            return {entity: found.get(entity, {}) for entity in entities}

        return Recomputation(values, events_of, self._warm(raw), self._turn)

    def by_rows(self, backfill: BackfillRows) -> Recomputation:
        """The rows of a backfill; raw events are read where values differ, once."""
        values: dict[str, dict[Place, ViewValues]] = {view.name: {} for view in self._plan.views}
        rows = set()
        kinds = {view.name: stage.entity for stage in self._plan.stages for view in stage.views}
        for row in backfill.rows():
            own = {name: part for name, part in row.parts.items() if self._chosen(kinds[name], part.entity)}
            if not self._wanted.has(row.time):
                continue
            if row.place not in self._served.first:
                if own:
                    self._without_record(row.place, row.timestamp)
                continue
            # Also of an event without an entity of the backfill's views: it has its row.
            rows.add(row.place)
            self._compare_columns(row.place, row.columns)
            for name, part in own.items():
                values[name][row.place] = part
            strange = [
                self._plan.view(name)
                for name in values.keys() & backfill.backfill.manifest.views.keys() - row.parts.keys()
                if (part := self._served.first[row.place].value[name]) is not None
                and self._chosen(kinds[name], part["entity"])
            ]
            self._findings.add(self._strange(row.place, strange))
        self._keep_only(rows)
        for place, record in self._served.first.items():
            if place in rows:
                continue
            if backfill.has(place, record.value["event_time"]):
                self._findings.add([self._of_record(place, "event", Cause.UNEXPLAINED)])
            else:
                self._findings.not_compared[EVENT_GONE] += 1

        def events_of(stage: StagePlan, entities: set[str]) -> Mapping[str, Mapping[Place, RawEvent]]:
            _, counted, _ = self._events(lambda kind, entity: kind == stage.entity and entity in entities)
            return _by_entity(stage, counted.values())

        return Recomputation(values, events_of, lambda _view, _as_of: True, self._turn, backfill.replayed)

    def _events(self, chosen: Chosen) -> tuple[RawEvents, dict[Place, RawEvent], set[Place]]:
        """What was read, the events that count, and the copies that were served nevertheless."""
        raw, refused = RawEvents(), set()
        for number, source in enumerate(self._plan.sources):
            refused |= refused_places(self._sources.read(source.dead_letter_topic), self._plan, number)
            self._read(number, of_entities(self._plan, chosen), raw)
        # The job refused them by its own clock, or by a contract that has changed since.
        taken = {
            place: event for place, event in raw.events.items() if place in self._served.seen or place not in refused
        }
        copies, twice = duplicates(self._plan, taken, self._served.seen, chosen)
        copies |= self._other_copies(taken, copies, chosen)
        counted = self._with_served_lookups({p: event for p, event in taken.items() if p not in copies})
        return raw, {place: self._as_served(event) for place, event in counted.items()}, twice

    def _read(self, number: int, keep: Callable[[Row], bool], into: RawEvents) -> None:
        """Add some events of one source to ``into``."""
        records = self._sources.read(self._plan.sources[number].topic)
        key, registry = self._sources.pii_key, self._sources.registry
        read_source(self._project, number, records, keep, into, pii_key=key, registry=registry, lookups=self._history)

    def _other_copies(self, taken: Mapping[Place, RawEvent], copies: AbstractSet[Place], chosen: Chosen) -> set[Place]:
        """Copies of events that name other entities, and so are not in the sample.

        Only events that the job seems to have passed over can be such. If there are any, all events of their keys are
        read.
        """
        named = self._served.seen | self._served.updates()
        newest: dict[tuple[str, str], tuple[int, ...]] = {}
        for place in named & taken.keys():
            for entity in entities_of(self._plan, taken[place].row):
                newest[entity] = max(taken[place].turn, newest.get(entity, ()))
        found = set()
        for number, source in enumerate(self._plan.sources):
            sharing = [n for n in range(len(self._plan.sources)) if self._plan.ids_of(n) == number]
            passed_over = {
                event.place
                for event in taken.values()
                if event.place.source in sharing
                and source.event_id is not None
                and event.place not in copies
                and event.place not in named
                and not has_whole_key(self._plan, source, event, chosen)
                and (
                    event.place.offset < self._taken_until(event.place)
                    if source.triggers
                    else any(newest.get(one, ()) > event.turn for one in entities_of(self._plan, event.row))
                )
            }
            if not passed_over:
                continue
            keep = of_keys(source, {key_of(source, taken[place].row) for place in passed_over})
            of_keys_only = RawEvents()
            for one in sharing:
                self._read(one, keep, of_keys_only)
            found |= duplicates(self._plan, of_keys_only.events, self._served.seen, chosen)[0] & passed_over
        return found

    def _with_served_lookups(self, events: dict[Place, RawEvent]) -> dict[Place, RawEvent]:
        """The events with the reference data that they were given, and what follows from it in other columns.

        So a row that changed is found once, at the event that was given it.
        """
        given = {place: self._served.looked_up[place] for place in events.keys() & self._served.looked_up.keys()}
        other = {p: g for p, g in given.items() if any(not same(v, events[p].row[n]) for n, v in g.items())}
        if not other:
            return events
        names = self._plan.contract_columns
        rows: list[Row] = [{name: events[p].row.get(name) for name in names} | dict(g) for p, g in other.items()]
        derived = derive(self._plan, rows)
        return events | {p: with_columns(events[p], row) for p, row in zip(other, derived, strict=True)}

    def _compare_lookups(self, place: Place, row: Row) -> None:
        """Compare what an event was given from reference data with what the topics give it at its clock."""
        given = self._served.looked_up.get(place)
        if given is None or self._history is None:
            return
        self._findings.compared[FEATURES, _EVENT] += len(given)
        wrong = [name for name, value in given.items() if not same(value, row[name])]
        if not wrong:
            return
        cause = Cause.REFERENCE if self._history.explains(row, given) else Cause.UNEXPLAINED
        at = self._served.first[place].at
        self._findings.add(
            Difference(FEATURES, _EVENT, name, cause, None, place, at, given[name], row[name], place) for name in wrong
        )

    def _as_served(self, event: RawEvent) -> RawEvent:
        """The event with the bits that Flink gave its computed columns, where DuckDB's differ by rounding only."""
        rounded = {
            name: value
            for name, value in self._served.computed.get(event.place, {}).items()
            if not same(value, event.row[name]) and same_in_sql(value, event.row[name])
        }
        return with_columns(event, rounded) if rounded else event

    def _without_record(self, place: Place, timestamp: int) -> Cause | None:
        """Why an event has no feature record; None if that record may have been deleted."""
        if place in self._too_long:
            cause = Cause.MISSING
        elif place.offset >= self._taken_until(place):
            cause = Cause.IN_FLIGHT
        elif timestamp < self._kept_from(place.partition):
            self._findings.not_compared[RECORD_GONE] += 1
            return None
        else:
            cause = Cause.UNEXPLAINED
        self._findings.compared[RECORD, ""] += 1
        self._findings.add([self._of_record(place, "features", cause)])
        return cause

    def _taken_until(self, place: Place) -> int:
        """The offset before which the job has published everything, of the partition of an event that is scored."""
        taken = self._sources.taken
        if taken is None:
            return self._served.newest.get(place[:2], -1) + 1
        return taken[self._plan.sources[place.source].topic].get(place.partition, 0)

    def _keep_only(self, counted: Container[Place]) -> None:
        """Leave out records of no compared entity: one without a view did not say whether its entity is compared."""
        first = self._served.first
        for place in [place for place in first if place not in counted and not self._is_chosen(place)]:
            del first[place]

    def _kept_from(self, partition: int) -> int:
        """The Kafka timestamp before which feature records of a partition may be missing."""
        return self._sources.missing_before(self._plan.features_topic, partition, self._served.begins.get(partition))

    def _check_event(
        self, place: Place, raw: RawEvents, counted: Mapping[Place, RawEvent], twice: AbstractSet[Place]
    ) -> None:
        """Check that the event of a record is one that counts."""
        if place not in counted and not raw.was_read(place):
            self._findings.not_compared[EVENT_GONE] += 1
            return
        self._findings.compared[RECORD, ""] += 1
        if place in counted and (strange := self._strange_entities(place, counted[place])):
            self._findings.add(self._strange(place, strange))
        if place in twice or place not in counted:
            name = "features of a duplicate" if place in twice else "features of no valid event"
            self._findings.add([self._of_record(place, name, Cause.UNEXPLAINED)])

    def _strange_entities(self, place: Place, event: RawEvent) -> list[ViewPlan]:
        """The views whose part is of a compared entity, and the event names one that is not compared, or none."""
        value, found = self._served.first[place].value, []
        for stage in self._plan.stages:
            entity = event.row[stage.key]
            if entity is None or not self._chosen(stage.entity, entity_text(entity)):
                parts = [(view, value[view.name]) for view in stage.views]
                found += [v for v, part in parts if part is not None and self._chosen(stage.entity, part["entity"])]
        return found

    def _strange(self, place: Place, views: Iterable[ViewPlan]) -> list[Difference]:
        """A record has parts of these views, and the event names no such entity."""
        return [self._of_record(place, f"entity of {view.id}", Cause.UNEXPLAINED) for view in views]

    def _is_chosen(self, place: Place) -> bool:
        value = self._served.first[place].value
        parts = ((stage.entity, value[view.name]) for stage in self._plan.stages for view in stage.views)
        return any(part is not None and self._chosen(kind, part["entity"]) for kind, part in parts)

    def _of_record(self, place: Place, name: str, cause: Cause) -> Difference:
        record = self._served.first.get(place)
        at = None if record is None else record.at
        return Difference(RECORD, "", name, cause, None, place, at, None, None, place)

    def _compare_columns(self, place: Place, columns: Mapping[str, Any]) -> None:
        """Compare the event's columns on its record; computed ones may be rounded otherwise."""
        record = self._served.first[place]
        computed = {column.name for column in self._plan.derived}
        looked_up = self._served.looked_up.get(place, ())
        for name, _ in self._plan.passthrough:
            if name in looked_up:
                continue  # see _compare_lookups
            got, wanted = record.value["event"][name], columns[name]
            self._findings.compared[FEATURES, _EVENT] += 1
            if not same(got, wanted) and not (name in computed and same_in_sql(got, wanted)):
                cause = Cause.VERSION if f"event.{name}" in record.lacks else Cause.UNEXPLAINED
                self._findings.add(
                    [Difference(FEATURES, _EVENT, name, cause, None, place, record.at, got, wanted, place)]
                )

    def _turn(self, event: RawEvent) -> tuple[int, ...]:
        return event_time_turn(event) if self._plan.source.order == "event_time" else event.turn

    def _warm(self, raw: RawEvents) -> Warm:
        """Events that may be missing are older than a time, by their own: a window that begins after it is whole."""
        bounds = []
        for number, source in enumerate(self._plan.sources):
            for partition in range(source.partitions):
                begin = raw.begins.get((number, partition))
                before = self._sources.missing_before(source.topic, partition, begin)
                if before > NOTHING_MISSING:
                    # A copy of a deleted event looks like a first one.
                    bounds.append(before + source.max_future_ms + source.dedup_horizon_ms)

        def warm(view: ViewPlan, as_of: int) -> bool:
            if not bounds:
                return True
            longest = max(feature.window_ms + feature.hop_ms for feature in view.features)
            return view.longest_window_ms is not None and as_of - longest > max(bounds)

        return warm


def _by_entity(stage: StagePlan, events: Iterable[RawEvent]) -> dict[str, dict[Place, RawEvent]]:
    found: dict[str, dict[Place, RawEvent]] = defaultdict(dict)
    for event in events:
        entity = event.row[stage.key]
        if entity is not None:
            found[entity_text(entity)][event.place] = event
    return found


def _too_long(plan: PipelinePlan, letters: Iterable[Record]) -> set[Place]:
    """The events whose feature record was too long to be published."""
    found, scored = set(), scored_sources(plan)
    for record in letters:
        try:
            letter = DeadLetter.read(record.key, record.value, record.headers)
        except ValueError:
            continue
        if letter.topic in scored and letter.component == JOB:
            found.add(Place(scored[letter.topic], letter.partition, letter.offset))
    return found
