"""Rows written to part files: the same parts whatever is written again or begun anew, whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill import parts
from backfill.manifest import BackfillManifest, load_manifest, plan_hash, selected_views
from backfill.parts import PartsWriter, WrittenOffsets
from penstock.errors import PenstockError
from schemas.codec import Encoder
from streams.flink.submission import Offsets, Replay
from streams.plan.feature_records import features_schema
from tests.backfill.feature_rows import PLAN, read, record

ENCODER = Encoder(features_schema(PLAN))


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "ROWS_PER_PART", 4)
    monkeypatch.setattr(parts, "_ROWS_PER_GROUP", 3)


def begun(folder: Path) -> BackfillManifest:
    replay = Replay(topic="t", start={0: 0, 1: 0}, end={0: 50, 1: 50}, from_ms=0, to_ms=9, max_ahead_ms=1)
    found = load_manifest(folder) or BackfillManifest(
        pipeline="p", views=selected_views(PLAN, (), "p"), plan=plan_hash(PLAN), run="r", replay=replay
    )
    found.save(folder)
    return found


def write(folder: Path, partition: int, offsets: list[int], *, finishes: bool = True) -> None:
    """What a process writes of a scratch topic whose records have these source offsets, up to their end or its."""
    with PartsWriter(PLAN, begun(folder), folder) as writer:
        first = writer.next_offsets()[partition]
        positions = list(range(first, len(offsets)))
        values = [ENCODER.encode(record(offsets[place], partition=partition)) for place in positions]
        writer.add(partition, positions, values)
        if finishes:
            writer.finish()


def written(folder: Path) -> dict[str, list[int]]:
    manifest = load_manifest(folder)
    assert manifest is not None
    found = {part.file: [row["source.offset"] for row in read(folder / part.file)] for part in manifest.parts}
    assert [part.rows for part in manifest.parts] == [len(rows) for rows in found.values()]
    return found


def test_a_part_has_as_many_rows_as_fit_and_the_last_one_the_rest(tmp_path: Path) -> None:
    write(tmp_path, 1, list(range(10)))
    write(tmp_path, 0, [7])
    assert written(tmp_path) == {
        "part-00000-00000.parquet": [7],
        "part-00001-00000.parquet": [0, 1, 2, 3],
        "part-00001-00001.parquet": [4, 5, 6, 7],
        "part-00001-00002.parquet": [8, 9],
    }


def test_rows_that_a_restored_job_wrote_again_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, 0, [5, 3, 5, 3, 8, 5, 9, 8, 10])
    assert written(tmp_path) == {"part-00000-00000.parquet": [5, 3, 8, 9], "part-00000-00001.parquet": [10]}


@pytest.mark.parametrize("offsets", [list(range(14)), [0, 1, 2, 1, 2, 3, 2, 3, 4, 5, 6, 7, 0, 8, 9, 10, 11, 12, 13]])
@pytest.mark.parametrize("killed_after", [0, 3, 5, 9, 14])
def test_a_writer_that_was_killed_leaves_whole_parts_and_the_next_one_continues(
    tmp_path: Path, offsets: list[int], killed_after: int
) -> None:
    write(tmp_path, 0, offsets[:killed_after], finishes=False)
    assert all(len(rows) == 4 for rows in written(tmp_path).values())
    assert {path.name for path in tmp_path.glob("*.parquet")} == set(written(tmp_path))
    write(tmp_path, 0, offsets)
    assert [offset for rows in written(tmp_path).values() for offset in rows] == list(range(14))
    assert [len(rows) for rows in written(tmp_path).values()] == [4, 4, 4, 2]


def test_no_rows_make_no_part(tmp_path: Path) -> None:
    write(tmp_path, 0, [])
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_records_of_many_partitions_do_not_wait_without_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(ENCODER.encode(record(0)))
    monkeypatch.setattr(parts, "_MAX_WAITING_BYTES", 3 * size)
    with PartsWriter(PLAN, begun(tmp_path), tmp_path) as writer:
        for partition, position in ((0, 0), (0, 1), (1, 0), (1, 1)):
            writer.add(partition, [position], [ENCODER.encode(record(position, partition=partition))])
            assert sum(one.waiting for one in writer._partitions.values()) < 3 * size
        writer.finish()
    assert written(tmp_path) == {"part-00000-00000.parquet": [0, 1], "part-00001-00000.parquet": [0, 1]}


@pytest.mark.parametrize("step", ["write_batch", "close"])
def test_a_disk_without_room_is_an_error_that_says_what_is_safe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(f"pyarrow.parquet.ParquetWriter.{step}", full)
    with pytest.raises(PenstockError, match="No space left on device") as refused:
        write(tmp_path, 0, [1])
    assert refused.value.next is not None
    assert "run the same command" in refused.value.next
    assert written(tmp_path) == {}


@pytest.mark.parametrize("content", [None, b"PAR1 cut off"])
def test_a_part_that_was_lost_or_damaged_afterwards_is_named_with_what_helps(
    tmp_path: Path, content: bytes | None
) -> None:
    write(tmp_path, 0, [0, 1, 2, 3, 4])
    lost = tmp_path / "part-00000-00001.parquet"
    lost.unlink()
    if content is not None:
        lost.write_bytes(content)
    with pytest.raises(PenstockError, match="missing or damaged") as refused:
        write(tmp_path, 0, [0, 1, 2, 3, 4])
    assert refused.value.where == str(lost)
    assert "restore the file" in str(refused.value.next)
    assert "delete the folder" in str(refused.value.next)


@given(st.lists(st.lists(st.integers(10, 40), max_size=20), max_size=4))
def test_an_offset_is_new_once(batches: list[list[int]]) -> None:
    offsets, seen = WrittenOffsets(10, 41), set()
    for batch in batches:
        found = offsets.add(np.array(batch, np.int64)).tolist()
        assert found == [offset not in seen and offset not in batch[:place] for place, offset in enumerate(batch)]
        seen |= set(batch)


def test_events_of_several_topics_with_equal_offsets_have_a_row_each_also_in_partitions_that_only_one_has(
    tmp_path: Path,
) -> None:
    app = PLAN.source.model_copy(update={"topic": "app"})
    plan = PLAN.model_copy(update={"additional_sources": (app,)})
    encoder, more = Encoder(features_schema(plan)), Offsets(start={0: 0, 2: 5}, end={0: 9, 2: 9})
    replay = Replay(topic="t", start={0: 0}, end={0: 9}, additional_sources=(more,), from_ms=0, to_ms=9, max_ahead_ms=1)
    manifest = BackfillManifest(
        pipeline="p", views=selected_views(plan, (), "p"), plan=plan_hash(plan), run="r", replay=replay
    )

    def values(*places: tuple[str, int], partition: int = 0) -> list[bytes]:
        records = [record(offset, partition=partition) for _, offset in places]
        named = zip(records, places, strict=True)
        return [encoder.encode(one | {"source": one["source"] | {"topic": topic}}) for one, (topic, _) in named]

    some = [("events", 3), ("app", 3), ("app", 3), ("events", 4)]
    for again in (some, [*some, ("app", 4), ("events", 3)]):  # the second process goes on after the first
        with PartsWriter(plan, manifest, tmp_path) as writer:
            first = writer.next_offsets()
            found = values(*again)[first[0] :]
            writer.add(0, list(range(first[0], first[0] + len(found))), found)
            if again is not some:
                writer.add(2, [0], values(("app", 6), partition=2))
            writer.finish()
    rows = {part.file: read(tmp_path / part.file) for part in manifest.parts}
    places = [(row["source.topic"], row["source.offset"]) for of in rows.values() for row in of]
    assert places == [("events", 3), ("app", 3), ("events", 4), ("app", 4), ("app", 6)]
