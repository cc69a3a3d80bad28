"""Which records of a topic a training read, and reading the same again, from Kafka or from files of an archive."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from penstock.errors import PenstockError
from penstock.kafka.reading import Record
from scoring.recipe import TopicRead

ReadRecords = Callable[[str], Iterator[Record]]
"""Reads a topic by its name, in offset order within each partition."""

_COLUMNS = ["_partition", "_offset", "_timestamp", "_value"]


class ReadRange(Protocol):
    """Reads a part of a topic, in offset order within each partition: ``start`` and ``end`` by partition."""

    def __call__(self, topic: str, *, start: Mapping[int, int], end: Mapping[int, int]) -> Iterator[Record]:
        """The records of a topic."""


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


def as_recorded(topics: Mapping[str, TopicRead], read: ReadRange) -> ReadRecords:
    """Reads of each topic the offsets that were read then; what came later is left out."""

    def records(topic: str) -> Iterator[Record]:
        offsets = topics[topic].offsets
        if not offsets:
            return iter(())
        start = {partition: first for partition, (first, _) in offsets.items()}
        return read(topic, start=start, end={partition: end for partition, (_, end) in offsets.items()})

    return records


def archived_in(root: Path) -> ReadRange:
    """Reads topics from the Parquet files below ``root/topic=<topic>``.

    Of a place that two files have, as after an interrupted compaction, the first counts.
    """

    def read(topic: str, *, start: Mapping[int, int], end: Mapping[int, int]) -> Iterator[Record]:
        folder = root / f"topic={topic}"
        files = sorted(folder.rglob("*.parquet"))
        if not files:
            raise PenstockError(
                f"the archive has no file of topic {topic}",
                where=str(folder),
                safe="nothing was written",
                next="give the folder that has topic=... folders, or leave --archive out to read Kafka",
            )
        found: dict[tuple[int, int], Record] = {}
        for file in files:
            for partition, offset, timestamp, value in _rows(file):
                if start.get(partition, offset + 1) <= offset < end[partition]:
                    record = Record(partition, offset, timestamp, None, value, ())
                    found.setdefault((partition, offset), record)
        return (found[place] for place in sorted(found))

    return read


def _rows(file: Path) -> Iterator[tuple[int, int, int, bytes | None]]:
    try:
        table = pq.ParquetFile(file).read(columns=_COLUMNS)
        partitions, offsets, times, values = (table[name] for name in _COLUMNS)
        columns = [column.to_pylist() for column in (partitions, offsets, times.cast("int64"), values)]
    except (OSError, KeyError, pa.ArrowException) as error:
        raise PenstockError(
            f"a file of the archive cannot be read: {str(error).splitlines()[0]}",
            where=str(file),
            safe="nothing was written",
            next=f"give an archive whose files have the columns {', '.join(_COLUMNS)}",
        ) from error
    return zip(*columns, strict=True)
