"""Reading an archive: by itself as records and columns, and with DuckDB and pyarrow as it is."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Annotated, Any

import duckdb
import pyarrow as pa
import pyarrow.dataset
import pytest

from penstock import EVENT_ID, EVENT_TIME, Contract
from penstock.errors import PenstockError
from penstock.kafka.reading import Record, RecordsGoneError
from sinks.archive import reading
from sinks.archive.columns import TopicColumns
from sinks.archive.compaction import compact
from sinks.archive.event_columns import EventColumns
from sinks.archive.layout import CommitRecord
from sinks.archive.reading import Archive, read_commits
from sinks.archive.storage import Storage
from sinks.archive.writing import ArchiveWriter
from tests.sinks.archive.archive_helpers import (
    HOUR,
    NOTHING_COMMITTED,
    TOPIC,
    archive_all,
    event_columns,
    folder,
    payment,
    record,
)
from tests.sinks.payments import T0


class Payment2(Contract, name="payment", version=2):
    """A later version: a field is gone, one is new, and one has become a wider number."""

    id: Annotated[str, EVENT_ID]
    time: Annotated[int, EVENT_TIME]
    amount: float
    tip: int | None = None


class Payment3(Contract, name="payment", version=3, compatibility="NONE"):
    """A version that breaks everything."""

    id: Annotated[str, EVENT_ID]
    time: Annotated[int, EVENT_TIME]
    amount: str


def columns_of(contract: type[Contract]) -> TopicColumns:
    return TopicColumns(EventColumns(contract, NOTHING_COMMITTED, None, b"k", (1_000, 60_000)))


RECORDS = [record(n, timestamp=T0 + n % 2 * HOUR) for n in range(10)]


def two_partitions(path: Path) -> Archive:
    """Partition 0 has the records in batches of 4; partition 1 has three in one batch."""
    storage = folder(path)
    archive_all(storage, RECORDS, sizes=(4,))
    writer = ArchiveWriter(storage, {TOPIC: event_columns()})
    batch = writer.batch(TOPIC, 5)
    batch.add([record(n, partition=1) for n in (5, 6, 9)], 0.0)
    writer.write(TOPIC, 1, batch, None)
    return Archive(storage)


@pytest.mark.parametrize(
    ("start", "end", "wanted"),
    [
        (None, None, [*((0, n) for n in range(10)), (1, 5), (1, 6), (1, 9)]),
        ({0: 3}, None, [(0, n) for n in range(3, 10)]),
        ({0: 3, 1: 6}, {0: 9, 1: 7}, [*((0, n) for n in range(3, 9)), (1, 6)]),
        ({1: -2}, None, [(1, 5), (1, 6), (1, 9)]),
        ({0: 10}, None, []),
        ({0: 5}, {0: 5}, []),
    ],
)
def test_records_are_those_of_the_range_in_the_order_of_their_offsets(
    tmp_path: Path, start: dict[int, int] | None, end: dict[int, int] | None, wanted: list[tuple[int, int]]
) -> None:
    found = list(two_partitions(tmp_path).records(TOPIC, start=start, end=end))
    assert [(each.partition, each.offset) for each in found] == wanted
    own = {each.offset: each for each in RECORDS}
    assert [each for each in found if each.partition == 0] == [own[n] for p, n in wanted if p == 0]


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        ({0: 0}, {0: 11}, "does not have events.payments\\[0\\]@10 to 11"),
        ({1: 4}, None, "does not have events.payments\\[1\\]@4 to 5"),
        ({2: 0}, None, "has no partition 2, it has 2 partitions"),
    ],
)
def test_a_range_that_is_not_archived_is_an_error_before_the_first_record(
    tmp_path: Path, start: dict[int, int], end: dict[int, int] | None, message: str
) -> None:
    with pytest.raises(RecordsGoneError, match=message):
        next(two_partitions(tmp_path).records(TOPIC, start=start, end=end))


def test_a_batch_that_is_missing_in_the_middle_is_an_error(tmp_path: Path) -> None:
    archive = two_partitions(tmp_path)
    folder(tmp_path).delete(archive.commits(TOPIC)[0][1].path)
    assert archive.ranges(TOPIC)[0] == [(0, 4), (8, 10)]
    with pytest.raises(RecordsGoneError, match=r"\[0\]@4 to 8") as error:
        list(archive.records(TOPIC))
    assert "read from offset 8 on" in str(error.value.next)
    assert [each.offset for each in archive.records(TOPIC, start={0: 8})] == [8, 9]


def test_an_unknown_topic_is_an_error(tmp_path: Path) -> None:
    archive = two_partitions(tmp_path)
    assert archive.topics() == [TOPIC]
    with pytest.raises(RecordsGoneError, match=r"has no topic events\.other"):
        archive.ranges("events.other")


def test_a_missing_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    archive = two_partitions(tmp_path)
    file = archive.files(TOPIC)[0]
    folder(tmp_path).delete(file.path)
    with pytest.raises(PenstockError, match=r"a file of events.payments\[0\]@0 to 4 is missing") as error:
        list(archive.records(TOPIC))
    assert file.path in str(error.value.where)


def test_a_bit_of_a_value_that_would_decode_is_an_error(tmp_path: Path) -> None:
    storage, value = folder(tmp_path), random.Random(0).randbytes(1_000)
    archive_all(storage, [record(0, value=value)])
    (file,) = Archive(storage).files(TOPIC)
    data = bytearray(storage.read(file.path))
    data[data.index(value) + 500] ^= 1
    storage.put(file.path, bytes(data))
    with pytest.raises(PenstockError, match="damaged"):
        list(Archive(storage).records(TOPIC))


@pytest.mark.parametrize("place", ["footer", "page", "cut"])
def test_a_damaged_file_is_an_error_that_names_it(tmp_path: Path, place: str) -> None:
    archive, storage = two_partitions(tmp_path), folder(tmp_path)
    file = archive.files(TOPIC)[0]
    data = bytearray(storage.read(file.path))
    if place == "cut":
        del data[-100:]
    else:
        data[-8 if place == "footer" else 60] ^= 0xFF
    storage.put(file.path, bytes(data))
    with pytest.raises(PenstockError, match="damaged") as error:
        list(archive.records(TOPIC))
    assert file.path in str(error.value.where)


def test_a_file_with_the_rows_of_another_is_an_error(tmp_path: Path) -> None:
    archive, storage = two_partitions(tmp_path), folder(tmp_path)
    first, _, third, _ = archive.files(TOPIC)[:4]
    storage.put(first.path, storage.read(third.path))
    with pytest.raises(PenstockError, match="its offsets are not those of"):
        list(archive.records(TOPIC))


def test_records_go_on_in_the_merged_files_if_a_compaction_deletes_those_that_are_being_read(tmp_path: Path) -> None:
    archive = two_partitions(tmp_path)
    records = archive.records(TOPIC, start={0: 0})
    found = [next(records)]
    assert compact(folder(tmp_path), TOPIC, T0 + 10 * HOUR).files == 2
    assert [*found, *records] == RECORDS


def test_commit_records_are_read_once_for_ranges_that_they_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, times = two_partitions(tmp_path), []

    def read(storage: Storage, topic: str) -> dict[int, list[CommitRecord]]:
        times.append(topic)
        return read_commits(storage, topic)

    monkeypatch.setattr(reading, "read_commits", read)
    archive.ranges(TOPIC)
    for at in range(10):
        assert [one.offset for one in archive.records(TOPIC, start={0: at}, end={0: at + 1})] == [at]
    assert archive.topic_id(TOPIC) is None
    assert len(times) == 1
    archive_all(folder(tmp_path), [record(n) for n in range(10, 12)], sizes=(2,))
    assert [one.offset for one in archive.records(TOPIC, start={0: 9}, end={0: 12})] == [9, 10, 11]
    assert len(times) == 2
    with pytest.raises(RecordsGoneError, match="does not have"):
        list(archive.records(TOPIC, start={0: 0}, end={0: 13}))


def mixed(path: Path, later: type[Contract]) -> Archive:
    """Batches of three versions of the definition: the files have the columns of their time."""
    storage = folder(path)
    records = [record(n, value=payment(n, time=T0, tip=n)) for n in range(6)]
    archive_all(storage, records[:3])
    archive_all(storage, records[3:], columns=columns_of(later))
    return Archive(storage)


def test_columns_of_several_versions_are_united_by_name(tmp_path: Path) -> None:
    table = pa.Table.from_batches(mixed(tmp_path, Payment2).batches(TOPIC, ["_offset", "tip", "shop", "amount"]))
    assert table.column_names == ["_offset", "tip", "shop", "amount"]
    assert table["tip"].to_pylist() == [None, None, None, 3, 4, 5]
    assert table["amount"].to_pylist() == [n / 4 for n in range(6)]


def test_a_column_whose_types_contradict_each_other_is_an_error_and_others_are_read(tmp_path: Path) -> None:
    archive = mixed(tmp_path, Payment3)
    with pytest.raises(PenstockError, match="the types of a column differ"):
        list(archive.batches(TOPIC))
    assert sum(len(batch) for batch in archive.batches(TOPIC, ["id"])) == 6


def test_an_integer_that_is_no_exact_float_of_a_later_version_is_an_error(tmp_path: Path) -> None:
    class Tipped(Payment2, name="payment", version=5):
        tip: float | None = None  # type: ignore[assignment]

    storage = folder(tmp_path)
    archive_all(storage, [record(0, value=payment(0, time=T0, tip=2**53 + 1))], columns=columns_of(Payment2))
    archive_all(storage, [record(1, value=payment(1, time=T0, tip=0.5))], columns=columns_of(Tipped), end=2)
    with pytest.raises(PenstockError, match=r"differ between files: .*9007199254740993"):
        list(Archive(storage).batches(TOPIC, ["tip"]))


def test_an_unknown_column_is_an_error_that_lists_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(PenstockError, match="no column other") as error:
        list(mixed(tmp_path, Payment2).batches(TOPIC, ["other"]))
    assert "tip" in str(error.value.next)


@pytest.mark.parametrize(
    ("from_ms", "to_ms", "wanted"),
    [(T0, T0 + 1, {0, 2, 4, 6, 8}), (T0 + 1, None, {1, 3, 5, 7, 9}), (None, T0, set()), (None, None, set(range(10)))],
)
def test_batches_have_the_rows_of_a_range_of_time(
    tmp_path: Path, from_ms: int | None, to_ms: int | None, wanted: set[int]
) -> None:
    storage = folder(tmp_path)
    archive_all(storage, RECORDS, sizes=(4,))
    batches = list(Archive(storage).batches(TOPIC, ["_offset"], from_ms, to_ms))
    found = [offset for batch in batches for offset in batch["_offset"].to_pylist()]
    assert sorted(found) == sorted(wanted)


def test_duckdb_reads_it_as_it_is(tmp_path: Path) -> None:
    mixed(tmp_path, Payment2)
    pattern = f"{tmp_path}/archive/topic=*/**/*.parquet"
    read = f"read_parquet('{pattern}', union_by_name=true, hive_partitioning=true)"
    rows = duckdb.sql(
        f"SELECT topic, date::text, hour::int, _offset, tip, shop, _headers[1].name FROM {read} ORDER BY _offset"
    ).fetchall()
    assert [row[3:5] for row in rows] == [(0, None), (1, None), (2, None), (3, 3), (4, 4), (5, 5)]
    assert rows[0][:3] == (TOPIC, "2025-10-09", 8)
    assert rows[1][6] == "h"
    assert duckdb.sql(f"SELECT count(*) FROM {read} WHERE date = '2025-10-09' AND hour = 8").fetchone() == (6,)


def test_pyarrow_reads_it_as_it_is(tmp_path: Path) -> None:
    archive = mixed(tmp_path, Payment2)
    files = [f"{tmp_path}/archive/{file.path}" for file in archive.files(TOPIC)]
    schema = pa.unify_schemas([pa.parquet.read_schema(file) for file in files])
    table = pa.dataset.dataset(files, schema=schema, format="parquet").to_table()
    assert table["tip"].to_pylist() == [None, None, None, 3, 4, 5]


def test_rows_without_a_timestamp_read_as_they_were(tmp_path: Path) -> None:
    storage = folder(tmp_path)
    records: list[Record] = [record(0, timestamp=-1), record(1), record(2, timestamp=-1)]
    archive_all(storage, records)
    assert list(Archive(storage).records(TOPIC)) == records


def test_a_large_file_is_read_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sinks.archive.batch.ROWS_PER_GROUP", 2)
    storage, groups = folder(tmp_path), []
    archive_all(storage, RECORDS[::2], sizes=(5,))
    from sinks.archive import reading  # noqa: PLC0415

    chosen = reading._groups
    monkeypatch.setattr(reading, "_groups", lambda *given: groups.append(chosen(*given)) or groups[-1])
    found: list[Any] = [each.offset for each in Archive(storage).records(TOPIC, start={0: 4}, end={0: 6})]
    assert found == [4]
    assert groups == [[1]]
