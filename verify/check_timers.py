"""Checks the vectors that timers emitted for idle entities against the naive oracle.

A timer's record has the (epoch, seq) of the entity's last event: the first ``seq`` events of its attempt's chain are
all events that the entity had at that time.

The topics do not hold the watermark, but it is not behind the events of the slowest partition. So an entity whose last
vector differs from what its windows hold by then lacks a timer's record. Whether one was lost before a later event of
the entity cannot be said.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from streams.oracle.derived_features import derived_features
from streams.oracle.reference import Timed, agrees
from streams.plan.model import PipelinePlan, ViewPlan
from verify.check_features import (
    ORDER_FREE,
    compare_values,
    emissions_by_entity,
    emitted_values,
    is_in_offset_order,
    positions_without,
    source_of,
    sql_values_agree,
)
from verify.continuity import Chain, entity_chains
from verify.emissions import FeatureFindings, JudgedEvent, by_entity, emission_in
from verify.published import Position, Published
from verify.window_engine import ChainValues

# The time that the job has to publish what is due.
_PUBLISHING_MS = 5_000


def check_timers(
    plan: PipelinePlan,
    events: Mapping[Position, JudgedEvent],
    records: Sequence[Published],
    *,
    others: Sequence[Mapping[Position, JudgedEvent]] = (),
    without_value: AbstractSet[Position] = frozenset(),
) -> FeatureFindings:
    """Check every timer's envelope, and its vector against the oracle; ``records`` are the whole features topic.

    ``others`` are the events of the sources that only update, ``without_value`` those with a letter without an
    excerpt.
    """
    timers = [record for record in records if record.is_timer]
    findings = FeatureFindings(emitted=len(timers), total=emitted_values(plan, timers))
    for record in timers:
        if sum(record.value[view.name] is not None for view in plan.views) != 1 and not record.lacks:
            findings.mismatch(f"{record.place_in('features')}: a timer has not exactly one view")
    watermark = least_watermark(plan, events, records, others)
    latest = max((event.time for of_source in (events, *others) for event in of_source.values()), default=0)
    for view in plan.views:
        if not timers and not (view.refresh_ms and watermark is not None):
            continue
        of_entity = by_entity(view, events.values())
        updates = by_entity(view, (event for of_source in others for event in of_source.values()))
        if timers:
            _check_view(plan, view, of_entity, updates, records, latest, findings, without_value)
        if view.refresh_ms and watermark is not None:
            _check_last_vectors(view, of_entity, updates, records, watermark, findings)
    return findings


def least_watermark(
    plan: PipelinePlan,
    events: Mapping[Position, JudgedEvent],
    records: Sequence[Published],
    others: Sequence[Mapping[Position, JudgedEvent]],
) -> int | None:
    """The least watermark whose timers must have been published; None if the records do not tell.

    A run of the job knows of a partition by its first event there, and waits for no other longer than for an idle one.
    """
    of_events = [record for record in records if not record.is_timer]
    attempt = max((record.value["attempt"] for record in of_events), default=0)
    settled = max((r.timestamp for r in of_events), default=0) - settling_ms(plan)
    everything = {event.position: event for of_source in (events, *others) for event in of_source.values()}
    seen: set[tuple[int, int]] = set()
    newest: dict[tuple[int, int], int] = {}
    for record in of_events:
        if record.value["attempt"] != attempt:
            continue
        updates = [place for of_view in record.updates.values() for place in of_view or ()]
        for event in filter(None, map(everything.get, (record.position, *updates))):
            partition = event.source, event.position.partition
            seen.add(partition)
            if record.timestamp <= settled:
                newest[partition] = max(newest.get(partition, event.time), event.time)
    return min(newest.values()) - plan.source.disorder_ms - 2 if newest and newest.keys() == seen else None


def settling_ms(plan: PipelinePlan) -> int:
    """After this time without a restart, timers that are due by the events so far have been published."""
    return plan.source.idle_after_ms + _PUBLISHING_MS


def _check_last_vectors(
    view: ViewPlan,
    of_entity: Mapping[str, Sequence[JudgedEvent]],
    updates: Mapping[str, Sequence[JudgedEvent]],
    records: Sequence[Published],
    watermark: int,
    findings: FeatureFindings,
) -> None:
    """Check that the last vector of each entity lacks no refresh that was due an interval before the watermark.

    Only for events since the first attempt with a timer of this view: before, it may have had no refresh.
    """
    first = min((r.value["attempt"] for r in records if r.is_timer and r.value[view.name] is not None), default=None)
    last: dict[str, Published] = {}
    for record in records:
        part = record.value[view.name]
        if part is not None:
            newest = last.setdefault(part["entity"], record)
            last[part["entity"]] = max(newest, record, key=lambda one: _order(one, view.name))
    due = watermark - view.refresh_ms
    for entity, record in last.items():
        part, chain = record.value[view.name], [*of_entity.get(entity, ()), *updates.get(entity, ())]
        if part["as_of"] >= due or part["seq"] != len(chain):
            continue  # it is fresh, or has later events, or began without its history
        rows = [Timed(event.time, event.row) for event in chain]
        changed = _changed(view, part, rows, watermark)
        stale = [name for name in _changed(view, part, rows, due) if name in changed]
        if stale and first is None:
            findings.unchecked.append(f"view {view.id} has a refresh, and no timer has published a record of it")
            return
        if stale and first is not None and record.value["attempt"] >= first:
            text = f"{', '.join(stale)} changed until {due}, its last vector is as of {part['as_of']}"
            findings.mismatch(f"{view.id} {entity}: lacks a timer's record: {text}")


def _order(record: Published, view: str) -> tuple[int, ...]:
    part = record.value[view]
    return part["epoch"], part["seq"], record.value["attempt"], part["as_of"]


def _changed(view: ViewPlan, part: Mapping[str, Any], rows: Sequence[Timed], as_of: int) -> list[str]:
    """The features that have other values at a later time without an event; only those of any order of the events."""
    values = ChainValues(view, rows, [len(rows) - 1], [as_of])
    found = []
    for feature in view.features:
        if feature.operation not in ORDER_FREE:
            continue
        expected = values.expected(feature)
        if not agrees(part[feature.name], expected.values[0], expected.allowed[0]):
            found.append(feature.name)
    return found


def _check_view(
    plan: PipelinePlan,
    view: ViewPlan,
    of_entity: Mapping[str, Sequence[JudgedEvent]],
    updates: Mapping[str, Sequence[JudgedEvent]],
    records: Sequence[Published],
    latest: int,
    findings: FeatureFindings,
    without_value: AbstractSet[Position],
) -> None:
    timers: dict[tuple[str, int], list[Published]] = defaultdict(list)
    for record in records:
        part = record.value[view.name]
        if record.is_timer and part is not None:
            timers[part["entity"], part["epoch"]].append(record)
    emissions = emissions_by_entity(view, records, of_entity, FeatureFindings()) if timers else {}
    without = positions_without(view, records)
    if timers and not view.refresh_ms:
        findings.unchecked.append(f"view {view.id} has timers, and no refresh in this definition")
    compared = []
    for (entity, epoch), of_timers in timers.items():
        of_epoch = emissions.get(entity, {}).get(epoch)
        if of_epoch is None:
            findings.unverifiable += len(of_timers)
            continue
        # check_features reports what is wrong with the chains themselves.
        of_both = [*of_entity[entity], *updates.get(entity, [])]
        ordered = is_in_offset_order(plan, view)
        chains = entity_chains(
            of_epoch,
            of_both,
            FeatureFindings(),
            entity,
            ordered=ordered,
            without_value=without_value,
            silent=without,
        )
        known = {event.position: event for event in updates.get(entity, [])}
        compared += _check_entity(plan, view, chains.attempts, known, of_timers, latest, findings)
    _check_derived(plan, view, compared, findings)


def _check_entity(
    plan: PipelinePlan,
    view: ViewPlan,
    chains: Sequence[Chain],
    known: Mapping[Position, JudgedEvent],
    timers: Sequence[Published],
    latest: int,
    findings: FeatureFindings,
) -> list[Published]:
    """Check the timers of one entity in one epoch; returns those whose events are known.

    The updating events since the entity's last record, which a timer's record names, continue the chain.
    """
    placed: dict[tuple[int, int, tuple[Position, ...]], list[Published]] = defaultdict(list)
    for record in timers:
        seq, attempt = record.value[view.name]["seq"], record.value["attempt"]
        if seq < 1:
            findings.mismatch(f"{record.place_in('features')}: seq of a timer is {seq}")
        updates = record.updates.get(view.name, ())
        begin = seq - len(updates or ())
        found = [n for n, chain in enumerate(chains) if chain.attempt <= attempt and len(chain.events) >= begin > 0]
        if found and updates is not None and all(place in known for place in updates):
            placed[found[-1], begin if updates else 0, updates].append(record)
        else:
            findings.unverifiable += 1
    for (number, begin, updates), records in placed.items():
        chain = chains[number].events
        if updates:
            chain = [*chain[:begin], *(known[place] for place in updates)]
        records.sort(key=lambda record: (record.value[view.name]["seq"], record.value[view.name]["as_of"]))
        for record in records:
            seen = chain[: record.value[view.name]["seq"]]
            _check_envelope(plan, view, next(event for event in reversed(seen) if not event.updates), record, findings)
        _check_vectors(view, chain, records, latest, findings)
    return [record for records in placed.values() for record in records]


def _check_vectors(
    view: ViewPlan, chain: Sequence[JudgedEvent], records: Sequence[Published], latest: int, findings: FeatureFindings
) -> None:
    """Compare the vectors of timers with the oracle's.

    ``records`` are in the order of ``seq`` and time. ``latest`` is the greatest event time of all events: no watermark
    was ever beyond it.
    """
    parts = [record.value[view.name] for record in records]
    for record, part in zip(records, parts, strict=True):
        newest = max(event.time for event in chain[: part["seq"]])
        if part["as_of"] > latest:
            where = record.place_in("features")
            findings.mismatch(f"{where}: a timer with as_of {part['as_of']}, the newest of all events is at {latest}")
        if record.value["event_time"] != newest or part["as_of"] <= newest or part["late"]:
            where = f"{view.id} {part['entity']}, {record.place_in('features')}"
            findings.mismatch(f"{where}: a timer with as_of {part['as_of']}, after the last event at {newest}")
    emissions = [emission for record in records if (emission := emission_in(record, view)) is not None]
    rows = [Timed(event.time, event.row) for event in chain]
    values = ChainValues(view, rows, [part["seq"] - 1 for part in parts], [part["as_of"] for part in parts])
    for feature in view.features:
        compare_values(view, feature, emissions, values.expected(feature), findings)


def _check_envelope(
    plan: PipelinePlan, view: ViewPlan, last: JudgedEvent, record: Published, findings: FeatureFindings
) -> None:
    value, where = record.value, record.place_in("features")
    expected: dict[str, Any] = {
        "event_id": "",
        "event": dict.fromkeys(value["event"]),
        "source": source_of(plan, last),
    }
    for name, wanted in expected.items():
        if value[name] != wanted:
            findings.mismatch(f"{where}: {name} of a timer is {value[name]!r}, should be {wanted!r}")
    if (record.partition, record.key) != (last.position.partition, last.key):
        findings.mismatch(f"{where}: key or partition of a timer differs from the entity's last event")
    if any(value[other.name] is not None for other in plan.views if other is not view):
        findings.mismatch(f"{where}: a timer of {view.id} contains other views")


def _check_derived(plan: PipelinePlan, view: ViewPlan, records: Sequence[Published], findings: FeatureFindings) -> None:
    """Check that derived features of this view alone equal DuckDB's result, and that the others are null."""
    if not view.derived:
        return
    own = {feature.name for feature in view.own_derived}
    found = derived_features(plan, [record.value for record in records], [view.name])
    for record, computed in zip(records, found, strict=True):
        for feature in view.derived:
            findings.checked += 1
            engine = record.value[view.name][feature.name]
            wanted = computed[f"{view.name}.{feature.name}"] if feature.name in own else None
            if not sql_values_agree(engine, wanted):
                where = record.place_in("features")
                findings.mismatch(f"{where}: {feature.name} is {engine!r}, its expression gives {wanted!r}")
