"""Names and commit records: what they say, and which records count."""

from __future__ import annotations

import pytest

from penstock.errors import PenstockError
from sinks.archive.layout import (
    CommitName,
    CommitRecord,
    FileName,
    commit_path,
    covered,
    file_path,
    is_dated,
    live,
    parse_commit,
    parse_commit_path,
    parse_file_path,
)
from tests.sinks.payments import T0


def commit(begin: int, end: int, *, merged: bool = False) -> CommitRecord:
    return CommitRecord(
        topic="t.x", partition=3, begin=begin, end=end, after=None, files=(), columns="c", merged=merged
    )


def test_names_say_what_they_are_made_of() -> None:
    path = file_path("t.x", T0, 3, 7, 123_456, "0123456789abcdef")
    name = "topic=t.x/date=2025-10-09/hour=08/00003-00000000000000000007-00000000000000123456"
    assert path == f"{name}-0123456789ab.parquet"
    assert parse_file_path(path) == parse_file_path(f"{name}.parquet") == FileName("t.x", T0, 3, 7, 123_456)
    assert parse_commit_path(commit_path("t.x", 123_456, 7)) == CommitName("t.x", 123_456, 7)


@pytest.mark.parametrize(
    "path", ["x.parquet", file_path("t", 0, 0, 0, 1, "0" * 64).replace("1970-01-01", "1970-13-01")]
)
def test_other_names_are_not_those_of_files(path: str) -> None:
    assert parse_file_path(path) is None
    assert parse_commit_path(path) is None


def test_records_within_a_merged_one_do_not_count() -> None:
    records = [commit(5, 7), commit(0, 5, merged=True), commit(0, 2), commit(2, 5), commit(7, 9)][::-1]
    records.remove(commit(0, 2))  # the merged record has its name
    assert live(records) == [commit(0, 5, merged=True), commit(5, 7), commit(7, 9)]


def test_records_that_overlap_otherwise_all_count() -> None:
    records = [commit(0, 5, merged=True), commit(4, 6), commit(6, 8)]
    assert live(records) == records


def test_ranges_have_no_borders_within() -> None:
    assert covered([commit(0, 2), commit(2, 5), commit(6, 7), commit(7, 9)]) == [(0, 5), (6, 9)]
    assert covered([]) == []


def test_a_record_reads_as_it_was_written() -> None:
    assert parse_commit(commit(0, 2).path, commit(0, 2).encode()) == commit(0, 2)


@pytest.mark.parametrize("data", [b"", b"{}", commit(0, 2).encode()[:-9], commit(1, 2).encode()])
def test_a_damaged_record_is_an_error_that_names_it(data: bytes) -> None:
    with pytest.raises(PenstockError, match="a commit record") as error:
        parse_commit(commit(0, 2).path, data)
    assert error.value.where == "_commits/t.x/00003-00000000000000000000.json"


@pytest.mark.parametrize(("timestamp", "dated"), [(-1, False), (0, True), (T0, True), (253_402_300_800_000, False)])
def test_only_timestamps_of_the_calendar_are_kept(timestamp: int, dated: bool) -> None:
    assert is_dated(timestamp) is dated
