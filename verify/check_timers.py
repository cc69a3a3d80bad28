"""Checks the vectors that timers emitted for idle entities against the naive oracle.

A timer's record has the (epoch, seq) of the entity's last event: the first ``seq`` events of its attempt's chain are
all events that the entity had at that time. A missing timer record cannot be detected, because the topics do not hold
the watermark; readers do not depend on such records (docs/concepts/semantics.md, "Idle entities").
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from streams.oracle.derived_features import derived_features
from streams.oracle.reference import Timed, agrees, timer_as_of, timer_features, tolerance
from streams.plan.model import PipelinePlan, ViewPlan
from verify.check_features import History, chains, reach_ms, source_of, sql_values_agree
from verify.emissions import FeatureFindings, JudgedEvent, ViewEmission, emissions_of
from verify.published import Position, Published
from verify.updates import Others, updates_of


def check_timers(
    plan: PipelinePlan,
    events: Mapping[Position, JudgedEvent],
    records: Sequence[Published],
    *,
    budget: int,
    seed: int,
    others: Others = (),
) -> FeatureFindings:
    """Check every timer's envelope, and its vector against the oracle; ``records`` are the whole features topic.

    ``budget`` limits the oracle's work per view, as in :func:`verify.check_features.check_features`. ``others`` are the
    events of the sources that only update. The order of an entity with such events is not known well enough to place
    its timers, so these count as unverifiable.
    """
    timers = [record for record in records if record.is_timer]
    findings = FeatureFindings(emitted=len(timers))
    for view in plan.views if timers else ():
        mine = [record for record in timers if record.value[view.name] is not None]
        if not mine:
            continue
        updates = updates_of(view, others)
        found = _chains(view, events, records)
        random.Random(f"{seed}/{view.id}").shuffle(mine)  # noqa: S311 - a sample
        left, compared = budget, []
        for record in mine:
            part = record.value[view.name]
            if part["entity"] in updates:
                findings.unverifiable += 1
                continue
            known = [chain for attempt, chain in found[part["entity"], part["epoch"]] if _is_before(attempt, record)]
            chain = next((chain for chain in reversed(known) if len(chain) >= part["seq"]), None)
            if chain is None:
                findings.unverifiable += 1
                continue
            last = events[chain[part["seq"] - 1].position]
            _check_envelope(plan, view, last, record, findings)
            if left > 0:
                history = History([Timed(events[e.position].time, events[e.position].row) for e in chain])
                left -= _check_vector(view, history, record, findings) * len(view.features)
                compared.append(record)
        _check_derived(plan, view, compared, findings)
    return findings


def _is_before(attempt: int, record: Published) -> bool:
    return attempt <= int(record.value["attempt"])


def _chains(
    view: ViewPlan, events: Mapping[Position, JudgedEvent], records: Sequence[Published]
) -> dict[tuple[str, int], list[tuple[int, list[ViewEmission]]]]:
    """The chain of each attempt, in the order of the attempts, by (entity, epoch)."""
    emissions = emissions_of(view, (record for record in records if record.position in events))
    found: dict[tuple[str, int], list[tuple[int, list[ViewEmission]]]] = defaultdict(list)
    for key, of_entity in emissions.items():
        for chain, fresh in chains(of_entity, FeatureFindings(), key[0]):
            if len(chain) > fresh:
                found[key].append((chain[fresh].attempt, chain))
    return found


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


def _check_vector(view: ViewPlan, history: History, record: Published, findings: FeatureFindings) -> int:
    """Compare one vector with the oracle's; returns the number of rows visited."""
    part = record.value[view.name]
    where = f"{view.id} {part['entity']}, {record.place_in('features')}"
    rows = history.until(part["seq"] - 1, reach_ms(view))
    newest, as_of = max(row.time for row in rows), part["as_of"]
    if record.value["event_time"] != newest or as_of <= newest or part["late"]:
        findings.mismatch(f"{where}: a timer with as_of {as_of}, after the last event at {newest}")
    oracle = timer_features(view, rows, as_of)
    for feature in view.features:
        findings.checked += 1
        engine, wanted = part[feature.name], oracle[feature.name]
        if engine != wanted and not agrees(engine, wanted, tolerance(feature, rows, timer_as_of(feature, rows, as_of))):
            findings.mismatch(f"{where}: {feature.name} is {engine!r} at {as_of}, oracle {wanted!r}")
    return len(rows)


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
