"""Which records of a topic a training read, and reading the same again."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from penstock.kafka.reading import ReadTopic, Record
from scoring.recipe import TopicRead

ReadRecords = Callable[[str], Iterator[Record]]
"""Reads a topic by its name, in offset order within each partition."""


@dataclass
class _Partition:
    first: int
    end: int = 0
    records: int = 0
    digest: Any = field(default_factory=hashlib.sha256)


class TopicsRead:
    """Passes on the records of topics, and keeps which they were.

    Args:
        read: Reads the topics.
    """

    def __init__(self, read: ReadRecords) -> None:
        self._read = read
        self._topics: dict[str, dict[int, _Partition]] = {}

    def records(self, topic: str) -> Iterator[Record]:
        """The records of a topic."""
        found = self._topics[topic] = {}
        for record in self._read(topic):
            of = found.setdefault(record.partition, _Partition(record.offset))
            of.end, of.records = record.offset + 1, of.records + 1
            size = -1 if record.value is None else len(record.value)
            of.digest.update(struct.pack("<qqq", record.offset, record.timestamp, size) + (record.value or b""))
            yield record

    def found(self) -> dict[str, TopicRead]:
        """What was read of each topic so far."""
        return {
            topic: TopicRead(
                offsets={number: (of.first, of.end) for number, of in sorted(partitions.items())},
                records=sum(of.records for of in partitions.values()),
                sha256=hashlib.sha256(
                    json.dumps({number: of.digest.hexdigest() for number, of in sorted(partitions.items())}).encode()
                ).hexdigest(),
            )
            for topic, partitions in self._topics.items()
        }


def as_recorded(topics: Mapping[str, TopicRead], read: ReadTopic) -> ReadRecords:
    """Reads of each topic the offsets that were read then; what came later is left out."""

    def records(topic: str) -> Iterator[Record]:
        offsets = topics[topic].offsets
        if not offsets:
            return iter(())
        start = {partition: first for partition, (first, _) in offsets.items()}
        return read(topic, start=start, end={partition: end for partition, (_, end) in offsets.items()})

    return records
