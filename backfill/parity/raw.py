"""The raw events of some entities: valid ones, first copies, with the columns that the job gives them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from backfill.parity.sample import Chosen
from backfill.parity.values import Place
from penstock.kafka.reading import Record
from schemas.codec import Decoder, Registry, decode_event, event_row
from schemas.committed import writer_schemas
from schemas.contract import Contract
from schemas.dead_letters import DeadLetter
from streams.definitions.base import EVENT_TYPE
from streams.oracle.derived_columns import derive
from streams.oracle.lookups import LookupHistory
from streams.oracle.reference import Row, accept_events
from streams.plan.entity_text import entity_text
from streams.plan.model import PipelinePlan, SourcePlan
from streams.plan.project import Project

_CHUNK = 5_000
# How much shorter than its idle time a partition's silence may seem by Kafka's timestamps.
_IDLE_MARGIN_MS = 2_000
JOB = "penstock.job"


@dataclass(frozen=True, slots=True)
class RawEvent:
    """A valid raw event.

    Args:
        place: Where it is.
        timestamp: Its Kafka timestamp, epoch ms.
        clock: The greatest timestamp of its partition up to it: by (clock, place), a replay takes events in order.
        time: Its event time, epoch ms.
        row: All columns, derived ones included.
        may_be_late: Of a source in event-time order, whether the watermark may have passed its time before it came.
    """

    place: Place
    timestamp: int
    clock: int
    time: int
    row: Row
    may_be_late: bool = False

    @property
    def turn(self) -> tuple[int, ...]:
        """Its place in the order of a replay."""
        return self.clock, *self.place


@dataclass
class RawEvents:
    """The raw events of the chosen entities, by place, and what was read.

    Attributes:
        events: The valid events that their source's filter accepts; duplicates are still among them.
        begins: For each (source, partition): offset and Kafka timestamp of the first record that was read.
        ends: For each (source, partition): the offset after the last record that was read.
        newest_timestamp: The greatest Kafka timestamp that was read; None if there was no record.
    """

    events: dict[Place, RawEvent] = field(default_factory=dict)
    begins: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)
    ends: dict[tuple[int, int], int] = field(default_factory=dict)
    newest_timestamp: int | None = None

    def was_read(self, place: Place) -> bool:
        """Whether the record at a place was among those that were read."""
        lane = place.source, place.partition
        return lane in self.begins and self.begins[lane][0] <= place.offset < self.ends[lane]


def read_source(
    project: Project,
    number: int,
    records: Iterable[Record],
    keep: Callable[[Row], bool],
    into: RawEvents,
    *,
    pii_key: bytes,
    registry: Registry | None = None,
    lookups: LookupHistory | None = None,
) -> None:
    """Add some events of one source to ``into``.

    Args:
        project: The pipeline.
        number: The number of the source.
        records: Its records, in offset order within each partition.
        keep: Whether an event with these columns is kept.
        into: Gets the events.
        pii_key: The key that hashes personal data.
        registry: Finds the schemas of a registry.
        lookups: The reference data, if the pipeline has lookups: an event gets what was there at its clock.
    """
    plan, source = project.plan, project.plan.sources[number]
    contract = project.pipeline.sources[number].contract
    writers = Decoder(*writer_schemas(contract, project.schemas))
    event_type = {EVENT_TYPE: source.contract} if plan.additional_sources else {}
    reserved = plan.reserved_ids(number)
    clocks = _Clocks(source)
    remaining = iter(records)
    while chunk := list(islice(remaining, _CHUNK)):
        valid: list[tuple[Record, Row]] = []
        for record in chunk:
            lane = number, record.partition
            into.begins.setdefault(lane, (record.offset, record.timestamp))
            into.ends[lane] = record.offset + 1
            into.newest_timestamp = max(record.timestamp, into.newest_timestamp or record.timestamp)
            decoded = decode_event(
                record.value,
                contract,
                writers,
                kafka_timestamp_ms=record.timestamp,
                max_future_ms=source.max_future_ms,
                max_bytes=source.max_bytes,
                registry=registry,
                headers=record.headers,
                envelope=source.envelope,
                reserved_ids=reserved,
            )
            if not isinstance(decoded, Contract):
                clocks.take(record, None)
                continue
            columns = event_row(decoded, contract, pii_key) | event_type
            clocks.take(record, columns[source.event_time])
            if lookups is not None:
                clock, _ = clocks.of(Place(number, record.partition, record.offset))
                columns |= lookups.columns(clock, columns, triggers=source.triggers)
            valid.append((record, columns))
        places = [Place(number, record.partition, record.offset) for record, _ in valid]
        for place, (record, _), row in zip(places, valid, derive(plan, [row for _, row in valid]), strict=True):
            is_accepted = source.filter is None or row[source.filter] is True
            clock, may_be_late = clocks.of(place)
            if is_accepted and keep(row):
                time = row[source.event_time]
                assert isinstance(time, int)
                into.events[place] = RawEvent(place, record.timestamp, clock, time, row, may_be_late)
        clocks.forget()


def of_entities(plan: PipelinePlan, chosen: Chosen) -> Callable[[Row], bool]:
    """Keeps the events that name a chosen entity."""
    return lambda row: any(chosen(kind, entity) for kind, entity in entities_of(plan, row))


def of_keys(source: SourcePlan, keys: Collection[Any]) -> Callable[[Row], bool]:
    """Keeps the events of some keys of de-duplication, as :func:`key_of` gives them."""
    return lambda row: key_of(source, row) in keys


def key_of(source: SourcePlan, row: Row) -> tuple[bool, Any]:
    """Among which events an event of a source may be a copy: those of its key or, without one, of its id."""
    key = None if source.key is None else row[source.key]
    assert source.event_id is not None
    return (True, row[source.event_id]) if key is None else (False, key)


def entities_of(plan: PipelinePlan, row: Row) -> Iterator[tuple[str, str]]:
    """The entities that an event names, each with its kind."""
    for stage in plan.stages:
        entity = row[stage.key]
        if entity is not None:
            yield stage.entity, entity_text(entity)


class _Clocks:
    """The replay's clock of each record of a chunk, and which events an event-time source may take out of order."""

    def __init__(self, source: SourcePlan) -> None:
        self._source = source
        self._clock: dict[int, int] = {}
        self._newest: dict[int, int] = {}
        self._active: dict[int, int] = {}
        self._of: dict[tuple[int, int], tuple[int, bool]] = {}

    def take(self, record: Record, time: Any) -> None:
        """The next record of a partition; ``time`` is its event time, None if it is refused."""
        partition = record.partition
        clock = self._clock[partition] = max(self._clock.get(partition, record.timestamp), record.timestamp)
        if time is None:
            return
        late = False
        if self._source.order == "event_time":
            before = self._newest.get(partition)
            late = (
                before is None
                or before > time + self._source.disorder_ms
                or record.timestamp - self._active[partition] >= self._source.idle_after_ms - _IDLE_MARGIN_MS
            )
            self._newest[partition] = time if before is None else max(before, time)
            self._active[partition] = record.timestamp
        self._of[partition, record.offset] = clock, late

    def of(self, place: Place) -> tuple[int, bool]:
        return self._of[place.partition, place.offset]

    def forget(self) -> None:
        """The events of the chunk are done."""
        self._of.clear()


def refused_places(records: Iterable[Record], plan: PipelinePlan, number: int) -> set[Place]:
    """The events that the live job refused, by the dead letters of one source."""
    source, found = plan.sources[number], set()
    for record in records:
        try:
            letter = DeadLetter.read(record.key, record.value, record.headers)
        except ValueError:
            continue
        if letter.component == JOB and letter.topic == source.topic and letter.pipeline in (plan.pipeline, None):
            found.add(Place(number, letter.partition, letter.offset))
    return found


def duplicates(
    plan: PipelinePlan, events: Mapping[Place, RawEvent], served: Collection[Place], chosen: Chosen
) -> tuple[set[Place], set[Place]]:
    """The events that are copies of earlier ones, and those among them that were nevertheless served.

    Whether a copy is too old to be one depends on all events of its key. Where the sample has them all, the answer is
    the job's own. Elsewhere an event that was served is taken for no copy, and one that was not served is a copy only
    if the sample has the event that it repeats. If copies name other entities, that need not be so.
    """
    copies: set[Place] = set()
    twice: set[Place] = set()
    for number, source in enumerate(plan.sources):
        if source.event_id is None or plan.ids_of(number) != number:
            continue
        own = sorted((e for place, e in events.items() if plan.ids_of(place.source) == number), key=lambda e: e.turn)
        arrived = _possible_arrivals(source, own, served)
        ids = [_identity(source, event) for event in arrived]
        times = [event.time for event in arrived]
        verdicts = accept_events([(*one, time) for one, time in zip(ids, times, strict=True)], source.dedup_horizon_ms)
        for event, is_first in zip(arrived, verdicts, strict=True):
            if is_first:
                continue
            if event.place not in served or not source.triggers:
                copies.add(event.place)
            elif has_whole_key(plan, source, event, chosen):
                twice.add(event.place)
    return copies, twice


def _identity(source: SourcePlan, event: RawEvent) -> tuple[Any, str]:
    assert source.event_id is not None
    return None if source.key is None else event.row[source.key], str(event.row[source.event_id])


def has_whole_key(plan: PipelinePlan, source: SourcePlan, event: RawEvent, chosen: Chosen) -> bool:
    """Whether the sample has all events of the event's key."""
    key = None if source.key is None else event.row[source.key]
    if key is None:
        return True  # the id is the key
    return any(stage.key == source.key and chosen(stage.entity, entity_text(key)) for stage in plan.stages)


def _possible_arrivals(source: SourcePlan, events: list[RawEvent], served: Collection[Place]) -> list[RawEvent]:
    """The events in an order in which they may have arrived: copies that came another way follow the one that counted.

    Those of one partition of a topic come in the order of their offsets.
    """
    first: dict[tuple[Any, str], RawEvent] = {}
    for event in events:
        if event.place in served:
            first.setdefault(_identity(source, event), event)
    behind: dict[Place, list[RawEvent]] = defaultdict(list)
    order = []
    for event in events:
        taken = first.get(_identity(source, event))
        if event.place in served or taken is None or taken.place[:2] == event.place[:2]:
            order.append(event)
        else:
            behind[taken.place].append(event)
    return [one for event in order for one in (event, *behind[event.place])]


def with_columns(event: RawEvent, columns: Mapping[str, Any]) -> RawEvent:
    """The event with other values of some columns."""
    return replace(event, row={**event.row, **columns})
