"""The label of each event, from the records of a labels topic."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.kafka.reading import Record
from schemas.codec import Decoder, Registry, Rejection, decode_label
from schemas.committed import writer_schemas
from schemas.constraints import INT64_MAX
from schemas.contract import Role, field_with_role
from streams.definitions.labels import Labels, Task

Label = int | float | str


Rank = tuple[int, ...]


@dataclass(frozen=True)
class LabelHistory:
    """All labels of each event, in no order: the rank of each, which begins with its time, and None for a withdrawal.

    ``reached_ms`` is the latest time that they have reached: each counts as of its own time, or of its Kafka timestamp
    if that is earlier. None without labels.
    """

    of: Mapping[str, Sequence[tuple[Rank, Label | None]]]
    reached_ms: int | None = None

    def last(self, event_id: str, until_ms: int) -> tuple[Rank, Label | None] | None:
        """The last label of an event that was known at a time, with its rank; None if there was none."""
        known = [one for one in self.of.get(event_id, ()) if one[0][0] <= until_ms]
        return max(known, key=lambda one: one[0]) if known else None

    def at(self, event_id: str, until_ms: int) -> Label | None:
        """The last label of an event that was known at a time; None if there was none, or it was withdrawn."""
        found = self.last(event_id, until_ms)
        return None if found is None else found[1]

    def known(self, until_ms: int = INT64_MAX) -> dict[str, Label]:
        """The last label of each event that was known at a time."""
        found = {event_id: self.at(event_id, until_ms) for event_id in self.of}
        return {event_id: value for event_id, value in found.items() if value is not None}


def label_history(
    labels: Labels, records: Iterable[Record], schemas: Path, registry: Registry | None = None
) -> LabelHistory:
    """The labels in records: 0 or 1, a value, or a class as text.

    Of several labels of one event, the one with the latest time ranks first, and of equal times the one that Kafka
    received last. A null withdraws the label. Records that break the contract do not count, nor do values other than 0
    and 1, or of a regression values that are not finite.
    """
    id_field, time_field = (field_with_role(labels.contract, role) for role in (Role.EVENT_ID, Role.EVENT_TIME))
    assert id_field is not None
    assert time_field is not None
    writers = Decoder(*writer_schemas(labels.contract, schemas))
    read = _READERS[labels.task]
    found: dict[str, list[tuple[Rank, Label | None]]] = {}
    reached: int | None = None
    for record in records:
        label = decode_label(record.value, labels.contract, writers, registry)
        if isinstance(label, Rejection):
            continue
        value = getattr(label, labels.value)
        if value is not None and (value := read(value)) is None:
            continue
        time = getattr(label, time_field)
        rank = time, record.timestamp, record.partition, record.offset
        found.setdefault(getattr(label, id_field), []).append((rank, value))
        received = time if record.timestamp < 0 else min(time, record.timestamp)
        reached = received if reached is None else max(reached, received)
    return LabelHistory(found, reached)


def known_labels(
    labels: Labels, records: Iterable[Record], schemas: Path, registry: Registry | None = None
) -> dict[str, Label]:
    """The last label of each event id."""
    return label_history(labels, records, schemas, registry).known()


def _yes_or_no(value: float) -> int | None:
    return int(value) if value in (0, 1) else None


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


_READERS: Mapping[Task, Callable[[Any], Label | None]] = {
    "binary": _yes_or_no,
    "regression": _number,
    "multiclass": str,
}
