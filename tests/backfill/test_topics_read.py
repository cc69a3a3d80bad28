"""What was read of a topic is known again, whatever came later."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill.topics_read import TopicsRead, as_recorded
from penstock.kafka.reading import Record
from scoring.recipe import TopicRead

Offsets = Mapping[int, int]
RECORDS = [Record(n % 2, n // 2, n, b"key", b"" if n == 3 else None if n == 4 else b"%d" % n, ()) for n in range(8)]


def read(records: list[Record]) -> TopicRead:
    topics = TopicsRead(lambda _: iter(records))
    assert list(topics.records("labels")) == records
    return topics.found()["labels"]


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
    def fail(topic: str, *, start: Offsets | None = None, end: Offsets | None = None) -> Iterator[Record]:
        raise AssertionError(topic)

    empty = read([])
    assert (empty.offsets, empty.records) == ({}, 0)
    assert list(as_recorded({"labels": empty}, fail)("labels")) == []


def test_only_the_offsets_of_then_are_read_again() -> None:
    later = [*RECORDS, Record(0, 4, 9, None, b"later", ())]

    def range_of(_topic: str, *, start: Offsets | None = None, end: Offsets | None = None) -> Iterator[Record]:
        return (one for one in later if (start or {})[one.partition] <= one.offset < (end or {})[one.partition])

    topics = TopicsRead(as_recorded({"labels": read(RECORDS)}, range_of))
    list(topics.records("labels"))
    assert topics.found()["labels"] == read(RECORDS)
