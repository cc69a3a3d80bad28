"""Checks the published features against those that the naive oracle computes from the raw events.

The ``seq`` numbers of an entity give the order in which a view saw its events (docs/concepts/semantics.md, "Order").
After a failure the job restores its last checkpoint and may see later events in another order. The check therefore
builds one order per ``attempt``, which continues the emissions before the attempt's checkpoint.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from itertools import pairwise
from typing import Any

from schemas.feature_types import FeatureValue
from streams.oracle.derived_features import derived_features
from streams.oracle.event_time_order import Arrival, may_be_out_of_order
from streams.oracle.reference import Timed, agrees
from streams.plan.entity_text import entity_text
from streams.plan.model import FeaturePlan, PipelinePlan, ViewPlan
from verify.continuity import Chain, check_continuity, check_updates, entity_chains
from verify.emissions import FeatureFindings, JudgedEvent, ViewEmission, by_entity, emissions_of
from verify.published import Position, Published
from verify.unpublished import excerpt
from verify.window_engine import ChainValues, Expected

# The least that `penstock job start --forget-after-days` takes.
_SHORTEST_FORGETTING_MS = 86_400_000
# DuckDB's and Flink's mathematics libraries may differ in a logarithm's last bit.
_RELATIVE_TOLERANCE = 1e-12
ORDER_FREE = frozenset({"count", "sum", "mean", "min", "max", "variance", "std", "distinct", "approx_distinct"})
"""The operations for which the events in a window give the same value in any order."""


def check_features(
    plan: PipelinePlan,
    events: Mapping[Position, JudgedEvent],
    records: Sequence[Published],
    *,
    arrivals: Sequence[Arrival] = (),
    others: Sequence[Mapping[Position, JudgedEvent]] = (),
    without_value: AbstractSet[Position] = frozenset(),
) -> FeatureFindings:
    """Check the envelope, vectors and derived features of every event's record, and the event-time order.

    ``records`` may include excerpts (:mod:`verify.unpublished`): they account for their events, and what they kept of
    the features is compared.

    ``events`` are those of all sources that trigger records. ``arrivals`` are needed for the event-time order only.
    ``others`` are the events of the sources that only update, one mapping per source. ``without_value`` are the events
    that have only a letter without an excerpt. ``checked`` counts compared values, of ``total`` that were emitted.
    """
    records = [record for record in records if not record.is_timer]
    whole = [record for record in records if not record.is_excerpt]
    findings = FeatureFindings(emitted=len(whole))
    seen = set()
    for record in records:
        seen.add(record.position)
        event = events.get(record.position)
        if event is None:
            findings.unexpected += 1
            findings.mismatch(f"{record.place_in('features')}: no valid event at source {record.position}")
        else:
            _check_envelope(plan, event, record, findings)
    findings.missing = len(events.keys() - seen - without_value)
    if findings.earlier_columns:
        findings.unchecked.append(
            f"{findings.earlier_columns} values of computed columns: an earlier definition wrote them"
        )
    _check_definitions(records, findings)
    findings.total = emitted_values(plan, whole) + _aggregates(plan, records) - _aggregates(plan, whole)
    located = [(record.place_in("features"), record.value) for record in whole]
    compared, different = derived_mismatches(plan, located, [view.name for view in plan.views])
    findings.checked += compared
    for text in different:
        findings.mismatch(text)
    known = [record for record in records if record.position in events]
    excused = may_be_out_of_order(plan.source, arrivals) if plan.source.order == "event_time" else None
    for view in plan.views:
        _check_view(plan, view, events, known, others, findings, excused, without_value)
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


def emitted_values(plan: PipelinePlan, records: Iterable[Published]) -> int:
    """The number of feature values in these records."""
    return sum(len(view.outputs) for record in records for view in plan.views if record.value[view.name] is not None)


def _aggregates(plan: PipelinePlan, records: Iterable[Published]) -> int:
    """The number of values in these records that are not derived from others."""
    return sum(len(view.features) for record in records for view in plan.views if record.value[view.name] is not None)


def sql_values_agree(engine: FeatureValue, oracle: FeatureValue) -> bool:
    """Whether two results of one SQL expression on the same values are equal, but for rounding."""
    return agrees(engine, oracle, _RELATIVE_TOLERANCE * abs(oracle) if isinstance(oracle, float) else 0.0)


def source_of(plan: PipelinePlan, event: JudgedEvent) -> dict[str, Any]:
    """The ``source`` field of the record of this event."""
    topic, (partition, offset, _) = plan.sources[event.source].topic, event.position
    return {"topic": topic, "partition": partition, "offset": offset, "timestamp": event.timestamp}


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
    contract_fields = plan.contract_columns
    for name, _ in plan.passthrough:
        if f"event.{name}" in record.lacks:
            continue
        carried, own = value["event"][name], event.row[name]
        if carried == own or (name not in contract_fields and sql_values_agree(carried, own)):
            continue
        if record.lacks and name not in contract_fields:
            # An earlier definition wrote the record. What it computed the column from is not known.
            findings.earlier_columns += 1
        else:
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
    plan: PipelinePlan,
    view: ViewPlan,
    events: Mapping[Position, JudgedEvent],
    records: Sequence[Published],
    others: Sequence[Mapping[Position, JudgedEvent]],
    findings: FeatureFindings,
    excused: AbstractSet[tuple[int, int]] | None,
    without_value: AbstractSet[Position],
) -> None:
    of_entity = by_entity(view, events.values())
    updates = by_entity(view, (event for of_source in others for event in of_source.values()))
    without = positions_without(view, records)
    found = emissions_by_entity(view, records, of_entity, findings)
    repeated_before = findings.repeated
    _check_epochs(view, found, events, findings)
    if of_entity and not found:
        findings.unchecked.append(f"view {view.id} is in no feature record")
    if any(entity in found for entity in updates) and not any(record.updates.get(view.name, ()) for record in records):
        findings.unchecked.append(f"view {view.id}: no record names any updating event")
    first_epoch = min((epoch for epochs in found.values() for epoch in epochs), default=0)
    ordered = is_in_offset_order(plan, view)
    route = partial(_route, _keys_until(plan, view))
    for entity, own_events in of_entity.items():
        epochs = found.get(entity, {})
        name = f"{view.id} {entity}"
        updating = updates.get(entity, [])
        finals = {}
        are_whole = True
        for epoch, emissions in epochs.items():
            of_both = [*own_events, *updating]
            chains = entity_chains(
                emissions, of_both, findings, name, ordered=ordered, without_value=without_value, silent=without
            )
            finals[epoch] = chains.final
            are_whole = are_whole and chains.is_whole
            for chain in chains.attempts:
                if excused is not None:
                    _check_event_time_order(view, chain, excused, findings)
                _check_chain(view, chain, findings)
        if not are_whole:  # its vectors count as unverifiable
            continue
        triggering = {epoch: [event for event in chain if not event.updates] for epoch, chain in finals.items()}
        check_continuity(triggering, own_events, without, findings, name, ordered=ordered)
        since_start = not without and first_epoch in finals
        check_updates(finals, updating, route, findings, name, from_beginning=since_start)
    findings.checked += (findings.repeated - repeated_before) * len(view.features)  # they equal one that was compared


def positions_without(view: ViewPlan, records: Sequence[Published]) -> set[Position]:
    """The events whose records a definition of the pipeline without this view wrote, and no other one."""
    without = {record.position for record in records if view.name in record.lacks}
    return without - {record.position for record in records if view.name not in record.lacks}


def _check_chain(view: ViewPlan, chain: Chain, findings: FeatureFindings) -> None:
    """Compare a chain's emissions. What depends on an order that is not sure is unverifiable where it differs."""
    bound = findings if chain.is_sure else FeatureFindings()
    check_vectors(view, chain.events, chain.emissions, findings, bound)
    if bound is not findings:
        findings.checked += bound.checked - bound.mismatches
        findings.unverifiable += bound.mismatches


def _check_definitions(records: Iterable[Published], findings: FeatureFindings) -> None:
    """Check that every record of one attempt has the same views: an upgrade is a new attempt."""
    lacks: dict[int, frozenset[str]] = {}
    for record in records:
        attempt = record.value["attempt"]
        if lacks.setdefault(attempt, record.lacks) != record.lacks:
            findings.mismatch(f"{record.place_in('features')}: has other views than attempt {attempt} began with")


def _check_epochs(
    view: ViewPlan,
    found: Mapping[str, Mapping[int, Sequence[ViewEmission]]],
    events: Mapping[Position, JudgedEvent],
    findings: FeatureFindings,
) -> None:
    """Count the starts without state; check that after one no entity counts on in an older epoch.

    An entity begins an epoch alone only with its first event, or after it has been silent for so long that the job has
    deleted its state.
    """
    starts: dict[int, int] = {}
    for epochs in found.values():
        for before, epoch in pairwise(sorted(epochs)):
            ended = max(events[emission.position].timestamp for emission in epochs[before])
            began = min(events[emission.position].timestamp for emission in epochs[epoch])
            longest = view.longest_window_ms
            if longest is None or began - ended <= longest + _SHORTEST_FORGETTING_MS:
                attempt = min(emission.attempt for emission in epochs[epoch])
                starts[epoch] = min(starts.get(epoch, attempt), attempt)
    for entity, epochs in found.items():
        for start, attempt in starts.items():
            for epoch, emissions in epochs.items():
                if epoch < start and any(emission.attempt >= attempt for emission in emissions):
                    findings.mismatch(f"{view.id} {entity}: is in epoch {epoch}, others began {start} without state")
    findings.epochs = max(findings.epochs, 1 + len(starts))


def emissions_by_entity(
    view: ViewPlan,
    records: Iterable[Published],
    of_entity: Mapping[str, Sequence[JudgedEvent]],
    findings: FeatureFindings,
) -> dict[str, dict[int, list[ViewEmission]]]:
    """What a view emitted, by entity and epoch, without vectors of another entity than their event's.

    Those count as unverifiable, and the check of the envelope has found them.
    """
    owners = {event.position: entity for entity, events in of_entity.items() for event in events}
    found: dict[str, dict[int, list[ViewEmission]]] = defaultdict(dict)
    for (entity, epoch), emissions in emissions_of(view, records).items():
        own = [emission for emission in emissions if owners.get(emission.position) == entity]
        findings.unverifiable += len(emissions) - len(own)
        if own:
            found[entity][epoch] = own
    return found


def is_in_offset_order(plan: PipelinePlan, view: ViewPlan) -> bool:
    """Whether a view must see an entity's events of one partition in the order of their offsets.

    So it is if the entity alone decides which way they take.
    """
    return plan.source.order == "arrival" and set(_keys_until(plan, view) or ()) == {view.key}


def check_vectors(
    view: ViewPlan,
    chain: Sequence[JudgedEvent],
    emissions: Sequence[tuple[int, ViewEmission]],
    findings: FeatureFindings,
    bound: FeatureFindings | None = None,
) -> None:
    """Compare emissions with the values that follow from the events of ``chain`` up to each emission's index.

    ``bound`` collects what is found of features that depend on the order of the events; by default ``findings`` does.
    """
    if not emissions:
        return
    emissions = sorted(emissions, key=lambda item: item[0])
    values = ChainValues(view, [Timed(event.time, event.row) for event in chain], [index for index, _ in emissions])
    for (_, emission), as_of, late in zip(emissions, values.as_of, values.late(), strict=True):
        part = emission.part
        if (part["as_of"], part["late"]) != (as_of, late):
            text = f"as_of {part['as_of']} late {part['late']}, oracle {as_of} {late}"
            findings.mismatch(f"{emission_text(view, emission)}: {text}")
    for feature in view.features:
        collected = findings if bound is None or feature.operation in ORDER_FREE else bound
        compare_values(view, feature, [emission for _, emission in emissions], values.expected(feature), collected)


def compare_values(
    view: ViewPlan,
    feature: FeaturePlan,
    emissions: Sequence[ViewEmission],
    expected: Expected,
    findings: FeatureFindings,
) -> None:
    """Compare what was emitted for one feature with its expected values."""
    findings.checked += len(emissions)
    for emission, value, allowed in zip(emissions, expected.values, expected.allowed, strict=True):
        engine = emission.part[feature.name]
        wanted = excerpt(value) if emission.is_excerpt else value
        if engine != wanted and not agrees(engine, wanted, allowed):
            where = emission_text(view, emission)
            findings.mismatch(f"{where}: {feature.name} is {engine!r}, oracle {wanted!r}")


def emission_text(view: ViewPlan, emission: ViewEmission) -> str:
    """An emission's identity, for messages."""
    return f"{view.id} {emission.part['entity']} seq {emission.seq} (event {emission.position})"


def _check_event_time_order(
    view: ViewPlan, chain: Chain, excused: AbstractSet[tuple[int, int]], findings: FeatureFindings
) -> None:
    """Check that a view saw an entity's events in event-time order; ``excused`` events may be late."""
    furthest = (-(2**63), Position(0, 0))
    fresh = {index for index, _ in chain.emissions}
    for index, event in enumerate(chain.events):
        place = (event.time, event.position)
        if index in fresh and place < furthest and event.position[:2] not in excused:
            findings.mismatch(f"{view.id}: event {event.position} was taken after {furthest[1]}, which is later")
        furthest = max(furthest, place)


def _keys_until(plan: PipelinePlan, view: ViewPlan) -> list[str] | None:
    """The key columns by which the job exchanges events before a view sees them; None if it does so by event id.

    Events of one partition that are equal in all of these take the same way and stay in order.
    """
    if plan.source.key is None:
        return None
    stages = sorted(plan.stages, key=lambda stage: stage.key != plan.source.key)
    until = next(number for number, stage in enumerate(stages) if view in stage.views)
    return [plan.source.key, *(stage.key for stage in stages[: until + 1])]


def _route(keys: list[str] | None, event: JudgedEvent) -> Hashable:
    """Equal for events that stay in order; an event without a key is sent anywhere."""
    values = [None] if keys is None else [event.row[key] for key in keys]
    return event.position if None in values else tuple(values)
