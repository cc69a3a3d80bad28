"""What was read of a topic is known again, from Kafka or from an archive, whatever came later."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill.topics_read import TopicsRead, archived_in, as_recorded
from penstock.errors import PenstockError
from penstock.kafka.reading import Record
from scoring.recipe import TopicRead

RECORDS = [Record(n % 2, n // 2, n, b"key", b"" if n == 3 else None if n == 4 else b"%d" % n, ()) for n in range(8)]


def read(records: list[Record]) -> TopicRead:
    topics = TopicsRead(lambda _: iter(records))
    assert list(topics.records("labels")) == records
    return topics.found()["labels"]


def archive(folder: Path, records: list[Record], name: str = "a") -> None:
    hour = folder / "topic=labels" / "date=2026-01-01" / "hour=00"
    hour.mkdir(parents=True, exist_ok=True)
    columns = {
        "_partition": pa.array([record.partition for record in records], pa.int32()),
        "_offset": [record.offset for record in records],
        "_timestamp": pa.array([record.timestamp for record in records], pa.timestamp("ms", tz="UTC")),
        "_value": pa.array([record.value for record in records], pa.binary()),
    }
    pq.write_table(pa.table(columns), hour / f"{name}.parquet")


def test_the_offsets_and_the_number_of_records_are_kept() -> None:
    found = read(RECORDS)
    assert (found.offsets, found.records) == ({0: (0, 4), 1: (0, 4)}, 8)


@given(order=st.permutations([0, 0, 0, 0, 1, 1, 1, 1]))
def test_the_hash_does_not_depend_on_how_partitions_take_turns(order: list[int]) -> None:
    by_partition = {p: [record for record in RECORDS if record.partition == p] for p in (0, 1)}
    turns = {p: iter(of) for p, of in by_partition.items()}
    assert read([next(turns[p]) for p in order]) == read(RECORDS)


@pytest.mark.parametrize(
    "other",
    [
        Record(0, 2, 4, b"key", b"", ()),
        Record(0, 2, 4, b"key", b"4", ()),
        Record(0, 2, 5, b"key", None, ()),
    ],
)
def test_another_value_or_timestamp_has_another_hash(other: Record) -> None:
    changed = [other if (r.partition, r.offset) == (0, 2) else r for r in RECORDS]
    assert read(changed).sha256 != read(RECORDS).sha256


def test_a_topic_without_records_is_known_and_not_read_again() -> None:
    def fail(topic: str, *, start: Mapping[int, int], end: Mapping[int, int]) -> Iterator[Record]:
        raise AssertionError(topic)

    empty = read([])
    assert (empty.offsets, empty.records) == ({}, 0)
    assert list(as_recorded({"labels": empty}, fail)("labels")) == []


def test_only_the_offsets_of_then_are_read_from_an_archive(tmp_path: Path) -> None:
    archive(tmp_path, [*RECORDS, Record(0, 4, 9, None, b"later", ()), Record(2, 0, 9, None, b"later", ())])
    topics = TopicsRead(as_recorded({"labels": read(RECORDS)}, archived_in(tmp_path)))
    list(topics.records("labels"))
    assert topics.found()["labels"] == read(RECORDS)


def test_a_place_that_two_files_have_counts_once(tmp_path: Path) -> None:
    archive(tmp_path, RECORDS)
    archive(tmp_path, RECORDS[2:5], "b")
    found = list(as_recorded({"labels": read(RECORDS)}, archived_in(tmp_path))("labels"))
    assert len(found) == len(RECORDS)


def test_an_archive_without_the_topic_says_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(PenstockError, match="no file of topic labels"):
        archived_in(tmp_path)("labels", start={0: 0}, end={0: 1})


@pytest.mark.parametrize("content", [b"no parquet", None])
def test_a_file_of_the_archive_that_cannot_be_read_is_named(content: bytes | None, tmp_path: Path) -> None:
    archive(tmp_path, RECORDS)
    file = next(tmp_path.rglob("*.parquet"))
    pq.write_table(pa.table({"other": [1]}), file) if content is None else file.write_bytes(content)
    with pytest.raises(PenstockError, match="a file of the archive cannot be read") as refused:
        archived_in(tmp_path)("labels", start={0: 0}, end={0: 1})
    assert refused.value.where == str(file)
