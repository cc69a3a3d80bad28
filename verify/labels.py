"""The label of each event, from the records of a labels topic."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from penstock.kafka.reading import Record
from schemas.codec import Decoder, Registry, Rejection, decode_label
from schemas.committed import writer_schemas
from schemas.constraints import INT64_MAX
from schemas.contract import Role, field_with_role
from streams.definitions.pipeline import Labels, Task

Label = int | float | str


def known_labels(
    labels: Labels,
    records: Iterable[Record],
    schemas: Path,
    registry: Registry | None = None,
    until_ms: int = INT64_MAX,
) -> dict[str, Label]:
    """The last label of each event id that was known at ``until_ms``: 0 or 1, a value, or a class as text.

    Of several labels of one event, the one with the latest time counts, and of equal times the one that Kafka received
    last. A null withdraws the label. Records that break the contract do not count, nor do values other than 0 and 1, or
    of a regression values that are not finite.
    """
    id_field, time_field = (field_with_role(labels.contract, role) for role in (Role.EVENT_ID, Role.EVENT_TIME))
    assert id_field is not None
    assert time_field is not None
    writers = Decoder(*writer_schemas(labels.contract, schemas))
    read = _READERS[labels.task]
    latest: dict[str, tuple[tuple[int, ...], Label | None]] = {}
    for record in records:
        label = decode_label(record.value, labels.contract, writers, registry)
        if isinstance(label, Rejection):
            continue
        value = getattr(label, labels.value)
        if value is not None and (value := read(value)) is None:
            continue
        if getattr(label, time_field) > until_ms:
            continue
        event_id = getattr(label, id_field)
        rank = getattr(label, time_field), record.timestamp, record.partition, record.offset
        if event_id not in latest or rank > latest[event_id][0]:
            latest[event_id] = rank, value
    return {event_id: value for event_id, (_, value) in latest.items() if value is not None}


def _yes_or_no(value: float) -> int | None:
    return int(value) if value in (0, 1) else None


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


_READERS: Mapping[Task, Callable[[Any], Label | None]] = {
    "binary": _yes_or_no,
    "regression": _number,
    "multiclass": str,
}
