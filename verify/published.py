"""Records that Penstock published, decoded, with the position of the raw event that each belongs to."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from penstock.kafka.reading import Record
from schemas.codec import Decoder, Undecodable, UnknownSchema
from schemas.records import TIMER
from streams.plan.feature_records import NO_NAMES, FeaturesDecoder
from verify.replays import Replayed, replay_in


class Position(NamedTuple):
    """The partition and offset of a raw event, and the number of its source in the plan."""

    partition: int
    offset: int
    source: int = 0

    def __repr__(self) -> str:
        of = f", source={self.source}" if self.source else ""
        return f"Position(partition={self.partition}, offset={self.offset}{of})"


def clocks(timestamps: Iterable[tuple[Position, int]]) -> dict[Position, int]:
    """The first sort key of a replay: for each record, the greatest Kafka timestamp of its partition so far.

    The records of a partition must be in offset order.
    """
    newest: dict[tuple[int, int], int] = {}
    found = {}
    for position, timestamp in timestamps:
        lane = position.source, position.partition
        newest[lane] = max(newest.get(lane, timestamp), timestamp)
        found[position] = newest[lane]
    return found


@dataclass(frozen=True, slots=True)
class Published:
    """A decoded feature record or prediction, with its partition and offset in its own topic.

    ``lacks`` names the views and columns that are missing because an earlier definition wrote the record. ``updates``
    holds, by view, the events that updated it since its last record and gave none themselves, in the order in which the
    view saw them; None if there were too many to name. ``timestamp`` is the record's own, when it was published. An
    ``is_excerpt`` was too long for its topic, and is in the topic's dead letters with its texts and lists cut.
    ``replayed`` says which dead letter the record comes from, if it comes from one. ``source`` is the number of the
    source of its event.
    """

    partition: int
    offset: int
    key: bytes | None
    value: Mapping[str, Any]
    lacks: frozenset[str] = NO_NAMES
    updates: Mapping[str, tuple[Position, ...] | None] = field(default_factory=dict)
    timestamp: int = 0
    is_excerpt: bool = False
    replayed: Replayed | None = None
    source: int = 0

    def place_in(self, topic: str) -> str:
        """The record's place for messages: ``topic[partition]@offset``."""
        return f"{topic}{'.dlq' if self.is_excerpt else ''}[{self.partition}]@{self.offset}"

    @property
    def is_timer(self) -> bool:
        """Whether a timer, not an event, triggered this feature record."""
        return bool(self.value.get("trigger") == TIMER)

    @property
    def position(self) -> Position:
        """The triggering raw event; for a timer's record, the entity's last event before it."""
        return Position(self.value["source"]["partition"], self.value["source"]["offset"], self.source)


def readable(
    records: Iterable[Record], decoder: Decoder, topic: str, sources: Sequence[str] = ()
) -> tuple[list[Published], list[str]]:
    """Decode the records; also returns the places of those that cannot be decoded.

    ``sources`` are the topics of the plan's sources, in their order. An event of any other topic counts as of the
    first, and :mod:`verify.check_features` finds it.
    """
    found, unreadable = [], []
    for record in records:
        try:
            found.append(_published(record, decoder, sources))
        except (Undecodable, UnknownSchema):
            unreadable.append(f"{topic}[{record.partition}]@{record.offset}")
    return found, unreadable


def _published(record: Record, decoder: Decoder, sources: Sequence[str]) -> Published:
    value = record.value or b""
    lacks = decoder.absent_names(value) if isinstance(decoder, FeaturesDecoder) else NO_NAMES
    updates = updates_in(record)
    content = decoder.decode(value)
    raw_topic = content["source"]["topic"]
    return Published(
        record.partition,
        record.offset,
        record.key,
        content,
        lacks,
        updates,
        record.timestamp,
        replayed=replay_in(record.headers),
        source=sources.index(raw_topic) if raw_topic in sources else 0,
    )


def updates_in(record: Record) -> dict[str, tuple[Position, ...] | None]:
    """What the header ``updates`` says (docs/reference/records.md).

    Raises:
        Undecodable: if it is not what it should be.
    """
    header = dict(record.headers).get("updates")
    try:
        return {
            view: None
            if places is None
            else tuple(Position(partition, offset, source) for source, partition, offset in places)
            for view, places in json.loads(header or b"{}").items()
        }
    except (ValueError, TypeError, AttributeError) as error:
        raise Undecodable(f"the header updates is no list of positions: {error}") from error
