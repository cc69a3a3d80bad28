"""Records of a topic as they were written; one that cannot be read says nothing of an incident."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from penstock.kafka.reading import Record
from schemas.codec import Undecodable, UnknownSchema
from schemas.history import record_decoder


def decoded(records: Iterable[Record], kind: str) -> Iterator[dict[str, Any]]:
    """The records of a kind, such as ``prediction``, that can be read."""
    decoder = record_decoder(kind)
    for record in records:
        try:
            yield decoder.decode(record.value or b"")
        except (Undecodable, UnknownSchema):
            continue
