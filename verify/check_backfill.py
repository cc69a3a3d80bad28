"""Compares a backfill with the published features, bit for bit.

Every row is compared with the first emission for the same raw event. If they differ, the check compares the order in
which each run saw the entity's events. If both saw the same events in the same order, the difference is a mismatch. If
not (the entity has events in several partitions, or the live job started without its history), it is an order
difference, and the row must equal the naive oracle's result in the replay's own order (docs/guides/backfill.md).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from streams.oracle.event_time_order import Arrival, order_by_event_time
from streams.plan.entity_text import entity_text
from streams.plan.model import PipelinePlan, ViewPlan
from verify.check_events import Judged
from verify.check_features import check_vectors, derived_mismatches
from verify.continuity import chains_of
from verify.emissions import FeatureFindings, JudgedEvent, ViewEmission, emissions_of, first_emissions
from verify.findings import Findings
from verify.published import Position, Published, clocks
from verify.run_data import BackfillData

# The sort key of each record in a replay: the greatest timestamp of its partition so far, then its place.
_Order: TypeAlias = Mapping[Position, tuple[int, ...]]
_Events: TypeAlias = Mapping[Position, JudgedEvent]
# Counters of one run of a job: a replay has its own.
_OF_THE_RUN = ("epoch", "seq", "attempt")


@dataclass
class BackfillFindings(Findings):
    """Result of the check of a backfill: ``order_differences`` counts rows of a view, ``checked`` feature values.

    A row with an order difference is compared with the oracle in the replay's order.
    """

    rows: int = 0
    checked: int = 0
    order_differences: int = 0
    unchecked: list[str] = field(default_factory=list)


class _Row(NamedTuple):
    position: Position
    event_id: str
    event_time: int
    timestamp: int
    event: Mapping[str, Any]
    views: Mapping[str, Mapping[str, Any] | None]


def check_backfill(
    plan: PipelinePlan,
    backfill: BackfillData,
    events: Mapping[Position, JudgedEvent],
    records: Sequence[Published],
    timestamps: Mapping[Position, int],
    *,
    arrivals: Sequence[Arrival] = (),
    others: Sequence[Judged] = (),
    too_large: AbstractSet[Position] = frozenset(),
    never_served: AbstractSet[Position] = frozenset(),
) -> BackfillFindings:
    """Check every row against the published features, and that every event of the range has one row.

    Args:
        plan: The pipeline's plan.
        backfill: The backfill to check.
        events: The valid, first-seen events of the sources that trigger records, by position.
        records: The features topic.
        timestamps: The Kafka timestamp of every raw record of these, in offset order within each partition; it
            determines the replay's order.
        arrivals: The valid events, including duplicates, which order a source with ``order="event_time"``.
        others: The judged records of the sources that only update.
        too_large: The events whose feature record was too long to be published: they need no row, and a row of theirs
            is compared with the oracle.
        never_served: Events that a replay takes, and the live job's clock refused.
    """
    findings = BackfillFindings()
    missing = _missing_columns(plan, backfill)
    if missing:
        findings.mismatch(f"backfill: lacks {', '.join(missing)}")
        return findings
    rows = {row.position: row for row in _rows(plan, backfill)}
    findings.rows = backfill.rows.num_rows
    if not rows or not backfill.views:
        findings.unchecked.append("the backfill has no rows, or no views")
    if findings.rows != len(rows):
        findings.mismatch(f"backfill: {findings.rows - len(rows)} rows come twice")
    if findings.rows != backfill.announced_rows:
        findings.mismatch(f"backfill: {findings.rows} rows, its manifest says {backfill.announced_rows}")
    expected = {position for position, event in events.items() if _is_in_range(backfill, event)}
    for position in (expected ^ rows.keys()) - (too_large - rows.keys()):
        why = "is in the range and has no row" if position in expected else "has a row, and is no event of the range"
        findings.mismatch(f"backfill: event {position} {why}")
    served = first_emissions(records)
    for position in (expected & rows.keys()) - too_large - (never_served - served.keys()):
        _check_envelope(plan, rows[position], served.get(position), findings)
    everything = dict(events) | {place: event for other in others for place, event in other.events.items()}
    order = _replay_order(backfill, [timestamps, *(other.timestamps for other in others)])
    if plan.source.order == "event_time":
        # There is no further source.
        replayed = sorted((a for a in arrivals if Position(*a[1:3]) in order), key=lambda a: order[Position(*a[1:3])])
        partitions = len(backfill.sources[0].start)
        taken = order_by_event_time(plan.source, partitions, replayed)
        order = {Position(*arrival[1:3]): (number,) for number, arrival in enumerate(taken)}
    for view in (plan.view(name) for name in backfill.views):
        for position, row in rows.items():
            event = events.get(position)
            if event is not None and event.row[view.key] is None and row.views[view.name] is not None:
                findings.mismatch(f"backfill: event {position} has no {view.key}, and a vector of {view.id}")
        _check_view(view, rows, everything, records, served, order, too_large, findings)
    located = [(f"backfill: event {row.position}", {"event": row.event, **row.views}) for row in rows.values()]
    compared, different = derived_mismatches(plan, located, backfill.views)
    findings.checked += compared
    for text in different:
        findings.mismatch(text)
    return findings


def _missing_columns(plan: PipelinePlan, backfill: BackfillData) -> list[str]:
    """The views that the pipeline does not have, and the columns that the rows do not have."""
    views = {view.name: view for view in plan.views}
    unknown = [f"view {name} in the pipeline" for name in backfill.views if name not in views]
    wanted = ["event_id", "event_time", "source.partition", "source.offset", "source.timestamp"]
    wanted += ["source.topic"] if _several(plan) else []
    wanted += [f"event.{name}" for name, _ in plan.passthrough]
    for name in backfill.views:
        fields = ("entity", "as_of", "late", "seq", *(f.name for f in views[name].outputs)) if name in views else ()
        wanted += [f"{name}.{field}" for field in fields]
    return unknown + [name for name in wanted if name not in backfill.rows.column_names]


def _rows(plan: PipelinePlan, backfill: BackfillData) -> Iterator[_Row]:
    topics = [source.topic for source in plan.sources]
    for batch in backfill.rows.to_batches():
        columns = {name: values.to_pylist() for name, values in _plain(batch).items()}
        views = {
            name: ("entity", "as_of", "late", "seq", *(f.name for f in plan.view(name).outputs))
            for name in backfill.views
        }
        for i in range(batch.num_rows):
            yield _Row(
                position=Position(
                    columns["source.partition"][i],
                    columns["source.offset"][i],
                    topics.index(columns["source.topic"][i]) if _several(plan) else 0,
                ),
                event_id=columns["event_id"][i],
                event_time=columns["event_time"][i],
                timestamp=columns["source.timestamp"][i],
                event={name: columns[f"event.{name}"][i] for name, _ in plan.passthrough},
                views={
                    view: None
                    if columns[f"{view}.entity"][i] is None
                    else {name: columns[f"{view}.{name}"][i] for name in names}
                    for view, names in views.items()
                },
            )


def _several(plan: PipelinePlan) -> bool:
    """Whether events of several topics have rows: then a row names its topic."""
    return sum(source.triggers for source in plan.sources) > 1


def _plain(batch: Any) -> dict[str, Any]:
    """The columns by name, with times as epoch milliseconds."""
    return {
        field.name: values.cast("int64") if str(field.type).startswith("timestamp") else values
        for field, values in zip(batch.schema, batch.columns, strict=True)
    }


def _is_in_range(backfill: BackfillData, event: JudgedEvent) -> bool:
    end = backfill.sources[event.source].end.get(event.position.partition, 0)
    return backfill.from_ms <= event.time < backfill.to_ms and event.position.offset < end


def _check_envelope(plan: PipelinePlan, row: _Row, served: Published | None, findings: BackfillFindings) -> None:
    if served is None:
        findings.mismatch(f"backfill: event {row.position} was never served")
        return
    value = served.value
    pairs = [
        ("event_id", row.event_id, value["event_id"]),
        ("event_time", row.event_time, value["event_time"]),
        ("source.timestamp", row.timestamp, value["source"]["timestamp"]),
        *(
            (f"event.{name}", row.event[name], value["event"][name])
            for name, _ in plan.passthrough
            if f"event.{name}" not in served.lacks
        ),
    ]
    for name, got, wanted in pairs:
        if not _same(got, wanted):
            findings.mismatch(f"backfill: event {row.position}: {name} is {got!r}, served was {wanted!r}")


def _replay_order(backfill: BackfillData, timestamps: Iterable[Mapping[Position, int]]) -> _Order:
    """The sort key of each record in a replay: greatest timestamp of its partition so far, source, partition, offset.

    ``timestamps`` together are those of all sources.
    """

    def is_read(place: Position) -> bool:
        start, end = backfill.sources[place.source]
        return start.get(place.partition, 0) <= place.offset < end.get(place.partition, 0)

    read = ((place, timestamp) for some in timestamps for place, timestamp in some.items() if is_read(place))
    return {place: (clock, place.source, *place) for place, clock in clocks(read).items()}


def _check_view(
    view: ViewPlan,
    rows: Mapping[Position, _Row],
    events: _Events,
    records: Sequence[Published],
    served: Mapping[Position, Published],
    order: _Order,
    too_large: AbstractSet[Position],
    findings: BackfillFindings,
) -> None:
    replayed = _replayed(view, events, order)
    live = None
    longest_ms = max(feature.window_ms + feature.hop_ms for feature in view.features)
    for entity, places in replayed.items():
        seq = 0
        own_order = None
        in_other_order: list[tuple[int, ViewEmission]] = []
        for index, position in enumerate(places):
            row = rows.get(position)
            if row is None or (position not in served and position not in too_large):
                continue
            part = row.views[view.name]
            where = f"backfill: {view.id} {entity} (event {position})"
            if part is None or part["entity"] != entity:
                findings.mismatch(f"{where}: the row has another entity")
                continue
            if part["seq"] <= seq:
                findings.mismatch(f"{where}: seq {part['seq']} after {seq}: not in the order of a replay")
            seq = part["seq"]
            findings.checked += len(view.features)
            if position in too_large:
                in_other_order.append((index, ViewEmission(0, part["seq"], position, part)))
                continue
            different = _different(view, part, served[position].value[view.name])
            if not different:
                continue
            live = _live(view, records, events) if live is None else live
            of_live, at = live.get((entity, position), (None, -1))
            own_order = own_order or _Sequence(places, events)
            if of_live is not None and np.array_equal(
                of_live.within(longest_ms, at), own_order.within(longest_ms, index)
            ):
                findings.mismatch(f"{where}: {', '.join(different)} differ from what was served, in the same order")
                continue
            findings.order_differences += 1
            in_other_order.append((index, ViewEmission(0, part["seq"], position, part)))
        found = FeatureFindings()
        check_vectors(view, [events[place] for place in places], in_other_order, found)
        findings.mismatches += found.mismatches
        for example in found.examples:
            findings.note(f"backfill, in the replay's order: {example}")


def _replayed(view: ViewPlan, events: _Events, order: _Order) -> dict[str, list[Position]]:
    """The events of each entity, in replay order."""
    found: dict[str, list[Position]] = defaultdict(list)
    for place in sorted(events.keys() & order.keys(), key=order.__getitem__):
        entity = events[place].row[view.key]
        if entity is not None:
            found[entity_text(entity)].append(place)
    return found


def _live(
    view: ViewPlan, records: Iterable[Published], events: _Events
) -> dict[tuple[str, Position], tuple[_Sequence, int]]:
    """For each (entity, event), by first emission: the entity's events in live order, and the event's index there."""
    known = [record for record in records if record.position in events and record.value[view.name] is not None]
    first = first_emissions(known)
    seen = {}
    for (entity, _), emissions in emissions_of(view, known).items():
        for chain in chains_of(emissions, events, FeatureFindings(), entity).attempts:
            sequence = _Sequence([event.position for event in chain.events], events)
            for index, emission in chain.emissions:
                if first[emission.position].value["attempt"] == chain.attempt:
                    seen[entity, emission.position] = sequence, index
    return seen


class _Sequence:
    """Events of an entity in the order in which a view saw them."""

    def __init__(self, places: Sequence[Position], events: _Events) -> None:
        rows = [(*place, events[place].time) for place in places]
        table = np.array(rows, dtype=np.int64).reshape(len(rows), 4)
        self._places, self._times = table[:, :3], table[:, 3]
        self._newest = np.maximum.accumulate(self._times)

    def within(self, longest_ms: int, index: int) -> npt.NDArray[np.int64]:
        """The places, [n, 3], of the events up to this index that are still in a window of this length."""
        oldest = max(int(self._newest[index]) - longest_ms + 1, np.iinfo(np.int64).min)
        return self._places[: index + 1][self._times[: index + 1] >= oldest]


def _different(view: ViewPlan, row: Mapping[str, Any], served: Mapping[str, Any] | None) -> list[str]:
    """The names that differ; derived features are checked apart, as they may use a view with another order."""
    if served is None:
        return ["entity"]
    passed_over = {*_OF_THE_RUN, *(feature.name for feature in view.derived)}
    return [name for name in served if name not in passed_over and not _same(row[name], served[name])]


def _same(left: Any, right: Any) -> bool:
    """Whether two values are equal bit for bit: 0.0 and -0.0 differ."""
    if isinstance(left, float) and isinstance(right, float):
        return left == right and math.copysign(1, left) == math.copysign(1, right)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_same, left, right))
    return bool(left == right and type(left) is type(right))
