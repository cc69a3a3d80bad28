"""What an archive and Kafka have of a source together: the archive first, then what only Kafka has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pytest

from backfill import restored
from backfill.restored import ArchivedSource
from penstock.errors import PenstockError
from penstock.kafka.reading import Record
from penstock.settings import Settings
from streams.definitions.sources import Source
from tests.scoring.scorer_bench import define

KAFKA = Settings().kafka.access
FIRST_MS, SPACING_MS = 1_000, 10
Offsets = Mapping[int, int]


def record(partition: int, offset: int, value: bytes) -> Record:
    return Record(partition, offset, FIRST_MS + SPACING_MS * offset, None, value, ())


@dataclass
class FakeArchive:
    """Has every offset of its ranges, with a timestamp that grows with it."""

    held: dict[int, list[tuple[int, int]]]
    asked: list[tuple[Offsets, Offsets]] = field(default_factory=list)

    def ranges(self, _topic: str) -> dict[int, list[tuple[int, int]]]:
        return self.held

    def records(self, _topic: str, *, start: Offsets, end: Offsets) -> Iterator[Record]:
        self.asked.append((start, end))
        return (record(n, at, b"archive") for n in start for at in range(start[n], end[n]))

    def batches(self, _topic: str, columns: list[str], from_ms: int) -> Iterator[pa.RecordBatch]:
        for number, ranges in self.held.items():
            offsets = [at for begin, end in ranges for at in range(begin, end) if FIRST_MS + SPACING_MS * at >= from_ms]
            if offsets:
                yield pa.record_batch([[number] * len(offsets), offsets], names=columns)


class World:
    """A source of two partitions; by partition, Kafka has [first, end)."""

    def __init__(self, patch: pytest.MonkeyPatch, source: Source, kafka: dict[int, tuple[int, int]] | None) -> None:
        self.source = source
        held = kafka or {}

        def read(_kafka: Any, _topic: str, *, start: Offsets, end: Offsets) -> Iterator[Record]:
            assert all(held[n][0] <= at for n, at in start.items()), "Kafka has deleted this"
            return (record(n, at, b"kafka") for n in start for at in range(start[n], end[n]))

        def at_time(_kafka: Any, _topic: str, numbers: list[int], time_ms: int) -> dict[int, int]:
            offset = -(-(time_ms - FIRST_MS) // SPACING_MS)
            return {n: min(held[n][1], max(held[n][0], offset)) for n in numbers}

        patch.setattr(restored, "admin_client", lambda _: None)
        patch.setattr(restored, "partition_counts", lambda *_: {} if kafka is None else {source.topic: 2})
        patch.setattr(restored, "first_offsets", lambda *_: {n: first for n, (first, _) in held.items()})
        patch.setattr(restored, "end_offsets", lambda *_: {n: end for n, (_, end) in held.items()})
        patch.setattr(restored, "read_topic", read)
        patch.setattr(restored, "offsets_at", at_time)

    def of(self, archive: dict[int, list[tuple[int, int]]]) -> ArchivedSource:
        return ArchivedSource(FakeArchive(archive), KAFKA, self.source)  # type: ignore[arg-type]

    def read(self, both: ArchivedSource) -> dict[int, list[tuple[int, bytes | None]]]:
        found: dict[int, list[tuple[int, bytes | None]]] = {0: [], 1: []}
        for one in both.read(self.source.topic, start=both.firsts, end=both.ends):
            found[one.partition].append((one.offset, one.value))
        return found


@pytest.fixture
def source(tmp_path: Any) -> Source:
    return define(tmp_path, "restored", 2)[1].source


def test_each_record_is_read_once_from_the_archive_if_it_has_it(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(monkeypatch, source, {0: (3, 8), 1: (0, 4)})
    both = world.of({0: [(0, 5)], 1: [(0, 6)]})
    assert (both.firsts, both.ends) == ({0: 0, 1: 0}, {0: 8, 1: 6})
    of_archive, of_kafka = b"archive", b"kafka"
    assert world.read(both) == {
        0: [(n, of_archive if n < 5 else of_kafka) for n in range(8)],
        1: [(n, of_archive) for n in range(6)],
    }


def test_a_topic_that_kafka_no_longer_has_is_read_from_the_archive(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(monkeypatch, source, None)
    assert world.read(world.of({0: [(2, 4)]})) == {0: [(2, b"archive"), (3, b"archive")], 1: []}


def test_what_lies_before_a_gap_in_the_archive_counts_as_deleted(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = World(monkeypatch, source, {0: (7, 9), 1: (0, 0)}).of({0: [(0, 3), (5, 8)], 1: []})
    assert (both.firsts, both.ends) == ({0: 5, 1: 0}, {0: 9, 1: 0})


def test_records_that_neither_has_are_an_error(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PenstockError, match="offsets 5 to 7 are neither in the archive nor in Kafka"):
        World(monkeypatch, source, {0: (7, 9), 1: (0, 0)}).of({0: [(0, 5)]})


def test_an_archive_of_more_partitions_is_an_error(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PenstockError, match="has partition 2"):
        World(monkeypatch, source, None).of({2: [(0, 5)]})


@pytest.mark.parametrize(
    ("time_ms", "starts"),
    [
        (0, {0: 0, 1: 0}),
        (FIRST_MS + 20, {0: 2, 1: 2}),
        (FIRST_MS + 55, {0: 6, 1: 6}),  # partition 0 has offset 6 in Kafka alone, partition 1 ends before it
        (FIRST_MS + 1_000, {0: 8, 1: 6}),
    ],
)
def test_the_first_offset_at_a_time_is_found_in_either(
    source: Source, monkeypatch: pytest.MonkeyPatch, time_ms: int, starts: dict[int, int]
) -> None:
    both = World(monkeypatch, source, {0: (3, 8), 1: (0, 4)}).of({0: [(0, 5)], 1: [(0, 6)]})
    assert both.starts(time_ms) == starts
