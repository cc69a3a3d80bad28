"""What the verifier reads: records that Penstock published, and the raw events that they are about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from backfill.topics import Record
from schemas.codec import Decoder


class Position(NamedTuple):
    """Where a raw event stands in its topic."""

    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Published:
    """A decoded feature record or prediction, and where it stands in its own topic."""

    partition: int
    offset: int
    key: bytes | None
    value: Mapping[str, Any]

    @property
    def position(self) -> Position:
        """The raw event that caused it."""
        return Position(self.value["source"]["partition"], self.value["source"]["offset"])


def published(records: Iterable[Record], decoder: Decoder) -> list[Published]:
    """The records, decoded.

    Raises:
        Undecodable, UnknownSchema: if one is not what Penstock publishes.
    """
    return [Published(r.partition, r.offset, r.key, decoder.decode(r.value or b"")) for r in records]
