"""What the job published for the chosen entities: the first record of each event, and the order in which it counted."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from backfill.parity.sample import Chosen
from backfill.parity.values import Place, scored_sources
from penstock.kafka.reading import Record
from schemas.codec import Undecodable, UnknownSchema
from schemas.records import TIMER
from streams.plan.feature_records import NO_NAMES, FeaturesDecoder
from streams.plan.model import PipelinePlan


@dataclass(frozen=True, slots=True)
class ServedRecord:
    """The feature record of an event, decoded.

    ``lacks`` names the views and columns that are null because an earlier definition wrote it.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int
    value: Mapping[str, Any]
    lacks: frozenset[str] = NO_NAMES

    @property
    def at(self) -> str:
        """``topic[partition]@offset``."""
        return f"{self.topic}[{self.partition}]@{self.offset}"


class Emission(NamedTuple):
    """That a view counted an event: ``updates`` are those it had taken since its last record; None if too many."""

    epoch: int
    attempt: int
    seq: int
    place: Place
    updates: tuple[Place, ...] | None


@dataclass
class Served:
    """The features topic, as far as the chosen entities are concerned.

    Attributes:
        first: The first record of each event in the range: the one that is scored.
        seen: The events that have a record, in the range or not.
        computed: For each of them, the computed columns of type double that its record carries.
        looked_up: For each of them, the columns that it was given from reference data.
        emissions: By view and entity, what it counted for events.
        begins: For each partition: offset and Kafka timestamp of the first record that was read.
        lacking: For each view, and each (source, partition): the greatest offset of an event whose record lacks the
            view.
        newest: For each (source, partition), the greatest offset of an event that has a record.
        unreadable: How many records are no feature records, or of an event of no topic that is scored: an event that
            has one of these only has none.
    """

    first: dict[Place, ServedRecord] = field(default_factory=dict)
    seen: set[Place] = field(default_factory=set)
    computed: dict[Place, dict[str, float | None]] = field(default_factory=dict)
    looked_up: dict[Place, dict[str, Any]] = field(default_factory=dict)
    emissions: dict[str, dict[str, list[Emission]]] = field(default_factory=lambda: defaultdict(dict))
    begins: dict[int, tuple[int, int]] = field(default_factory=dict)
    lacking: dict[str, dict[tuple[int, int], int]] = field(default_factory=lambda: defaultdict(dict))
    newest: dict[tuple[int, int], int] = field(default_factory=dict)
    unreadable: int = 0

    def updates(self) -> set[Place]:
        """The events without a record of their own that a record names."""
        every = (emission for of_view in self.emissions.values() for own in of_view.values() for emission in own)
        return {place for emission in every for place in emission.updates or ()}


def read_served(
    plan: PipelinePlan,
    decoder: FeaturesDecoder,
    records: Iterable[Record],
    chosen: Chosen,
    in_range: Callable[[int], bool],
) -> Served:
    """Read the feature records of events; records must be in offset order within each partition.

    Args:
        plan: The plan.
        decoder: Decodes the records.
        records: The features topic.
        chosen: Which entities are compared.
        in_range: Whether an event time is in the range; of other events only the order is kept.

    Raises:
        PenstockError: if a record does not say which events it has taken; it names the place.
    """
    served = Served()
    carried = {name for name, _ in plan.passthrough}
    looked_up = [column for lookup in plan.lookups for _, column in lookup.columns]
    doubles = [column.name for column in plan.derived if column.type == "double" and column.name in carried]
    topic, scored = plan.features_topic, scored_sources(plan)
    for record in records:
        served.begins.setdefault(record.partition, (record.offset, record.timestamp))
        where = f"{topic}[{record.partition}]@{record.offset}"
        try:
            value = decoder.decode(record.value or b"", where)
        except (Undecodable, UnknownSchema):
            served.unreadable += 1
            continue
        if value["trigger"] == TIMER:
            continue
        if value["source"]["topic"] not in scored:
            served.unreadable += 1
            continue
        place = Place(scored[value["source"]["topic"]], value["source"]["partition"], value["source"]["offset"])
        lane, offset = place[:2], place.offset
        served.newest[lane] = max(offset, served.newest.get(lane, -1))
        parts = {view.name: value[view.name] for stage in plan.stages for view in stage.views}
        kinds = {view.name: stage.entity for stage in plan.stages for view in stage.views}
        own = {name: part for name, part in parts.items() if part is not None and chosen(kinds[name], part["entity"])}
        lacks = decoder.absent_names(record.value or b"")
        for name in lacks:
            served.lacking[name][lane] = max(offset, served.lacking[name].get(lane, -1))
        # The record of a definition without a view does not say whether the view's entity is in the sample.
        if not own and not lacks:
            continue
        updates = _updates(record, where)
        for name, part in own.items():
            emission = Emission(part["epoch"], value["attempt"], part["seq"], place, updates.get(name, ()))
            served.emissions[name].setdefault(part["entity"], []).append(emission)
        if place not in served.seen:
            served.seen.add(place)
            if doubles and not any(f"event.{name}" in lacks for name in doubles):
                served.computed[place] = {name: value["event"][name] for name in doubles}
            if looked_up and not any(f"event.{name}" in lacks for name in looked_up):
                served.looked_up[place] = {name: value["event"][name] for name in looked_up}
            if in_range(value["event_time"]):
                served.first[place] = ServedRecord(
                    topic, record.partition, record.offset, record.timestamp, value, lacks
                )
    return served


def _updates(record: Record, where: str) -> dict[str, tuple[Place, ...] | None]:
    """What the header ``updates`` says: by view, the events without a record that it took before this one."""
    header = dict(record.headers).get("updates")
    try:
        return {
            view: None if places is None else tuple(Place(*place) for place in places)
            for view, places in json.loads(header or b"{}").items()
        }
    except (ValueError, TypeError, AttributeError) as error:
        raise Undecodable(f"the header updates is no list of positions: {error}", where=where) from error
