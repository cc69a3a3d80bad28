"""Topics of Kafka, and of an archive and Kafka together: the archive first, then what only Kafka has."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import pyarrow as pa
import pytest
from confluent_kafka import KafkaError, KafkaException
from hypothesis import given
from hypothesis import strategies as st

from backfill import retention, topic_reading
from backfill.gaps import require_after_gaps
from backfill.topic_reading import ArchivedTopics, KafkaTopics, Range, pieces_of, topics_of
from penstock.errors import PenstockError
from penstock.kafka.reading import Record, RecordsGoneError
from penstock.settings import Settings
from streams.plan.project import open_project
from tests.scoring.scorer_bench import define

KAFKA = Settings().kafka.access
TOPIC = "events.restored"
FIRST_MS, SPACING_MS = 1_000, 10
Offsets = Mapping[int, int]
Archived = dict[int, list[Range]]
Held = dict[int, Range] | None


def record(partition: int, offset: int, value: bytes) -> Record:
    return Record(partition, offset, FIRST_MS + SPACING_MS * offset, None, value, ())


@dataclass
class FakeArchive:
    """Has every offset of its ranges, with a timestamp that grows with it."""

    held: Archived
    url: str = "folder"
    calls: list[tuple[Offsets, Offsets]] = field(default_factory=list)
    id: str | None = None

    def topic_id(self, _topic: str) -> str | None:
        return self.id

    def topics(self) -> list[str]:
        return [TOPIC] if self.held else []

    def ranges(self, topic: str) -> Archived:
        assert topic == TOPIC
        return self.held

    def records(self, _topic: str, *, start: Offsets, end: Offsets) -> Iterator[Record]:
        self.calls.append((start, end))
        for n in start:
            for at in range(start[n], end[n]):
                assert any(begin <= at < stop for begin, stop in self.held[n]), "not archived"
                yield record(n, at, b"archive")

    def batches(self, _topic: str, columns: list[str], from_ms: int) -> Iterator[pa.RecordBatch]:
        for number, ranges in self.held.items():
            offsets = [at for begin, end in ranges for at in range(begin, end) if FIRST_MS + SPACING_MS * at >= from_ms]
            if offsets:
                yield pa.record_batch([[number] * len(offsets), offsets], names=columns)


class World:
    """By partition, Kafka has [first, end) of the topic; None: it lacks the topic."""

    def __init__(self, patch: pytest.MonkeyPatch, kafka: Held) -> None:
        held = kafka or {}

        def read(_kafka: Any, topic: str, *, start: Offsets | None, end: Offsets | None) -> Iterator[Record]:
            assert topic == TOPIC
            start, end = start or {n: of[0] for n, of in held.items()}, end or {}
            for n, at in start.items():
                assert held[n][0] <= at, "Kafka has deleted this"
                yield from (record(n, o, b"kafka") for o in range(at, min(held[n][1], end.get(n, held[n][1]))))

        def at_time(_kafka: Any, _topic: str, numbers: Any, time_ms: int) -> dict[int, int]:
            offset = -(-(time_ms - FIRST_MS) // SPACING_MS)
            return {n: min(held[n][1], max(held[n][0], offset)) for n in numbers}

        patch.setattr(KafkaTopics, "names", lambda _: set() if kafka is None else {TOPIC})
        patch.setattr(KafkaTopics, "ranges", lambda *_: held)
        patch.setattr(topic_reading, "read_topic", read)
        patch.setattr(topic_reading, "offsets_at", at_time)

    def of(self, archive: Archived) -> ArchivedTopics:
        return ArchivedTopics(FakeArchive(archive), KAFKA)  # type: ignore[arg-type]


def offsets_of(records: Iterator[Record]) -> dict[int, str]:
    """By partition, where each offset from the first on comes from: a or k."""
    found: dict[int, str] = {}
    for one in records:
        found[one.partition] = found.get(one.partition, "") + (one.value or b"?").decode()[0]
    return found


def test_each_record_is_read_once_from_the_archive_if_it_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    both = World(monkeypatch, {0: (3, 8), 1: (0, 4)}).of({0: [(0, 5)], 1: [(0, 6)]})
    assert both.ranges(TOPIC) == {0: (0, 8), 1: (0, 6)}
    assert offsets_of(both.read(TOPIC)) == {0: "aaaaakkk", 1: "aaaaaa"}
    assert offsets_of(both.read(TOPIC, start={0: 4}, end={0: 7})) == {0: "akk"}


@pytest.mark.parametrize(("id_now", "read"), [("old", "aaakk"), (None, "aaakk"), ("new", "aaa")])
def test_a_topic_that_was_made_anew_is_not_taken_for_the_archived_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, id_now: str | None, read: str
) -> None:
    World(monkeypatch, {0: (0, 5)})
    monkeypatch.setattr(topic_reading, "topic_ids", lambda *_: {} if id_now is None else {TOPIC: id_now})
    archive: Any = FakeArchive({0: [(0, 3)]}, id="old")
    both = ArchivedTopics(archive, KAFKA)
    assert offsets_of(both.read(TOPIC)) == {0: read}
    assert both.ranges(TOPIC) == {0: (0, len(read))}
    assert both.starts(TOPIC, FIRST_MS + 1_000) == {0: len(read)}
    assert ("was made anew since it was archived" in caplog.text) == (read == "aaa")


def test_a_topic_that_kafka_no_longer_has_is_read_from_the_archive(monkeypatch: pytest.MonkeyPatch) -> None:
    both = World(monkeypatch, None).of({0: [(2, 4)]})
    assert both.ranges(TOPIC) == {0: (2, 4)}
    assert offsets_of(both.read(TOPIC)) == {0: "aa"}
    assert both.names() == {TOPIC}


def test_kafka_is_not_asked_for_what_the_archive_has(monkeypatch: pytest.MonkeyPatch) -> None:
    both = World(monkeypatch, None).of({0: [(0, 9)]})

    def fail(*_: Any) -> set[str]:
        raise AssertionError("Kafka was asked")

    monkeypatch.setattr(KafkaTopics, "names", fail)
    assert offsets_of(both.read(TOPIC, start={0: 2}, end={0: 9})) == {0: "a" * 7}


def test_a_topic_that_the_archive_lacks_is_read_from_kafka_which_may_have_deleted_a_part(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(monkeypatch, {0: (3, 8)})
    both = world.of({0: [(0, 5)]})
    monkeypatch.setattr(FakeArchive, "topics", lambda _: ["another"])
    with caplog.at_level(logging.WARNING):
        assert both.ranges(TOPIC) == {0: (3, 8)}
    assert "the archive has no topic events.restored" in caplog.text
    assert offsets_of(both.read(TOPIC)) == {0: "kkkkk"}
    assert both.starts(TOPIC, FIRST_MS + 50) == {0: 5}


@pytest.mark.parametrize(
    ("kafka", "archive", "ranges"),
    [
        ({0: (7, 9)}, {0: [(0, 5)]}, {0: (7, 9)}),  # offsets 5 to 7 are in neither
        ({0: (9, 9)}, {0: [(0, 5)]}, {0: (0, 5)}),  # Kafka has none after them
        ({0: (7, 9), 1: (0, 0)}, {0: [(0, 3), (5, 8)], 1: []}, {0: (5, 9), 1: (0, 0)}),
        ({0: (2, 6)}, {0: [(0, 3), (5, 8)]}, {0: (0, 8)}),  # Kafka fills the gap
        ({0: (9, 9)}, {0: [(4, 9)]}, {0: (4, 9)}),
        ({0: (3, 9), 1: (4, 7)}, {0: [(2, 5)]}, {0: (2, 9), 1: (4, 7)}),
    ],
)
def test_what_lies_before_a_gap_counts_as_deleted(
    kafka: Held, archive: Archived, ranges: dict[int, Range], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert World(monkeypatch, kafka).of(archive).ranges(TOPIC) == ranges


@pytest.mark.parametrize(
    "wanted", [{}, {"start": {0: 0}}, {"start": {0: 0}, "end": {0: 9}}, {"start": {0: 5}, "end": {0: 7}}]
)
def test_records_that_neither_has_are_an_error(wanted: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    both = World(monkeypatch, {0: (7, 9), 1: (0, 0)}).of({0: [(0, 5)]})
    with pytest.raises(RecordsGoneError, match="offsets 5 to 7 are neither in the archive nor in Kafka") as refused:
        list(both.read(TOPIC, **wanted))
    assert refused.value.where == f"{TOPIC}[0]"
    assert "--skip-deleted" in str(refused.value.next)


def test_a_gap_matters_only_to_ranges_that_touch_it(monkeypatch: pytest.MonkeyPatch) -> None:
    both = World(monkeypatch, {0: (7, 9), 1: (0, 3)}).of({0: [(0, 3), (4, 5)]})
    assert both.runs(TOPIC) == {0: [(0, 3), (4, 5), (7, 9)], 1: [(0, 3)]}
    assert offsets_of(both.read(TOPIC, start={0: 1}, end={0: 3})) == {0: "aa"}
    assert offsets_of(both.read(TOPIC, start={0: 7}, end={0: 9})) == {0: "kk"}
    assert offsets_of(both.read(TOPIC, start={0: 8})) == {0: "k"}
    assert both.starts(TOPIC, FIRST_MS + 20) == {0: 7, 1: 2}
    for within, start in (((0, 3), 2), ((4, 5), 4), ((7, 9), 7)):
        assert both.starts(TOPIC, FIRST_MS + 20, {0: within}) == {0: start}
    assert both.starts(TOPIC, FIRST_MS + 1_000, {0: (0, 3)}) == {0: 3}


def test_once_the_archive_has_skipped_what_kafka_deleted_the_rest_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    both = World(monkeypatch, {0: (7, 9)}).of({0: [(0, 5), (7, 8)]})
    assert both.ranges(TOPIC) == {0: (7, 9)}
    assert offsets_of(both.read(TOPIC)) == {0: "ak"}
    assert offsets_of(both.read(TOPIC, start={0: 1}, end={0: 5})) == {0: "aaaa"}


def test_a_topic_that_neither_has_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    both = World(monkeypatch, None).of({0: [(0, 5)]})
    monkeypatch.setattr(FakeArchive, "topics", lambda _: ["another"])
    with pytest.raises(RecordsGoneError, match="there is no topic"):
        list(both.read(TOPIC))


def test_an_empty_archive_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PenstockError, match="there is no archive, or one without topics"):
        World(monkeypatch, {0: (0, 9)}).of({}).ranges(TOPIC)


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
    monkeypatch: pytest.MonkeyPatch, time_ms: int, starts: dict[int, int]
) -> None:
    both = World(monkeypatch, {0: (3, 8), 1: (0, 4)}).of({0: [(0, 5)], 1: [(0, 6)]})
    assert both.starts(TOPIC, time_ms) == starts


@given(
    bounds=st.lists(st.integers(0, 30), min_size=0, max_size=8, unique=True).map(sorted),
    first=st.integers(0, 30),
    length=st.integers(0, 30),
)
def test_the_pieces_of_a_range_are_each_offset_once_and_in_order(bounds: list[int], first: int, length: int) -> None:
    archived = list(zip(bounds[::2], bounds[1::2], strict=False))
    pieces = pieces_of(archived, first, first + length)
    found = [(at, one.is_archived) for one in pieces for at in range(one.begin, one.end)]
    expected = [(at, any(b <= at < e for b, e in archived)) for at in range(first, first + length)]
    assert found == expected
    assert all(one.begin < one.end for one in pieces)


def test_an_archive_of_more_partitions_than_the_source_is_an_error(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, pipeline = define(tmp_path, "restored", 2)
    both = World(monkeypatch, None).of({2: [(0, 5)]})
    monkeypatch.setattr(FakeArchive, "topics", lambda _: [pipeline.source.topic])
    monkeypatch.setattr(FakeArchive, "ranges", lambda *_: {2: [(0, 5)]})
    monkeypatch.setattr(retention, "topics_of", lambda *_: both)
    with pytest.raises(PenstockError, match="has partition 2"):
        retention.read_retained_topic(open_project(path), pipeline.source, Settings(), 0, "folder")


def test_deleted_records_count_as_old_as_the_newest_of_the_first_ones_that_are_left(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, pipeline = define(tmp_path, "restored", 2)
    held = {0: [(5, 25)]}
    both = World(monkeypatch, None).of(held)
    monkeypatch.setattr(FakeArchive, "topics", lambda _: [pipeline.source.topic])
    monkeypatch.setattr(FakeArchive, "ranges", lambda *_: held)
    monkeypatch.setattr(retention, "topics_of", lambda *_: both)
    found = retention.read_retained_topic(open_project(path), pipeline.source, Settings(), 0, "folder").partitions
    assert (found[0].first, found[0].first_timestamp) == (5, FIRST_MS + SPACING_MS * 14)
    assert found[1].first_timestamp is None


def event_times(records: Iterable[Record]) -> list[int]:
    return [(one.timestamp - FIRST_MS) // SPACING_MS for one in records]


def test_a_range_before_a_gap_is_an_error_that_names_the_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    both = World(monkeypatch, {0: (9, 12), 1: (0, 12)}).of({0: [(0, 5), (6, 8)]})
    require_after_gaps(both, TOPIC, 8, event_times)
    for to_ms, missing in ((3, "offsets 5 to 6"), (5, "offsets 8 to 9")):
        with pytest.raises(PenstockError, match=f"lie before a gap: {missing} are neither") as refused:
            require_after_gaps(both, TOPIC, to_ms, event_times)
        assert refused.value.where == f"{TOPIC}[0]"


@pytest.mark.parametrize(
    ("to_ms", "taken"),
    [
        (None, {0: (9, 12), 1: (0, 12)}),
        (3, {0: (0, 5), 1: (0, 12)}),  # offset 4 is an event of 4
        (5, {0: (6, 8), 1: (0, 12)}),
        (8, {0: (9, 12), 1: (0, 12)}),
    ],
)
def test_of_the_runs_beside_a_gap_the_one_that_has_the_range_is_taken(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, to_ms: int | None, taken: dict[int, Range]
) -> None:
    path, pipeline = define(tmp_path, "restored", 2)
    monkeypatch.setattr(f"{__name__}.TOPIC", pipeline.source.topic)
    both = World(monkeypatch, {0: (9, 12), 1: (0, 12)}).of({0: [(0, 5), (6, 8)]})
    monkeypatch.setattr(retention, "topics_of", lambda *_: both)
    monkeypatch.setattr(retention, "_event_times", lambda *of: event_times(of[-1]))
    found = retention.read_retained_topic(open_project(path), pipeline.source, Settings(), 0, "folder", to_ms)
    assert {n: (of.first, of.end) for n, of in found.partitions.items()} == taken
    assert {n: of.start for n, of in found.partitions.items()} == {n: first for n, (first, _) in taken.items()}


def test_without_an_archive_kafka_alone_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    World(monkeypatch, {0: (3, 8)})
    assert offsets_of(topics_of(KAFKA).read(TOPIC)) == {0: "kkkkk"}


@pytest.mark.parametrize("error", [None, KafkaException(KafkaError(KafkaError._TRANSPORT))])
def test_a_topic_that_kafka_does_not_have_or_tell_of_is_an_error(
    error: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Lag:
        def __init__(self, _kafka: Any) -> None: ...

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None: ...

        def earliest_offsets(self, _topic: str) -> dict[int, int]:
            if error is not None:
                raise error
            return {}

        end_offsets = earliest_offsets

    monkeypatch.setattr(topic_reading, "Lag", Lag)
    with pytest.raises(PenstockError, match="there is no topic taps" if error is None else "topic taps cannot be read"):
        KafkaTopics(KAFKA).ranges("taps")
