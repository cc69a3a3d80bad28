"""Checks what events were given from reference data: rows that their topics have had, by the oracle's rules.

When a row reached the job is not known afterwards, so any row that the key has ever had may be right. What follows from
it in features is checked with the values that the event was given.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from penstock.errors import PenstockError
from schemas.codec import Registry
from streams.oracle.lookups import LookedUp, LookupHistory, read_history
from streams.oracle.reference import Row
from streams.plan.model import PipelinePlan
from streams.plan.project import Project
from verify.emissions import FeatureFindings, JudgedEvent, LookUp
from verify.published import Position, Published
from verify.run_data import RunData


def history_of(project: Project, run: RunData, pii_key: bytes, registry: Registry | None) -> LookupHistory | None:
    """What the topics of reference data say; None for a pipeline without lookups.

    Raises:
        PenstockError: if the run has backfills, whose rows need not follow from what events were given.
    """
    if not project.plan.lookups:
        return None
    if run.backfills:
        raise PenstockError(
            "a backfill of a pipeline with lookups cannot be verified: a replay may give events other reference data "
            "than they were given",
            where=f"pipeline {project.name}",
            safe="nothing was checked",
            next="verify without it; penstock parity names what differs",
        )
    return read_history(project, lambda topic: run.references.get(topic, ()), pii_key, registry)


def as_published(plan: PipelinePlan, history: LookupHistory, records: Iterable[Published]) -> LookUp:
    """Gives each event what its first record says, and an event without a record what a replay gives it."""
    names = [column for lookup in plan.lookups for _, column in lookup.columns]
    given: dict[Position, LookedUp] = {}
    for record in records:
        if not record.is_timer and not any(f"event.{name}" in record.lacks for name in names):
            given.setdefault(record.position, {name: record.value["event"][name] for name in names})

    def look_up(position: Position, clock: int, row: Row) -> LookedUp:
        found = given.get(position)
        triggers = plan.sources[position.source].triggers
        return history.columns(clock, row, triggers=triggers) if found is None else found

    return look_up


def check_lookups(
    plan: PipelinePlan,
    history: LookupHistory | None,
    events: Mapping[Position, JudgedEvent],
    records: Iterable[Published],
    findings: FeatureFindings,
) -> None:
    """Check that each record has values that its event's key has had; adds to the findings of features."""
    if history is None:
        return
    names = [column for lookup in plan.lookups for _, column in lookup.columns]
    if not history.is_whole:
        findings.unchecked.append("values from reference data whose records compaction has removed")
    for record in records:
        event = events.get(record.position)
        if event is None or record.is_timer or any(f"event.{name}" in record.lacks for name in names):
            continue
        findings.checked += len(names)
        findings.total += len(names)
        given = {name: record.value["event"][name] for name in names}
        if not history.explains(event.row, given):
            findings.mismatch(f"{record.place_in('features')}: no row of reference data gives {given!r}")
