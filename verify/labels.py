"""The label of each event, from the records of a labels topic."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from penstock.kafka.reading import Record
from schemas.codec import Decoder, Registry, Rejection, decode_label
from schemas.committed import writer_schemas
from schemas.constraints import INT64_MAX
from schemas.contract import Role, field_with_role
from streams.definitions.pipeline import Labels


def known_labels(
    labels: Labels,
    records: Iterable[Record],
    schemas: Path,
    registry: Registry | None = None,
    until_ms: int = INT64_MAX,
) -> dict[str, int]:
    """The last label, 0 or 1, of each event id that was known at ``until_ms``.

    Of several labels of one event, the one with the latest time counts, and of equal times the one that Kafka received
    last. A null withdraws the label. Records that break the contract, and values other than 0 and 1, do not count.
    """
    id_field, time_field = (field_with_role(labels.contract, role) for role in (Role.EVENT_ID, Role.EVENT_TIME))
    assert id_field is not None
    assert time_field is not None
    writers = Decoder(*writer_schemas(labels.contract, schemas))
    latest: dict[str, tuple[tuple[int, ...], int | None]] = {}
    for record in records:
        label = decode_label(record.value, labels.contract, writers, registry)
        if isinstance(label, Rejection) or (value := getattr(label, labels.value)) not in (None, 0, 1):
            continue
        if getattr(label, time_field) > until_ms:
            continue
        event_id = getattr(label, id_field)
        rank = getattr(label, time_field), record.timestamp, record.partition, record.offset
        if event_id not in latest or rank > latest[event_id][0]:
            latest[event_id] = rank, None if value is None else int(value)
    return {event_id: value for event_id, (_, value) in latest.items() if value is not None}
