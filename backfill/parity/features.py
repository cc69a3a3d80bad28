"""Compares feature records with recomputed features, and finds the cause of each difference.

A cause is decided by a test that could fail. Where an order of events explains a difference, the features are
recomputed in that order, which must be a possible one (:mod:`.orders`), and must give every served value bit for bit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeAlias

from backfill.parity.findings import Findings
from backfill.parity.kernel import FeatureKernel, StageKernel, ViewValues
from backfill.parity.orders import Order, served_orders
from backfill.parity.raw import RawEvent
from backfill.parity.sample import Chosen
from backfill.parity.served import Served, ServedRecord
from backfill.parity.values import FEATURES, Cause, Difference, Place, same, same_in_sql
from streams.oracle.derived_features import derived_features
from streams.plan.model import PipelinePlan, StagePlan, ViewPlan

_CHUNK = 5_000
NOT_WARM = "values whose windows reach back to events that are no longer kept"

Recomputed: TypeAlias = Mapping[str, Mapping[Place, ViewValues]]
"""By view, the recomputed part of each event in the range."""
Warm: TypeAlias = Callable[[ViewPlan, int], bool]
"""Whether all events that a view's windows hold as of a time are known."""
EventsOf: TypeAlias = Callable[[StagePlan, set[str]], Mapping[str, Mapping[Place, RawEvent]]]
"""The events of some entities, by entity and place."""


@dataclass(frozen=True)
class Recomputation:
    """What served features are compared with.

    Args:
        values: The recomputed values of the served events.
        events_of: The raw events of some entities.
        warm: Whether a view's windows are known as of a time.
        turn: The order of events in which they were recomputed.
        given: Whether an event was in a replay that somebody else made, who may be wrong; None if nobody did.
    """

    values: Recomputed
    events_of: EventsOf
    warm: Warm
    turn: Callable[[RawEvent], tuple[int, ...]]
    given: Callable[[Place], bool] | None = None


@dataclass
class Differing:
    """By view, and by entity: the names that differ at each event, in no order."""

    by_view: dict[str, dict[str, dict[Place, list[str]]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(dict))
    )

    def entities(self, stage: StagePlan) -> set[str]:
        """The entities of a stage with a difference."""
        return {entity for view in stage.views for entity in self.by_view.get(view.name, ())}


def compare_parts(plan: PipelinePlan, served: Served, recomputed: Recomputation, findings: Findings) -> Differing:
    """Compare every view of every record; what an earlier definition wrote is explained at once."""
    differing = Differing()
    for place, record in served.first.items():
        for stage in plan.stages:
            for view in stage.views:
                part, expected = record.value[view.name], recomputed.values[view.name].get(place)
                if view.name in record.lacks:
                    if expected is not None:
                        findings.compared[FEATURES, view.id] += len(view.outputs)
                        findings.add(_of_version(view, place, record, expected))
                    continue
                if expected is None:
                    continue  # the event names no such entity, or the sample has not its events
                names = expected.by_name()
                if not recomputed.warm(view, expected.as_of):
                    findings.not_compared[NOT_WARM] += len(names)
                    continue
                findings.compared[FEATURES, view.id] += len(names)
                wrong = list(names) if part is None else [n for n, value in names.items() if not same(part[n], value)]
                if wrong:
                    differing.by_view[view.name][expected.entity][place] = wrong
    return differing


def explain_parts(
    plan: PipelinePlan,
    served: Served,
    recomputed: Recomputation,
    differing: Differing,
    kernel: FeatureKernel,
    findings: Findings,
) -> None:
    """Find the cause of each difference, and the root of each run of differences of an entity."""
    for stage in plan.stages:
        entities = differing.entities(stage)
        if not entities:
            continue
        events = recomputed.events_of(stage, entities)
        computer = StageKernel(plan, stage, kernel)
        for view in stage.views:
            of_view = differing.by_view.get(view.name, {})
            values = recomputed.values[view.name]
            causes = _causes(plan, view, served, values, of_view, events, computer)
            if recomputed.given is not None:
                known = {e: {p: own for p, own in of.items() if recomputed.given(p)} for e, of in events.items()}
                causes |= _of_wrong_rows(plan, view, recomputed, of_view, known, computer)
            for entity, places in of_view.items():
                findings.add(_grouped(view, entity, served, values, places, causes, recomputed.warm))


def _causes(
    plan: PipelinePlan,
    view: ViewPlan,
    served: Served,
    recomputed: Mapping[Place, ViewValues],
    of_view: Mapping[str, Mapping[Place, Sequence[str]]],
    events: Mapping[str, Mapping[Place, RawEvent]],
    computer: StageKernel,
) -> dict[Place, Cause]:
    """The cause of each event's differences in one view."""
    causes: dict[Place, Cause] = {}
    waiting: dict[str, list[tuple[Order, list[Place]]]] = {}
    for entity, places in of_view.items():
        causes |= dict.fromkeys(places, Cause.UNEXPLAINED)
        emissions, lacking = served.emissions[view.name].get(entity, ()), served.lacking.get(view.name, {})
        for order in served_orders(plan, view, emissions, events.get(entity, {}), lacking):
            own = [place for place in places if place in order.at and _wrote(order, view, served.first[place])]
            if own:
                waiting.setdefault(entity, []).append((order, own))
    while waiting:  # one order of each entity in a round: the kernel keeps a state for each entity
        rounds = [orders.pop() for orders in waiting.values()]
        waiting = {entity: orders for entity, orders in waiting.items() if orders}
        chains = [order.events[: max(order.at[place] for place in own) + 1] for order, own in rounds]
        for (order, own), answers in zip(rounds, computer.compute(chains), strict=True):
            for place in own:
                part, values = served.first[place].value[view.name], answers[order.at[place]].get(view.name)
                if values is not None and all(same(part[name], value) for name, value in values.by_name().items()):
                    causes[place] = _cause(plan, order, part, recomputed[place])
    return causes


def _of_wrong_rows(
    plan: PipelinePlan,
    view: ViewPlan,
    recomputed: Recomputation,
    of_view: Mapping[str, Mapping[Place, Sequence[str]]],
    events: Mapping[str, Mapping[Place, RawEvent]],
    computer: StageKernel,
) -> dict[Place, Cause]:
    """The events whose given values do not follow from the replay's order: another order cannot excuse them.

    Of a source in event-time order, the replay's order depends on the events of all entities, which are not known here.
    """
    if plan.source.order == "event_time":
        return {}
    found, values = {}, recomputed.values[view.name]
    entities = list(of_view)
    chains = [sorted(events.get(entity, {}).values(), key=recomputed.turn) for entity in entities]
    for entity, chain, answers in zip(entities, chains, computer.compute(chains), strict=True):
        computed = {event.place: answer.get(view.name) for event, answer in zip(chain, answers, strict=True)}
        for place in of_view[entity]:
            own = computed.get(place)
            if own is None or any(not same(values[place].by_name()[n], value) for n, value in own.by_name().items()):
                found[place] = Cause.UNEXPLAINED
    return found


def _wrote(order: Order, view: ViewPlan, record: ServedRecord) -> bool:
    part = record.value[view.name]
    return part is not None and (part["epoch"], record.value["attempt"]) == (order.epoch, order.attempt)


def _cause(plan: PipelinePlan, order: Order, part: Mapping[str, Any], recomputed: ViewValues) -> Cause:
    """What it means that this order gives the served values."""
    if not order.is_whole:
        return Cause.VERSION
    is_late = plan.source.order == "event_time" or part["late"] or recomputed.late
    return Cause.LATE if is_late else Cause.INTERLEAVING


def _grouped(
    view: ViewPlan,
    entity: str,
    served: Served,
    recomputed: Mapping[Place, ViewValues],
    places: Mapping[Place, Sequence[str]],
    causes: Mapping[Place, Cause],
    warm: Warm,
) -> Iterator[Difference]:
    """The differences of an entity, in the order in which the view took its events.

    Until values agree again, the first difference of a cause explains the later ones of that cause.
    """
    emissions = served.emissions[view.name].get(entity, ())
    numbers = {e.place: (e.epoch, e.attempt, e.seq) for e in reversed(emissions)}
    compared = [place for place in numbers if place in recomputed and place in served.first]
    compared = [place for place in compared if warm(view, recomputed[place].as_of)]
    unnumbered = [place for place in places if place not in numbers]
    root, cause = None, None
    for place in [*sorted(compared, key=numbers.__getitem__), *sorted(unnumbered)]:
        if place not in places:
            root, cause = None, None
            continue
        if root is None or causes[place] is not cause or place not in numbers:
            root, cause = place, causes[place]
        record, expected = served.first[place], recomputed[place].by_name()
        part = record.value[view.name]
        for name in places[place]:
            got = None if part is None else part[name]
            yield Difference(
                FEATURES, view.id, name, causes[place], entity, place, record.at, got, expected[name], root
            )


def _of_version(view: ViewPlan, place: Place, record: ServedRecord, expected: ViewValues) -> Iterator[Difference]:
    for name in (output.name for output in view.outputs):
        value = expected.values.get(name)
        yield Difference(FEATURES, view.id, name, Cause.VERSION, expected.entity, place, record.at, None, value, place)


def compare_derived(plan: PipelinePlan, served: Served, chosen: Chosen, findings: Findings) -> None:
    """Compare the features that are SQL of others with their expressions on the same record's values.

    So a wrong input is found once, at itself. DuckDB and Flink may round a result differently, within 1e-12.
    """
    if not plan.derived_features:
        return
    remaining = iter(served.first.items())
    while chunk := list(islice(remaining, _CHUNK)):
        computed = derived_features(plan, [record.value for _, record in chunk], [view.name for view in plan.views])
        for (place, record), values in zip(chunk, computed, strict=True):
            for stage in plan.stages:
                for view in stage.views:
                    part = record.value[view.name]
                    if part is None or not chosen(stage.entity, part["entity"]):
                        continue
                    findings.compared[FEATURES, view.id] += len(view.derived)
                    for name in (derived.name for derived in view.derived):
                        wanted = values[f"{view.name}.{name}"]
                        if not same_in_sql(part[name], wanted):
                            cause = Cause.VERSION if record.lacks else Cause.UNEXPLAINED
                            findings.add(
                                [
                                    Difference(
                                        FEATURES,
                                        view.id,
                                        name,
                                        cause,
                                        part["entity"],
                                        place,
                                        record.at,
                                        part[name],
                                        wanted,
                                        place,
                                    )
                                ]
                            )
