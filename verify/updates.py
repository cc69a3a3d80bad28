"""Reconstructs the order in which a view saw triggering events (which give records) and updating events (which do not).

``seq`` counts every event of the entity, but only triggering events have records. If all triggering events are in one
partition, the n-th of them, with ``seq`` s, came after n - 1 triggering events and therefore after s - n updating
events. If the updating events are in one partition of one topic too, their order is known as well. For any other entity
the order is unknown, and its vectors count as unverifiable.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from streams.plan.entity_text import entity_text
from streams.plan.model import ViewPlan
from verify.emissions import FeatureFindings, JudgedEvent, ViewEmission
from verify.published import Position

Others: TypeAlias = Sequence[Mapping[Position, JudgedEvent]]


def by_entity(view: ViewPlan, events: Iterable[JudgedEvent]) -> dict[str, list[JudgedEvent]]:
    """Group events by the view's entity; keeps their order."""
    found: dict[str, list[JudgedEvent]] = defaultdict(list)
    for event in events:
        entity = event.row[view.key]
        if entity is not None:
            found[entity_text(entity)].append(event)
    return found


def updates_of(view: ViewPlan, others: Others) -> dict[str, list[list[JudgedEvent]]]:
    """The updating events of each entity: one list per topic and partition, in offset order."""
    found: dict[str, list[list[JudgedEvent]]] = defaultdict(list)
    for events in others:
        for entity, of_entity in by_entity(view, events.values()).items():
            apart: dict[int, list[JudgedEvent]] = defaultdict(list)
            for event in of_entity:
                apart[event.position.partition].append(event)
            found[entity] += apart.values()
    return found


def timelines(
    emissions: Sequence[ViewEmission],
    triggering: Sequence[JudgedEvent],
    updating: Sequence[JudgedEvent],
    findings: FeatureFindings,
    name: str,
) -> Iterator[tuple[list[JudgedEvent], list[tuple[int, ViewEmission]]]]:
    """Yield for each attempt the events in the order in which the view saw them, and its emissions with their indexes.

    Args:
        emissions: Of one entity, in the epoch that began with the topics.
        triggering: The entity's events that give records, all of one partition, in offset order.
        updating: Its other events, all of one partition of one topic, in offset order.
        findings: Collects impossible ``seq`` numbers as mismatches, and counts emissions that cannot be judged.
        name: The view and the entity, for messages.
    """
    ranks = {event.position: rank for rank, event in enumerate(triggering, 1)}
    attempts: dict[int, dict[int, ViewEmission]] = defaultdict(dict)
    for emission in emissions:
        before = attempts[emission.attempt].setdefault(ranks[emission.position], emission)
        findings.repeated += before is not emission
        if (before.seq, before.part) != (emission.seq, emission.part):
            findings.mismatch(f"{name}: event {emission.position} was emitted with two contents in one attempt")
    lineage: dict[int, ViewEmission] = {}
    for attempt in sorted(attempts):
        own = attempts[attempt]
        lineage = {rank: emission for rank, emission in lineage.items() if rank < min(own)} | own
        seen: list[JudgedEvent] = []
        places = []
        updated = 0
        for rank in range(1, max(own) + 1):
            shown = lineage.get(rank)
            if shown is None and attempt == max(attempts):
                findings.mismatch(f"{name}: event {triggering[rank - 1].position} is missing")
            updates = -1 if shown is None else shown.seq - rank
            if shown is not None and not updated <= updates <= len(updating):
                findings.mismatch(
                    f"{name}: seq {shown.seq} of event {shown.position} leaves {updates} updating events before it, "
                    f"after {updated} before the last and of {len(updating)} in all"
                )
                shown = None
            if shown is None:
                findings.unverifiable += sum(1 for number in own if number >= rank)
                break
            seen += updating[updated:updates]
            updated = updates
            if rank in own:
                places.append((len(seen), shown))
            seen.append(triggering[rank - 1])
        yield seen, places
