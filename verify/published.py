"""What the verifier reads: records that Penstock published, and the raw events that they are about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from penstock.kafka.reading import Record
from schemas.codec import Decoder
from schemas.records import TIMER
from streams.plan.feature_records import NOTHING, FeaturesDecoder


class Position(NamedTuple):
    """Where a raw event stands in its topic."""

    partition: int
    offset: int


def clocks(timestamps: Iterable[tuple[Position, int]]) -> dict[Position, int]:
    """The first thing by which a replay orders records: the greatest Kafka timestamp of the partition so far.

    Its own records must come in the order of their offsets.
    """
    newest: dict[int, int] = {}
    found = {}
    for position, timestamp in timestamps:
        newest[position.partition] = max(newest.get(position.partition, timestamp), timestamp)
        found[position] = newest[position.partition]
    return found


@dataclass(frozen=True, slots=True)
class Published:
    """A decoded feature record or prediction, and where it stands in its own topic.

    ``lacks`` are the views and columns that it does not have because an earlier definition wrote it.
    """

    partition: int
    offset: int
    key: bytes | None
    value: Mapping[str, Any]
    lacks: frozenset[str] = NOTHING

    @property
    def is_timer(self) -> bool:
        """Whether it is a feature record that no event caused."""
        return bool(self.value.get("trigger") == TIMER)

    @property
    def position(self) -> Position:
        """The raw event that caused it; of a timer's record, the last of its entity before it."""
        return Position(self.value["source"]["partition"], self.value["source"]["offset"])


def published(records: Iterable[Record], decoder: Decoder) -> list[Published]:
    """The records, decoded.

    Raises:
        Undecodable, UnknownSchema: if one is not what Penstock publishes.
    """
    return [_published(record, decoder) for record in records]


def _published(record: Record, decoder: Decoder) -> Published:
    value = record.value or b""
    lacks = decoder.lacks(value) if isinstance(decoder, FeaturesDecoder) else NOTHING
    return Published(record.partition, record.offset, record.key, decoder.decode(value), lacks)
