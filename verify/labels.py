"""The label of each event, from the records of the topics of labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from penstock.kafka.reading import Record
from schemas.codec import Decoder, Registry, Rejection, decode_label
from schemas.committed import writer_schemas
from schemas.constraints import INT64_MAX
from schemas.contract import Role, field_with_role
from streams.definitions.labels import Labels, LabelSource, Task

Label = int | float | str


Rank = tuple[int, ...]


class Known(NamedTuple):
    """A label: what it says, since when it is known, and the place of its source."""

    value: Label
    known_at: int
    source: int


@dataclass(frozen=True)
class LabelHistory:
    """All labels of each event, in no order: the rank of each, which begins with its time, and None for a withdrawal.

    Of one source; ``otherwise`` has those of the other ones, in their order.

    ``reached_ms`` is the latest time that they have reached: each counts as of its own time, or of its Kafka timestamp
    if that is earlier. None without labels.
    """

    of: Mapping[str, Sequence[tuple[Rank, Label | None]]]
    reached_ms: int | None = None
    otherwise: Sequence[LabelHistory] = ()

    def last(self, event_id: str, until_ms: int) -> Known | None:
        """The label of an event that counted at a time; None if there was none, or it was withdrawn.

        Of the first source whose last label says something.
        """
        for number, of in enumerate((self, *self.otherwise)):
            known = [one for one in of.of.get(event_id, ()) if one[0][0] <= until_ms]
            rank, value = max(known, key=lambda one: one[0], default=((), None))
            if value is not None:
                return Known(value, rank[0], number)
        return None

    def at(self, event_id: str, until_ms: int) -> Label | None:
        """What that label says."""
        found = self.last(event_id, until_ms)
        return None if found is None else found.value

    def known(self, until_ms: int = INT64_MAX) -> dict[str, Label]:
        """What the label of each event says that counted at a time."""
        ids = {event_id for of in (self, *self.otherwise) for event_id in of.of}
        found = {event_id: self.at(event_id, until_ms) for event_id in ids}
        return {event_id: value for event_id, value in found.items() if value is not None}

    def all(self, event_id: str) -> list[tuple[Rank, Label | None]]:
        """All labels of an event, of whatever source."""
        return [one for of in (self, *self.otherwise) for one in of.of.get(event_id, ())]


def label_history(
    labels: Labels, records: Sequence[Iterable[Record]], schemas: Path, registry: Registry | None = None
) -> LabelHistory:
    """The labels in the records of each source: 0 or 1, a value, or a class as text.

    Of several labels of one event and source, the one with the latest time ranks first, and of equal times the one that
    Kafka received last. A null withdraws the label. Records that break the contract do not count, nor do values other
    than 0 and 1, or of a regression values that are not finite. Labels have reached the latest time of any source.
    """
    if not records:
        return LabelHistory({})
    first, *others = (
        _of_source(source, labels.task, of, schemas, registry)
        for source, of in zip(labels.sources, records, strict=True)
    )
    reached = [one.reached_ms for one in (first, *others) if one.reached_ms is not None]
    return LabelHistory(first.of, max(reached, default=None), others)


def _of_source(
    source: LabelSource, task: Task, records: Iterable[Record], schemas: Path, registry: Registry | None
) -> LabelHistory:
    id_field, time_field = (field_with_role(source.contract, role) for role in (Role.EVENT_ID, Role.EVENT_TIME))
    assert id_field is not None
    assert time_field is not None
    writers = Decoder(*writer_schemas(source.contract, schemas))
    read = _READERS[task]
    prefix = "" if source.of is None else f"{source.of}:"
    found: dict[str, list[tuple[Rank, Label | None]]] = {}
    reached: int | None = None
    for record in records:
        label = decode_label(record.value, source.contract, writers, registry)
        if isinstance(label, Rejection):
            continue
        value = getattr(label, source.value)
        if value is not None and (value := read(value)) is None:
            continue
        time = getattr(label, time_field)
        rank = time, record.timestamp, record.partition, record.offset
        found.setdefault(prefix + getattr(label, id_field), []).append((rank, value))
        received = time if record.timestamp < 0 else min(time, record.timestamp)
        reached = received if reached is None else max(reached, received)
    return LabelHistory(found, reached)


def known_labels(
    labels: Labels, records: Sequence[Iterable[Record]], schemas: Path, registry: Registry | None = None
) -> dict[str, Label]:
    """What the label of each event says that counts in the end."""
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
