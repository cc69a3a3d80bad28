"""Rows written to Parquet and read back: types, nulls, parts, and refused folders."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backfill import parquet
from backfill.manifest import load_manifest
from backfill.parquet import RowBuilder, WrittenOffsets, read_backfill, write_part
from penstock.errors import PenstockError
from penstock.kafka.reading import Record
from penstock.time import iso
from schemas.codec import Decoder, Encoder
from streams.plan.feature_records import features_schema
from tests.backfills import write_backfill
from tests.plans import make_plan, view_of


def feature(name: str, operation: str, kind: str) -> dict[str, Any]:
    window = {"window_ms": 1_000, "hop_ms": 10, "where": None}
    column = {"column": name, "column_type": kind.removesuffix("[]")}
    return window | column | {"name": name, "operation": operation, "type": kind}


FEATURES = [
    *(feature(kind[0], "last", kind) for kind in ("string", "long", "double", "boolean")),
    *(feature(f"{kind[0]}s", "last_k", f"{kind}[]") for kind in ("string", "long", "double", "boolean")),
]
CARRIED = tuple((kind, kind) for kind in ("string", "long", "double", "boolean"))
PLAN = make_plan(fields=[], views=[view_of(*FEATURES, name="a"), view_of(FEATURES[2], name="b")], passthrough=CARRIED)
VALUES: list[dict[str, Any]] = [
    {"string": "", "long": 2**63 - 1, "double": -0.0, "boolean": True},
    {"string": "é\u0000😀", "long": -(2**63), "double": 5e-324, "boolean": False},
    {"string": None, "long": None, "double": None, "boolean": None},
    {"string": "x" * 10_000, "long": 2**53 + 1, "double": 0.1 + 0.2, "boolean": True},
]


def record(offset: int, values: dict[str, Any] | None = None, partition: int = 0) -> dict[str, Any]:
    values = VALUES[0] if values is None else values
    head = {"entity": "e", "epoch": 1, "seq": offset + 1, "as_of": 2_000, "late": False}
    return {
        "event_id": f"id{offset}",
        "event_time": 1_000 + offset,
        "trigger": "event",
        "attempt": 0,
        "source": {"topic": "events", "partition": partition, "offset": offset, "timestamp": 900},
        "event": values,
        "a": head
        | {kind[0]: value for kind, value in values.items()}
        | {f"{kind[0]}s": value if value is None else [value] * (offset % 3) for kind, value in values.items()},
        "b": None,
    }


def scratch(*records: dict[str, Any]) -> Iterator[Record]:
    encoder = Encoder(features_schema(PLAN))
    for offset, one in enumerate(records):
        yield Record(partition=0, offset=offset, timestamp=0, key=None, value=encoder.encode(one), headers=())


def write(folder: Path, records: Iterator[Record], number: int = 0, written: WrittenOffsets | None = None) -> Any:
    rows, written = RowBuilder(PLAN, ("a", "b")), written or WrittenOffsets(0, 10)
    return write_part(folder, 0, number, records, Decoder(features_schema(PLAN)), rows, written)


def read(path: Path) -> list[dict[str, Any]]:
    table = pq.read_table(path)
    plain = [c.cast("int64") if str(c.type).startswith("timestamp") else c for c in table.columns]
    return list(pa.table(plain, names=table.column_names).to_pylist())


def test_every_type_and_null_is_read_as_written(tmp_path: Path) -> None:
    part = write(tmp_path, scratch(*(record(i, values) for i, values in enumerate(VALUES))))
    rows = read(tmp_path / part.file)
    for row, (offset, values) in zip(rows, enumerate(VALUES), strict=True):
        assert {name: row[f"event.{name}"] for name in values} == values
        assert {name: row[f"a.{name[0]}"] for name in values} == values
        lists = {name: value if value is None else [value] * (offset % 3) for name, value in values.items()}
        assert {name: row[f"a.{name[0]}s"] for name in values} == lists
        assert str(row["a.d"]) == str(values["double"]), "the sign of zero is lost"
        assert (row["event_id"], row["event_time"], row["source.offset"]) == (f"id{offset}", 1_000 + offset, offset)
        assert (row["a.entity"], row["a.as_of"], row["a.late"], row["a.seq"]) == ("e", 2_000, False, offset + 1)
        assert (row["b.entity"], row["b.seq"], row["b.d"]) == (None, None, None)
    assert (part.rows, part.next_offset) == (4, 4)


def test_rows_that_a_restored_job_wrote_again_are_left_out(tmp_path: Path) -> None:
    part = write(tmp_path, scratch(record(5), record(3), record(5), record(3), record(8)))
    assert [row["source.offset"] for row in read(tmp_path / part.file)] == [5, 3, 8]
    assert part.rows == 3


def test_the_next_part_continues_after_the_last_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "ROWS_PER_PART", 4)
    monkeypatch.setattr(parquet, "_ROWS_PER_GROUP", 2)
    records = [record(i) for i in range(6)]
    first = write(tmp_path, scratch(*records))
    assert (first.rows, first.next_offset) == (4, 4)
    written = WrittenOffsets(0, 6)
    written.add_part(tmp_path, first)
    rest = (one for one in scratch(*records) if one.offset >= first.next_offset - 1)
    second = write(tmp_path, rest, number=1, written=written)
    assert (second.file, second.rows) == ("part-00000-00001.parquet", 2)


def test_no_rows_make_no_part(tmp_path: Path) -> None:
    assert write(tmp_path, scratch()) is None
    assert list(tmp_path.iterdir()) == []


def test_an_unfinished_part_leaves_no_file(tmp_path: Path) -> None:
    def broken() -> Iterator[Record]:
        yield from scratch(record(0))
        raise ConnectionError

    with pytest.raises(ConnectionError):
        write(tmp_path, broken())
    assert not list(tmp_path.glob("part-*"))


def test_a_folder_without_a_backfill_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PenstockError, match="the folder has no backfill") as refused:
        read_backfill(tmp_path)
    assert refused.value.next == f"penstock backfill run PIPELINE --from TIME --to TIME --out {tmp_path}"


def test_a_damaged_or_incomplete_backfill_is_refused(tmp_path: Path) -> None:
    from tests.backfill.test_training_parquet import features, pipeline  # noqa: PLC0415 - reuses its pipeline

    backfill = write_backfill(pipeline(), tmp_path, [features()])
    assert backfill.table(["event_id"]).to_pylist() == [{"event_id": "t1"}]
    (tmp_path / backfill.manifest.parts[0].file).write_bytes(b"cut")
    with pytest.raises(PenstockError, match="missing or damaged"):
        read_backfill(tmp_path)
    manifest = load_manifest(tmp_path)
    assert manifest is not None
    manifest.state = "running"
    manifest.save(tmp_path)
    with pytest.raises(PenstockError, match="not complete") as refused:
        read_backfill(tmp_path)
    replay, views = manifest.replay, " ".join(f"--view {view}" for view in manifest.views)
    assert refused.value.next == (
        f"run the same command again: penstock backfill run {manifest.pipeline} --from {iso(replay.from_ms)} "
        f"--to {iso(replay.to_ms)} {views} --out {tmp_path}"
    )
