"""Checks the published features against those that the naive oracle computes from the raw events.

The ``seq`` numbers of an entity give the order in which a view saw its events (docs/concepts/semantics.md, "Order").
After a failure the job restores its last checkpoint and may see later events in another order. The check therefore
builds one order per ``attempt``, which continues the emissions before the attempt's checkpoint.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np

from schemas.feature_types import FeatureValue
from streams.oracle.derived_features import derived_features
from streams.oracle.event_time_order import Arrival, may_be_out_of_order
from streams.oracle.reference import Timed, agrees, tolerance, vector
from streams.plan.entity_text import entity_text
from streams.plan.model import PipelinePlan, ViewPlan
from verify.emissions import FeatureFindings, JudgedEvent, ViewEmission, emissions_of
from verify.published import Position, Published
from verify.updates import Others, by_entity, timelines, updates_of

# DuckDB's and Flink's mathematics libraries may differ in a logarithm's last bit.
_RELATIVE_TOLERANCE = 1e-12


def check_features(
    plan: PipelinePlan,
    events: Mapping[Position, JudgedEvent],
    records: Sequence[Published],
    *,
    budget: int,
    seed: int,
    arrivals: Sequence[Arrival] = (),
    others: Others = (),
) -> FeatureFindings:
    """Check the envelope, vectors and derived features of every event's record, and the event-time order.

    ``arrivals`` are needed for the event-time order only. ``others`` are the events of the sources that only update,
    one mapping per source. ``budget`` limits the oracle's work per view, in rows visited times features: vectors are
    checked in a random order that ``seed`` determines until it is spent; ``checked`` counts compared values.
    """
    records = [record for record in records if not record.is_timer]
    findings = FeatureFindings(emitted=len(records))
    seen = set()
    for record in records:
        seen.add(record.position)
        event = events.get(record.position)
        if event is None:
            findings.unexpected += 1
            findings.mismatch(f"{record.place_in('features')}: no valid event at source {record.position}")
        else:
            _check_envelope(plan, event, record, findings)
    findings.missing = len(events.keys() - seen)
    located = [(record.place_in("features"), record.value) for record in records]
    compared, different = derived_mismatches(plan, located, [view.name for view in plan.views])
    findings.checked += compared
    for text in different:
        findings.mismatch(text)
    known = [record for record in records if record.position in events]
    excused = may_be_out_of_order(plan.source, arrivals) if plan.source.order == "event_time" else None
    for view in plan.views:
        rng = random.Random(f"{seed}/{view.id}")  # noqa: S311 - a sample
        _check_view(view, events, known, others, findings, budget, rng, excused)
    return findings


def derived_mismatches(
    plan: PipelinePlan, records: Sequence[tuple[str, Mapping[str, Any]]], views: Iterable[str]
) -> tuple[int, list[str]]:
    """Compare the job's derived features with DuckDB's on the same values; return the count and the mismatches.

    Each record is given with its place, for messages; ``views`` names the views that the records hold. The oracle
    checks the values that the expressions read.
    """
    checked, found = 0, []
    derived = derived_features(plan, [value for _, value in records], views)
    for (where, value), of_record in zip(records, derived, strict=True):
        for name, wanted in of_record.items():
            view, _, feature = name.partition(".")
            if value[view] is None:
                continue
            checked += 1
            engine = value[view][feature]
            if not sql_values_agree(engine, wanted):
                found.append(f"{where}: {name} is {engine!r}, its expression gives {wanted!r}")
    return checked, found


def sql_values_agree(engine: FeatureValue, oracle: FeatureValue) -> bool:
    """Whether two results of one SQL expression on the same values are equal, but for rounding."""
    return agrees(engine, oracle, _RELATIVE_TOLERANCE * abs(oracle) if isinstance(oracle, float) else 0.0)


def source_of(plan: PipelinePlan, event: JudgedEvent) -> dict[str, Any]:
    """The ``source`` field of the record of this event."""
    partition, offset = event.position
    return {"topic": plan.source.topic, "partition": partition, "offset": offset, "timestamp": event.timestamp}


def _check_envelope(plan: PipelinePlan, event: JudgedEvent, record: Published, findings: FeatureFindings) -> None:
    value, where = record.value, record.place_in("features")
    expected: dict[str, Any] = {
        "event_id": event.event_id,
        "event_time": event.time,
        "trigger": "event",
        "source": source_of(plan, event),
    }
    for name, wanted in expected.items():
        if value[name] != wanted:
            findings.mismatch(f"{where}: {name} is {value[name]!r}, the event has {wanted!r}")
    for name, _ in plan.passthrough:
        if f"event.{name}" in record.lacks:
            continue
        carried, own = value["event"][name], event.row[name]
        if not sql_values_agree(carried, own):
            findings.mismatch(f"{where}: event.{name} is {carried!r}, the event has {own!r}")
    if (record.partition, record.key) != (event.position.partition, event.key):
        findings.mismatch(f"{where}: key or partition differs from its event {event.position}")
    for view in plan.views:
        if view.name in record.lacks:
            continue
        entity = event.row[view.key]
        part = value[view.name]
        if (part is None) != (entity is None) or (part is not None and part["entity"] != entity_text(entity)):
            findings.mismatch(f"{where}: the entity of {view.id} differs from the event's {view.key}")


def _check_view(
    view: ViewPlan,
    events: Mapping[Position, JudgedEvent],
    records: Iterable[Published],
    others: Others,
    findings: FeatureFindings,
    budget: int,
    rng: random.Random,
    excused: AbstractSet[tuple[int, int]] | None,
) -> None:
    emissions = emissions_of(view, records)
    updates = updates_of(view, others)
    triggering = by_entity(view, events.values()) if updates else {}
    first_epoch = min((epoch for _, epoch in emissions), default=0)
    work = []
    for (entity, epoch), of_entity in emissions.items():
        name = f"{view.id} {entity}"
        if entity not in updates:
            for chain, fresh in chains(of_entity, findings, name):
                if excused is not None:
                    _check_order(view, [events[e.position] for e in chain], fresh, excused, findings)
                history = History([Timed(events[e.position].time, events[e.position].row) for e in chain])
                work += [(history, index, chain[index]) for index in range(fresh, len(chain))]
        elif epoch != first_epoch or not _is_ordered(triggering[entity], updates[entity]):
            findings.unverifiable += len(of_entity)
        else:
            for seen, places in timelines(of_entity, triggering[entity], updates[entity][0], findings, name):
                history = History([Timed(event.time, event.row) for event in seen])
                work += [(history, index, emission) for index, emission in places]
    rng.shuffle(work)
    for history, index, emission in work:
        if budget <= 0:
            break
        budget -= check_vector(view, history, index, emission, findings) * len(view.features)


def _check_order(
    view: ViewPlan,
    chain: Sequence[JudgedEvent],
    fresh: int,
    excused: AbstractSet[tuple[int, int]],
    findings: FeatureFindings,
) -> None:
    """Check that an entity's events are in event-time order; ``excused`` events may be late."""
    furthest = (-(2**63), Position(0, 0))
    for number, event in enumerate(chain):
        place = (event.time, event.position)
        if number >= fresh and place < furthest and event.position not in excused:
            findings.mismatch(f"{view.id}: event {event.position} was taken after {furthest[1]}, which is later")
        furthest = max(furthest, place)


def _is_ordered(triggering: Sequence[JudgedEvent], updating: Sequence[Sequence[JudgedEvent]]) -> bool:
    """Whether ``seq`` alone determines the order in which a view saw these events (:mod:`verify.updates`)."""
    return len(updating) == 1 and len({event.position.partition for event in triggering}) == 1


def chains(
    emissions: list[ViewEmission], findings: FeatureFindings, name: str
) -> Iterator[tuple[list[ViewEmission], int]]:
    """Yield for each attempt its whole chain of emissions, and the index at which the attempt's own emissions begin.

    A gap in ``seq`` within an attempt that ended by a failure means that its records were lost and that the next
    attempt emitted them again: emissions after the gap cannot be judged and count as unverifiable. A gap in the last
    attempt is a mismatch.
    """
    by_attempt: dict[int, dict[int, ViewEmission]] = defaultdict(dict)
    for emission in emissions:
        before = by_attempt[emission.attempt].setdefault(emission.seq, emission)
        if before.position != emission.position or before.part != emission.part:
            findings.mismatch(f"{name}: seq {emission.seq} of attempt {emission.attempt} was emitted with two contents")
    chain: list[ViewEmission] = []
    final = max(by_attempt)
    for attempt in sorted(by_attempt):
        own = [by_attempt[attempt][seq] for seq in sorted(by_attempt[attempt])]
        chain = [e for e in chain if e.seq < own[0].seq]
        fresh = len(chain)
        for number, emission in enumerate(own):
            if emission.seq != len(chain) + 1:
                if attempt == final:
                    findings.mismatch(f"{name}: seq {len(chain) + 1} is missing before seq {emission.seq}")
                findings.unverifiable += len(own) - number
                break
            chain.append(emission)
        yield list(chain), fresh


class History:
    """An entity's rows in the order in which the view saw them; selects the rows that windows can still contain."""

    def __init__(self, rows: list[Timed]) -> None:
        self._rows = rows
        self._times = np.array([row.time for row in rows], dtype=np.int64)

    def until(self, index: int, horizon_ms: int) -> list[Timed]:
        """The rows up to ``index`` that are within ``horizon_ms`` of the newest, and always the row at ``index``."""
        times = self._times[: index + 1]
        kept = np.flatnonzero(times >= times.max() - horizon_ms).tolist()
        if not kept or kept[-1] != index:
            kept.append(index)
        return [self._rows[i] for i in kept]


def reach_ms(view: ViewPlan) -> int:
    """How far back from the newest row a view can reach: its greatest window length plus hop (ms)."""
    return max(feature.window_ms + feature.hop_ms for feature in view.features)


def check_vector(
    view: ViewPlan, history: History, index: int, emission: ViewEmission, findings: FeatureFindings
) -> int:
    """Compare one vector with the oracle's, for the rows of ``history`` up to ``index``; returns the rows visited."""
    rows = history.until(index, reach_ms(view))
    oracle = vector(view, rows)
    part = emission.part
    where = f"{view.id} {part['entity']} seq {part['seq']} (event {emission.position})"
    if (part["as_of"], part["late"]) != (oracle.as_of, oracle.late):
        findings.mismatch(f"{where}: as_of {part['as_of']} late {part['late']}, oracle {oracle.as_of} {oracle.late}")
    for feature in view.features:
        findings.checked += 1
        engine, wanted = part[feature.name], oracle.features[feature.name]
        if engine != wanted and not agrees(engine, wanted, tolerance(feature, rows, oracle.as_of)):
            findings.mismatch(f"{where}: {feature.name} is {engine!r}, oracle {wanted!r}")
    return len(rows)
