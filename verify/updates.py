"""In which order did a view see events that give no record, between those that do?

``seq`` counts every event of the entity, and records show only those of the source that triggers. If all of these lie
in one partition, the n-th of them that a record shows under ``seq`` s had n - 1 of its own kind before it, and so s - n
updating ones; if those lie in one partition of one topic too, it is known which. Of any other entity the order is not
known, and nothing is claimed: its vectors are counted as unverifiable.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from streams.plan.entity_text import entity_text
from streams.plan.model import ViewPlan
from verify.emissions import Emission, Event, FeatureFindings
from verify.records import Position

Others: TypeAlias = Sequence[Mapping[Position, Event]]


def by_entity(view: ViewPlan, events: Iterable[Event]) -> dict[str, list[Event]]:
    """The events of each of the view's entities, in the order given."""
    found: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        entity = event.row[view.key]
        if entity is not None:
            found[entity_text(entity)].append(event)
    return found


def updates_of(view: ViewPlan, others: Others) -> dict[str, list[list[Event]]]:
    """The updating events of each entity, apart by topic and partition, in the order of their offsets."""
    found: dict[str, list[list[Event]]] = defaultdict(list)
    for events in others:
        for entity, of_entity in by_entity(view, events.values()).items():
            apart: dict[int, list[Event]] = defaultdict(list)
            for event in of_entity:
                apart[event.position.partition].append(event)
            found[entity] += apart.values()
    return found


def timelines(
    emissions: Sequence[Emission],
    triggering: Sequence[Event],
    updating: Sequence[Event],
    findings: FeatureFindings,
    name: str,
) -> Iterator[tuple[list[Event], list[tuple[int, Emission]]]]:
    """For each attempt, the events in the order in which the view saw them, and its emissions with their places there.

    Args:
        emissions: Of one entity, in the epoch that began with the topics.
        triggering: Its events that give records, all of one partition, in the order of their offsets.
        updating: Its other events, all of one partition of one topic, likewise.
        findings: Told what cannot be, and how many emissions cannot be judged.
        name: Of view and entity.
    """
    ranks = {event.position: rank for rank, event in enumerate(triggering, 1)}
    attempts: dict[int, dict[int, Emission]] = defaultdict(dict)
    for emission in emissions:
        before = attempts[emission.attempt].setdefault(ranks[emission.position], emission)
        if (before.seq, before.part) != (emission.seq, emission.part):
            findings.mismatch(f"{name}: event {emission.position} was emitted with two contents in one attempt")
    lineage: dict[int, Emission] = {}
    for attempt in sorted(attempts):
        own = attempts[attempt]
        lineage = {rank: emission for rank, emission in lineage.items() if rank < min(own)} | own
        seen: list[Event] = []
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
