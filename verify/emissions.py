"""The two sides that feature checks compare: valid events, and what each view emitted for them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from streams.oracle.lookups import LookedUp
from streams.oracle.reference import Row
from streams.plan.entity_text import entity_text
from streams.plan.model import ViewPlan
from verify.findings import Findings
from verify.published import Position, Published, clocks

LookUp: TypeAlias = Callable[[Position, int, Row], LookedUp]
"""What an event is given by lookups: from its position, its clock in a replay (epoch ms) and its fields."""


@dataclass(frozen=True, slots=True)
class JudgedEvent:
    """A valid event that is not a duplicate; its row has every column, including derived columns.

    An event that ``updates`` windows only gives no record of its own.
    """

    position: Position
    timestamp: int
    key: bytes | None
    event_id: str
    time: int
    row: Row
    updates: bool = False

    @property
    def source(self) -> int:
        """The number of its source in the plan."""
        return self.position.source


@dataclass
class FeatureFindings(Findings):
    """Result of the check of the features topic.

    ``emitted`` counts records, ``total`` the feature values in them and ``checked`` those that were compared.
    ``unverifiable`` counts vectors that no order of events is known for, ``repeated`` vectors that were published twice
    with the same numbers. ``epochs`` is how often a view began without state, at most. ``earlier_columns`` counts
    values of computed columns that an earlier definition wrote and the present one computes otherwise. ``unchecked``
    says in words what could not be checked.
    """

    emitted: int = 0
    total: int = 0
    checked: int = 0
    unverifiable: int = 0
    repeated: int = 0
    epochs: int = 0
    earlier_columns: int = 0
    missing: int = 0
    unexpected: int = 0
    unchecked: list[str] = field(default_factory=list)


class ViewEmission(NamedTuple):
    """One view's part of one feature record; of an excerpt, with its texts and lists cut.

    ``updates`` are the events before ``seq`` that gave no record; see :class:`verify.published.Published`.
    """

    attempt: int
    seq: int
    position: Position
    part: Mapping[str, Any]
    updates: tuple[Position, ...] | None = ()
    is_excerpt: bool = False


def emissions_of(view: ViewPlan, records: Iterable[Published]) -> dict[tuple[str, int], list[ViewEmission]]:
    """What the view emitted for events, by (entity, epoch), in the order of ``records``; timers are left out."""
    found: dict[tuple[str, int], list[ViewEmission]] = defaultdict(list)
    for record in records:
        emission = emission_in(record, view)
        if emission is not None and not record.is_timer:
            found[emission.part["entity"], emission.part["epoch"]].append(emission)
    return found


def emission_in(record: Published, view: ViewPlan) -> ViewEmission | None:
    """The view's part of a record; None if the record has none."""
    part = record.value[view.name]
    if part is None:
        return None
    updates = record.updates.get(view.name, ())
    return ViewEmission(record.value["attempt"], part["seq"], record.position, part, updates, record.is_excerpt)


def by_entity(view: ViewPlan, events: Iterable[JudgedEvent]) -> dict[str, list[JudgedEvent]]:
    """Group events by the view's entity; keeps their order."""
    found: dict[str, list[JudgedEvent]] = defaultdict(list)
    for event in events:
        entity = event.row[view.key]
        if entity is not None:
            found[entity_text(entity)].append(event)
    return found


def in_replay_order(events: Iterable[JudgedEvent]) -> list[JudgedEvent]:
    """Events by the greatest Kafka timestamp of their partition so far, source, partition and offset."""
    ordered = sorted(events, key=lambda event: event.position)
    clocks_of = clocks((event.position, event.timestamp) for event in ordered)
    return sorted(ordered, key=lambda event: (clocks_of[event.position], event.source, event.position))


def first_emissions(records: Iterable[Published]) -> dict[Position, Published]:
    """The first feature record for each raw event: the one that is scored, and that a backfill must equal."""
    first: dict[Position, Published] = {}
    for record in records:
        served = first.setdefault(record.position, record)
        if (record.partition, record.offset) < (served.partition, served.offset):
            first[record.position] = record
    return first
