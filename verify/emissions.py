"""The two sides that feature checks compare: valid events, and what each view emitted for them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from streams.oracle.reference import Row
from streams.plan.model import ViewPlan
from verify.findings import Findings
from verify.published import Position, Published


@dataclass(frozen=True, slots=True)
class JudgedEvent:
    """A valid event that is not a duplicate; its row has every column, including derived columns."""

    position: Position
    timestamp: int
    key: bytes | None
    event_id: str
    time: int
    row: Row


@dataclass
class FeatureFindings(Findings):
    """Result of the check of the features topic.

    ``emitted`` counts records, ``total`` the feature values in them and ``checked`` those that were compared.
    ``unverifiable`` counts vectors that no order of events is known for, ``repeated`` vectors that were published twice
    with the same numbers. ``epochs`` is how often a view began without state, at most. ``unchecked`` says in words what
    could not be checked.
    """

    emitted: int = 0
    total: int = 0
    checked: int = 0
    unverifiable: int = 0
    repeated: int = 0
    epochs: int = 0
    missing: int = 0
    unexpected: int = 0
    unchecked: list[str] = field(default_factory=list)


class ViewEmission(NamedTuple):
    """One view's part of one feature record."""

    attempt: int
    seq: int
    position: Position
    part: Mapping[str, Any]


def emissions_of(view: ViewPlan, records: Iterable[Published]) -> dict[tuple[str, int], list[ViewEmission]]:
    """What the view emitted for events, by (entity, epoch), in the order of ``records``; timers are left out."""
    found: dict[tuple[str, int], list[ViewEmission]] = defaultdict(list)
    for record in records:
        part = record.value[view.name]
        if part is not None and not record.is_timer:
            emission = ViewEmission(record.value["attempt"], part["seq"], record.position, part)
            found[part["entity"], part["epoch"]].append(emission)
    return found
