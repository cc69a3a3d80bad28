"""The records that a sink consumed together, until its store has acknowledged them."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic

from confluent_kafka import Message

from penstock.kafka.lag import Partition
from schemas.codec import Undecodable, UnknownSchema
from schemas.dead_letters import DeadLetter
from sinks.store_interface import Decoded, OffsetMark, Store

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Part(Generic[Decoded]):
    """The records of one partition.

    Args:
        end: The offset after the last one.
        oldest_ms: The lowest of their Kafka timestamps.
        decoded: Those that the store takes, in order.
        dead_letters: The others, until they are published.
    """

    end: int
    oldest_ms: int
    decoded: list[Decoded] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)


class Batch(Generic[Decoded]):
    """Consumed records.

    Attributes:
        parts: The records of each partition.
        marks: The marks that the store keeps of these partitions; empty until the first write.
        write: The write that is on its way; None if there is none.
    """

    def __init__(self, parts: dict[Partition, Part[Decoded]]) -> None:
        self.parts = parts
        self.marks: dict[Partition, OffsetMark] = {}
        self.write: Future[Mapping[Partition, int]] | None = None

    @property
    def records(self) -> list[Decoded]:
        """What the store has to write."""
        return [record for part in self.parts.values() for record in part.decoded]

    def drop(self, partitions: Iterable[Partition]) -> None:
        """Forget the records of these partitions."""
        for partition in partitions:
            self.parts.pop(partition, None)
            self.marks.pop(partition, None)


def decode_batch(store: Store[Decoded], pipeline: str, messages: Sequence[Message]) -> Batch[Decoded]:
    """Decode records; those that the store cannot decode become dead letters of the batch.

    Args:
        store: The store, which decodes.
        pipeline: The pipeline's name, for dead letters.
        messages: Records without an error; those of one partition in their order.
    """
    of_partition: dict[Partition, list[Message]] = defaultdict(list)
    for message in messages:
        of_partition[message.topic(), message.partition()].append(message)
    parts: dict[Partition, Part[Decoded]] = {}
    for topic in store.topics:
        consumed = [found for partition, found in of_partition.items() if partition[0] == topic]
        decoded = iter(store.decode(topic, [message.value() or b"" for found in consumed for message in found]))
        for found in consumed:
            part = _part(found, pipeline, store.name, [next(decoded) for _ in found])
            parts[topic, found[0].partition()] = part
    return Batch(parts)


def _part(
    messages: list[Message], pipeline: str, store: str, decoded: list[Decoded | Undecodable | UnknownSchema]
) -> Part[Decoded]:
    last = messages[-1].offset()
    assert last is not None
    part: Part[Decoded] = Part(last + 1, min(message.timestamp()[1] for message in messages))
    for message, found in zip(messages, decoded, strict=True):
        if isinstance(found, Undecodable | UnknownSchema):
            part.dead_letters.append(_dead_letter(message, pipeline, store, found))
        else:
            part.decoded.append(found)
    return part


def _dead_letter(message: Message, pipeline: str, store: str, error: Undecodable | UnknownSchema) -> DeadLetter:
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None
    assert partition is not None
    assert offset is not None
    _log.warning("dead letter: %s[%s]@%s: %s", topic, partition, offset, error.what)
    return DeadLetter(
        topic=topic,
        partition=partition,
        offset=offset,
        pipeline=pipeline,
        stage="decode",
        component=f"penstock.sink.{store}",
        reason=f"penstock.{type(error).__name__}",
        message=error.what,
        key=message.key(),
        value=message.value(),
        original_headers=tuple(message.headers() or ()),
    )
