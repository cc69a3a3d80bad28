"""Killed at any step, failing at any step, with a rival: the archive has the same rows, each once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.errors import PenstockError
from penstock.kafka.reading import Record
from sinks.archive import batch
from sinks.archive.checking import check
from sinks.archive.compaction import compact
from sinks.archive.layout import CommitRecord, parse_file_path
from sinks.archive.reading import Archive
from sinks.archive.storage import FolderStorage, StoredFile
from sinks.archive.writing import ArchiveWriter, TakenOverError
from tests.sinks.archive.archive_helpers import (
    HOUR,
    TOPIC,
    Killed,
    KilledStorage,
    archive_all,
    event_columns,
    folder,
    record,
    unavailable,
)
from tests.sinks.payments import T0

# Two hours, and a hole where a transaction's marker was.
RECORDS = [record(n, timestamp=T0 - 2 + n) for n in (0, 1, 2, 4, 5, 6, 7)]


def held(storage: FolderStorage) -> list[Record]:
    return list(Archive(storage).records(TOPIC))


def files(storage: FolderStorage) -> list[str]:
    return [file.path for file in storage.list("") if file.path.endswith(".parquet")]


def test_a_batch_has_a_file_for_each_hour_named_after_its_offsets(tmp_path: Path) -> None:
    storage = folder(tmp_path)
    (written,) = archive_all(storage, RECORDS, end=9, sizes=(7,))
    name = "00000-00000000000000000000-00000000000000000009"
    assert files(storage) == [
        f"topic={TOPIC}/date=2025-10-09/hour=0{hour}/{name}-{file.sha256[:12]}.parquet"
        for hour, file in zip((7, 8), written.files, strict=True)
    ]
    assert (written.begin, written.end, written.after, written.rows) == (0, 9, None, 7)
    assert held(storage) == RECORDS


def test_a_record_that_comes_again_is_left_out(tmp_path: Path) -> None:
    storage = folder(tmp_path)
    rival(storage, [*RECORDS[:3], *RECORDS[1:5]], 0, None)
    assert held(storage) == RECORDS[:5]


def test_the_same_records_have_the_same_bytes(tmp_path: Path) -> None:
    first, second = folder(tmp_path / "a"), folder(tmp_path / "b")
    assert archive_all(first, RECORDS) == archive_all(second, RECORDS)


@pytest.mark.parametrize("step", range(14))
def test_killed_at_any_step_and_started_again_with_other_batches_it_has_every_record_once(
    tmp_path: Path, step: int
) -> None:
    storage = folder(tmp_path)
    with pytest.raises(Killed):
        archive_all(KilledStorage(storage, step), RECORDS, end=9)
    archive_all(storage, RECORDS, end=9, sizes=(2,))
    assert held(storage) == RECORDS
    assert Archive(storage).ranges(TOPIC) == {0: [(0, 9)]}
    named = {file.path for file in Archive(storage).files(TOPIC)}
    # Old files that a kill right after a commit record leaves are for `verify --repair`.
    assert check(storage, grace_ms=10**9).is_right
    assert named <= set(files(storage))


def test_the_steps_above_are_all_there_are(tmp_path: Path) -> None:
    storage = KilledStorage(folder(tmp_path), None)
    archive_all(storage, RECORDS, end=9)
    assert storage.steps == 14  # four files of three batches and three records, before and after each


@pytest.mark.parametrize("step", range(14))
def test_after_a_storage_failure_at_any_step_the_same_batch_is_written_again(tmp_path: Path, step: int) -> None:
    storage = folder(tmp_path)
    failing = KilledStorage(storage, step, unavailable)
    writer = ArchiveWriter(failing, {TOPIC: event_columns()})
    latest, at = None, 0
    for size in (3, 3, 1):
        batch = writer.batch(TOPIC, at)
        batch.add([found for found in RECORDS if found.offset >= at][:size], 0.0)
        for _ in range(2):
            try:
                latest = writer.write(TOPIC, 0, batch, latest)
                break
            except type(unavailable()):
                continue
        at = batch.end
    assert held(storage) == RECORDS
    assert check(storage, grace_ms=0).is_right


def test_files_of_a_killed_writer_are_deleted_once_its_batch_can_no_longer_be_committed(tmp_path: Path) -> None:
    storage = folder(tmp_path)
    with pytest.raises(Killed):
        archive_all(KilledStorage(storage, 4), RECORDS, sizes=(7,))
    assert len(files(storage)) == 2
    archive_all(storage, RECORDS, sizes=(2,))
    assert set(files(storage)) == {file.path for file in Archive(storage).files(TOPIC)}


def rival(storage: FolderStorage, records: Sequence[Record], begin: int, latest: CommitRecord | None) -> CommitRecord:
    writer = ArchiveWriter(storage, {TOPIC: event_columns()})
    batch = writer.batch(TOPIC, begin)
    batch.add(records, 0.0)
    return writer.write(TOPIC, 0, batch, latest)


@pytest.mark.parametrize("mine", [RECORDS[:2], RECORDS[:3], RECORDS])
def test_a_second_writer_of_the_same_partition_gives_up_its_batch(tmp_path: Path, mine: Sequence[Record]) -> None:
    storage = folder(tmp_path)
    rival(storage, RECORDS[:3], 0, None)
    with pytest.raises(TakenOverError):
        rival(storage, [*mine[:-1], record(mine[-1].offset, value=b"other")], 0, None)
    assert held(storage) == RECORDS[:3]
    assert set(files(storage)) == {file.path for file in Archive(storage).files(TOPIC)}


class RivalStorage(KilledStorage):
    """Storage in which another writer commits its batch right before this one's commit record is created."""

    def create(self, path: str, data: bytes) -> bool:
        rival(self._storage, RECORDS[:3], 0, None)  # type: ignore[arg-type] - a folder
        return super().create(path, data)


def test_of_two_writers_that_see_nothing_of_each_other_only_one_commits(tmp_path: Path) -> None:
    storage = folder(tmp_path)
    with pytest.raises(TakenOverError):
        archive_all(RivalStorage(storage, None), RECORDS, sizes=(5,))
    assert held(storage) == RECORDS[:3]
    assert set(files(storage)) == {file.path for file in Archive(storage).files(TOPIC)}


def test_a_writer_whose_library_writes_other_bytes_does_not_overwrite_what_another_has_just_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = folder(tmp_path)
    put, encode = storage.put, batch.encode

    def committed_meanwhile(path: str, data: bytes) -> None:
        monkeypatch.setattr(storage, "put", put)
        monkeypatch.setattr(batch, "encode", lambda table: encode(table.replace_schema_metadata({"by": "another"})))
        rival(storage, RECORDS, 0, None)
        put(path, data)

    monkeypatch.setattr(storage, "put", committed_meanwhile)
    with pytest.raises(TakenOverError):
        rival(storage, RECORDS, 0, None)
    assert held(storage) == RECORDS
    assert check(storage, grace_ms=0).is_right
    assert set(files(storage)) == {file.path for file in Archive(storage).files(TOPIC)}


def test_a_writer_that_stood_still_while_another_went_on_gives_up_its_batch(tmp_path: Path) -> None:
    storage = folder(tmp_path)
    first = rival(storage, RECORDS[:2], 0, None)
    rival(storage, RECORDS[2:4], 2, first)
    with pytest.raises(TakenOverError):
        rival(storage, RECORDS[2:6], 2, first)
    assert held(storage) == RECORDS[:4]


def test_only_one_writer_can_create_a_file(tmp_path: Path) -> None:
    storage = folder(tmp_path)
    assert storage.create("a/b", b"1")
    assert not storage.create("a/b", b"2")
    assert storage.read("a/b") == b"1"
    assert [file.path for file in storage.list("")] == ["a/b"]


def test_a_file_is_durable_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage, seen = folder(tmp_path), []
    monkeypatch.setattr(os, "fsync", lambda _: seen.append([file.path for file in storage.list("")]))
    storage.create("a/b", b"1")
    storage.put("a/c", b"1")
    assert seen[0] == []  # the new folder
    assert [len([path for path in paths if not path.endswith(".partial")]) for paths in seen] == [0, 0, 1, 1, 2]


def test_a_damaged_latest_record_stops_a_writer_before_it_writes(tmp_path: Path) -> None:
    storage = folder(tmp_path)
    (written,) = archive_all(storage, RECORDS, sizes=(7,))
    storage.put(written.path, written.encode()[:-20])
    with pytest.raises(PenstockError, match="a commit record is damaged"):
        archive_all(storage, RECORDS)


offsets = st.lists(st.integers(1, 3), min_size=1, max_size=12).map(
    lambda steps: [sum(steps[:n]) for n in range(1, len(steps) + 1)]
)
hours = st.sampled_from([T0, T0 + 1, T0 + HOUR, T0 - HOUR, -1])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    offsets=offsets,
    hour=st.lists(hours, min_size=12, max_size=12),
    kills=st.lists(st.tuples(st.integers(0, 25), st.lists(st.integers(1, 5), min_size=1, max_size=3)), max_size=4),
    retention=st.integers(0, 4),
)
def test_whatever_is_killed_and_deleted_every_record_that_was_there_is_archived_once(
    tmp_path_factory: pytest.TempPathFactory,
    offsets: list[int],
    hour: list[int],
    kills: list[tuple[int, list[int]]],
    retention: int,
) -> None:
    storage = folder(tmp_path_factory.mktemp("archive"))
    topic = [record(offset, timestamp=hour[place]) for place, offset in enumerate(offsets)]
    for step, sizes in kills:
        try:
            archive_all(KilledStorage(storage, step), topic, sizes=sizes)
        except Killed:
            continue
    latest = ArchiveWriter(storage, {TOPIC: event_columns()}).newest(TOPIC).get(0)
    done = 0 if latest is None else latest.end
    # Kafka deletes the oldest records of what is left, which a first start never knew.
    kept = [found for found in topic if found.offset >= done + retention] if latest else topic
    earliest = kept[0].offset if kept else done
    if kept:
        archive_all(storage, kept, earliest=max(earliest, done))
    archived = [
        found for record in Archive(storage).commits(TOPIC)[0] for found in Archive(storage)._rows(record, 0, 99)
    ]
    assert archived == [found for found in topic if found.offset < done or found in kept]
    assert {finding.kind for finding in check(storage).findings} <= {"deleted by Kafka", "recent"}


def test_hours_are_those_of_the_names(tmp_path: Path) -> None:
    storage = folder(tmp_path)
    archive_all(storage, [record(0, timestamp=T0 + 5 * HOUR + 7), record(1, timestamp=-1)])
    names = [parse_file_path(path) for path in files(storage)]
    assert [name and name.hour_ms for name in names] == [0, T0 + 5 * HOUR]


def test_a_record_that_a_compaction_replaces_while_it_is_looked_for_is_looked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = folder(tmp_path)
    archive_all(storage, RECORDS, sizes=(4, 3))
    listed = storage.list

    def compacted_meanwhile(path: str) -> list[StoredFile]:
        found = listed(path)
        monkeypatch.setattr(storage, "list", listed)
        compact(storage, TOPIC, T0 + 10 * HOUR)
        return found

    assert len(Archive(storage).commits(TOPIC)[0]) == 2
    monkeypatch.setattr(storage, "list", compacted_meanwhile)
    newest = ArchiveWriter(storage, {TOPIC: event_columns()}).newest(TOPIC)
    assert (newest[0].end, newest[0].merged) == (8, True)
