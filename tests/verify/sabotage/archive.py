"""What can be wrong with an archive.

Where rows are changed, the commit record agrees with them, as if a writer or a compaction had done it: only the rows
can tell. Where a change is damage, the record stays.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from sinks.archive.batch import described, encode
from sinks.archive.layout import CommitRecord, file_path, parse_file_path
from sinks.archive.reading import Archive
from sinks.archive.storage import Storage
from tests.verify.sabotage.catalogue import first

Change = Callable[[Storage], None]
Rows = list[dict[str, Any]]
COLUMN = "amount"
"""A decoded column, of numbers, that the archive must have; its name in the bytes is the same."""


class ArchiveMutant(NamedTuple):
    """A change of a good archive, and the kind of finding that must tell of it."""

    name: str
    change: Change
    found_as: str


ARCHIVE_MUTANTS: list[ArchiveMutant] = []


def _mutant(found_as: str) -> Callable[[Change], Change]:
    def add(change: Change) -> Change:
        ARCHIVE_MUTANTS.append(ArchiveMutant(change.__name__.replace("_", " "), change, found_as))
        return change

    return add


def _commits(storage: Storage) -> list[CommitRecord]:
    """The records of the first partition with decoded numbers, in order."""
    archive = Archive(storage)
    found = (
        of
        for topic in archive.topics()
        for of in archive.commits(topic).values()
        if any(COLUMN in _table(storage, file.path).column_names for record in of for file in record.files)
    )
    return first(found, f"archived column {COLUMN}")


def _table(storage: Storage, path: str) -> pa.Table:
    return pq.read_table(pa.BufferReader(storage.read(path)))


def _first_file(storage: Storage) -> str:
    return next(file.path for record in _commits(storage) for file in record.files)


def _rewrite(storage: Storage, edit: Callable[[pa.Table], pa.Table], *, agrees: bool = True) -> None:
    """Change the first file; its commit record agrees, or is as it was."""
    record = next(record for record in _commits(storage) if record.files)
    file, *others = record.files
    table = edit(_table(storage, file.path))
    data = encode(table)
    storage.put(file.path, data)
    if agrees:
        files = (described(lambda _: file.path, table.num_rows, data), *others)
        storage.put(record.path, record.model_copy(update={"files": files}).encode())


def _edit_rows(storage: Storage, edit: Callable[[Rows], Rows]) -> None:
    def of_table(table: pa.Table) -> pa.Table:
        return pa.Table.from_pylist(edit(table.to_pylist()), table.schema)

    _rewrite(storage, of_table)


def _edit_row(storage: Storage, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Change the first row that could be decoded."""

    def edit(rows: Rows) -> Rows:
        place = next(place for place, row in enumerate(rows) if row[COLUMN] is not None)
        return [*rows[:place], rows[place] | change(rows[place]), *rows[place + 1 :]]

    _edit_rows(storage, edit)


@_mutant("missing file")
def a_file_lost(storage: Storage) -> None:
    storage.delete(_first_file(storage))


@_mutant("damaged file")
def a_row_lost(storage: Storage) -> None:
    _rewrite(storage, lambda table: table.slice(1), agrees=False)


@_mutant("damaged file")
def a_byte_flipped(storage: Storage) -> None:
    path = _first_file(storage)
    data = bytearray(storage.read(path))
    data[len(data) // 2] ^= 1
    storage.put(path, bytes(data))


@_mutant("wrong rows")
def a_row_lost_that_the_record_counts(storage: Storage) -> None:
    """The hash agrees, and the number of rows does not."""
    record = next(record for record in _commits(storage) if record.files)
    rows = record.files[0].rows
    _rewrite(storage, lambda table: table.slice(1))
    record = next(record for record in _commits(storage) if record.files)
    files = (record.files[0].model_copy(update={"rows": rows}), *record.files[1:])
    storage.put(record.path, record.model_copy(update={"files": files}).encode())


@_mutant("wrong rows")
def a_row_twice(storage: Storage) -> None:
    _rewrite(storage, lambda table: pa.concat_tables([table.slice(0, 1), table]))


@_mutant("wrong rows")
def an_offset_shifted(storage: Storage) -> None:
    """The record says that the range ends there."""

    def edit(rows: Rows) -> Rows:
        return [*rows[:-1], rows[-1] | {"_offset": record.end}]

    record = next(record for record in _commits(storage) if record.files)
    _edit_rows(storage, edit)


@_mutant("wrong columns")
def a_byte_of_a_value_edited(storage: Storage) -> None:
    def change(row: dict[str, Any]) -> dict[str, Any]:
        value = json.loads(row["_value"])
        return {"_value": json.dumps(value | {COLUMN: value[COLUMN] + 1}).encode()}

    _edit_row(storage, change)


@_mutant("wrong columns")
def a_decoded_value_off_in_its_last_bit(storage: Storage) -> None:
    _edit_row(storage, lambda row: {COLUMN: math.nextafter(row[COLUMN], math.inf)})


@_mutant("wrong columns")
def a_decoded_value_that_became_null(storage: Storage) -> None:
    _edit_row(storage, lambda _: {COLUMN: None})


@_mutant("wrong columns")
def a_record_that_could_not_be_decoded_and_says_nothing(storage: Storage) -> None:
    def edit(rows: Rows) -> Rows:
        place = next(place for place, row in enumerate(rows) if row["_error"] is not None)
        return [*rows[:place], rows[place] | {"_error": None}, *rows[place + 1 :]]

    _edit_rows(storage, edit)


@_mutant("gap")
def a_commit_record_lost(storage: Storage) -> None:
    storage.delete(_commits(storage)[0].path)


@_mutant("overlap")
def an_overlapping_batch(storage: Storage) -> None:
    """A writer that began with the last record of a batch, and archived it again."""
    record = next(record for record in reversed(_commits(storage)) if record.files)
    file = max(record.files, key=lambda file: _table(storage, file.path)["_offset"][-1].as_py())
    table, name = _table(storage, file.path), parse_file_path(file.path)
    assert name is not None
    row = table.slice(table.num_rows - 1)
    begin, end, data = row["_offset"][0].as_py(), record.end + 1, encode(row)
    again = described(partial(file_path, record.topic, name.hour_ms, record.partition, begin, end), 1, data)
    storage.put(again.path, data)
    copied = record.model_copy(update={"begin": begin, "end": end, "after": begin, "files": (again,)})
    storage.put(copied.path, copied.encode())
