"""Compaction: the same records in fewer files, also if it is killed at any step; damage is never merged."""

from __future__ import annotations

import errno
from pathlib import Path
from shutil import copytree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.errors import PenstockError
from sinks.archive.checking import check, repair
from sinks.archive.compaction import CLOSED_AFTER_MS, Compacted, compact, groups
from sinks.archive.reading import Archive
from sinks.archive.storage import FolderStorage
from tests.sinks.archive.archive_helpers import HOUR, TOPIC, Killed, KilledStorage, archive_all, folder, record
from tests.sinks.payments import T0

# Nine batches: hours 0, 0 and 1, 1, 1 again with a late record of hour 0, and 2, which is not over.
TIMES = [0, 0, 0, HOUR, HOUR, HOUR, HOUR, 0, HOUR, 2 * HOUR]
RECORDS = [record(n, timestamp=T0 + time) for n, time in enumerate(TIMES)]
NOW = T0 + 2 * HOUR + CLOSED_AFTER_MS


def written(path: Path) -> FolderStorage:
    storage = folder(path)
    archive_all(storage, RECORDS, end=12, sizes=(2, 1))
    return storage


def test_batches_of_each_hour_that_is_over_become_one(tmp_path: Path) -> None:
    storage = written(tmp_path)
    before = Archive(storage).commits(TOPIC)[0]
    assert [(r.begin, r.end, len(r.files)) for r in before] == [
        (0, 2, 1),
        (2, 3, 1),
        (3, 5, 1),
        (5, 6, 1),
        (6, 8, 2),
        (8, 9, 1),
        (9, 12, 1),
    ]
    assert compact(storage, TOPIC, NOW) == Compacted(6, 2, 7, 3)
    after = Archive(storage).commits(TOPIC)[0]
    assert [(r.begin, r.end, r.after, len(r.files)) for r in after] == [(0, 3, None, 1), (3, 9, 3, 2), (9, 12, 9, 1)]
    assert list(Archive(storage).records(TOPIC)) == RECORDS
    assert check(storage, grace_ms=0).findings == []


def test_an_hour_that_is_not_over_for_an_hour_is_left_alone(tmp_path: Path) -> None:
    storage = written(tmp_path)
    assert compact(storage, TOPIC, T0 + HOUR + CLOSED_AFTER_MS - 1) == Compacted()
    assert compact(storage, TOPIC, T0 + HOUR + CLOSED_AFTER_MS).batches == 1


def test_what_is_merged_is_not_merged_again(tmp_path: Path) -> None:
    storage = written(tmp_path)
    compact(storage, TOPIC, NOW)
    assert compact(storage, TOPIC, NOW) == Compacted()


def test_a_writer_goes_on_after_a_compaction(tmp_path: Path) -> None:
    storage = written(tmp_path)
    compact(storage, TOPIC, NOW + HOUR)
    more = [*RECORDS, record(12), record(13)]
    archive_all(storage, more)
    assert list(Archive(storage).records(TOPIC)) == more


def test_killed_at_any_step_the_archive_has_the_same_records_and_the_next_run_goes_on(tmp_path: Path) -> None:
    original = Path(written(tmp_path / "original").url)
    whole = KilledStorage(FolderStorage(copytree(original, tmp_path / "whole")), None)
    compact(whole, TOPIC, NOW)
    for step in range(whole.steps):
        storage = FolderStorage(copytree(original, tmp_path / str(step)))
        with pytest.raises(Killed):
            compact(KilledStorage(storage, step), TOPIC, NOW)
        assert list(Archive(storage).records(TOPIC)) == RECORDS, step
        assert Archive(storage).ranges(TOPIC) == {0: [(0, 12)]}
        assert check(storage, grace_ms=10**9).is_right, step
        # A writer that takes over now finds its place.
        archive_all(storage, [*RECORDS, record(12)])
        compact(storage, TOPIC, NOW)
        repair(storage, check(storage, grace_ms=0))
        assert check(storage, grace_ms=0).findings == [], step
        assert list(Archive(storage).records(TOPIC)) == [*RECORDS, record(12)]
        assert len(Archive(storage).commits(TOPIC)[0]) == 4


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    times=st.lists(st.sampled_from([0, HOUR, 2 * HOUR, 3 * HOUR]), min_size=1, max_size=12),
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    runs=st.lists(st.tuples(st.integers(0, 4), st.none() | st.integers(0, 30)), max_size=4),
)
def test_whenever_it_runs_and_is_killed_the_records_stay_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    times: list[int],
    sizes: list[int],
    runs: list[tuple[int, int | None]],
) -> None:
    storage = folder(tmp_path_factory.mktemp("archive"))
    records = [record(n, timestamp=T0 + time) for n, time in enumerate(times)]
    archive_all(storage, records, sizes=sizes)
    for hours, step in runs:
        try:
            compact(KilledStorage(storage, step), TOPIC, T0 + hours * HOUR + CLOSED_AFTER_MS)
        except Killed:
            continue
    assert list(Archive(storage).records(TOPIC)) == records
    repair(storage, check(storage, grace_ms=0))
    assert check(storage, grace_ms=0).findings == []
    assert list(Archive(storage).records(TOPIC)) == records


@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_nothing_is_merged_from_a_damaged_file(tmp_path: Path, damage: str) -> None:
    storage = written(tmp_path)
    file = Archive(storage).files(TOPIC)[1]
    if damage == "missing":
        storage.delete(file.path)
    else:
        data = bytearray(storage.read(file.path))
        data[60] ^= 1
        storage.put(file.path, bytes(data))
    before = storage.list("_commits")
    with pytest.raises(PenstockError, match="missing or damaged"):
        compact(storage, TOPIC, NOW)
    assert storage.list("_commits") == before


def test_without_room_for_the_merged_file_it_says_where_and_nothing_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    storage = written(tmp_path)
    before = Archive(storage).commits(TOPIC)
    monkeypatch.setattr("sinks.archive.compaction.writer", full)
    with pytest.raises(PenstockError, match="No space left") as error:
        compact(storage, TOPIC, NOW)
    assert "TMPDIR" in str(error.value)
    assert Archive(storage).commits(TOPIC) == before


def test_it_gives_up_before_others_can_take_its_files_for_left_over(tmp_path: Path) -> None:
    storage = written(tmp_path)
    times = iter([0.0, 1_801.0])
    with pytest.raises(PenstockError, match="took more than 1800 s"):
        compact(storage, TOPIC, NOW, lambda: next(times))
    assert len(Archive(storage).commits(TOPIC)[0]) == 7


def test_batches_with_other_columns_or_of_another_topic_of_the_name_are_kept_apart(tmp_path: Path) -> None:
    records = Archive(written(tmp_path)).commits(TOPIC)[0]
    assert [len(group) for group in groups(records, NOW)] == [2, 4]
    changed = [*records[:3], *(r.model_copy(update={"columns": "payment@2"}) for r in records[3:])]
    assert [len(group) for group in groups(changed, NOW)] == [2, 3]
    anew = [*records[:4], *(r.model_copy(update={"topic_id": "other"}) for r in records[4:])]
    assert [len(group) for group in groups(anew, NOW)] == [2, 2, 2]
    gap = [*records[:3], *records[4:]]
    assert [len(group) for group in groups(gap, NOW)] == [2, 2]
