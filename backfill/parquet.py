"""Writes and reads a backfill as Parquet: one row per event, at most ``ROWS_PER_PART`` rows of one partition a file.

Columns: ``event_id``, ``event_time``, ``source.partition``, ``source.offset``, ``source.timestamp``,
``event.<column>``, and for each view ``<view>.entity``, ``.as_of``, ``.late``, ``.seq`` and ``.<feature>``, all null
if the event has no such entity. Times are timestamps in UTC. ``seq`` counts within the replay: it gives the order of
rows, and differs from the served ``seq``. Rows are ordered by source partition and, within it, as the views processed
them: by offset, or by event time if the source's order is ``event_time``.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from backfill.manifest import BackfillManifest, Part, load_manifest
from penstock.errors import PenstockError
from penstock.kafka.reading import Record
from penstock.time import iso
from schemas.codec import Decoder
from schemas.feature_types import FeatureType, element_of
from streams.plan.model import PipelinePlan, ViewPlan

ROWS_PER_PART = 200_000
_ROWS_PER_GROUP = 20_000
_TIME = pa.timestamp("ms", tz="UTC")
_TYPES = {"string": pa.string(), "long": pa.int64(), "double": pa.float64(), "boolean": pa.bool_()}
_VIEW_FIELDS = {"entity": pa.string(), "as_of": _TIME, "late": pa.bool_(), "seq": pa.int64()}


def row_schema(plan: PipelinePlan, views: Iterable[str]) -> pa.Schema:
    """Return the Parquet schema of a backfill with these views."""
    fields = [
        ("event_id", pa.string()),
        ("event_time", _TIME),
        ("source.partition", pa.int32()),
        ("source.offset", pa.int64()),
        ("source.timestamp", _TIME),
        *((f"event.{name}", _TYPES[kind]) for name, kind in plan.passthrough),
    ]
    for name in views:
        view = plan.view(name)
        fields += [(f"{name}.{field}", kind) for field, kind in _VIEW_FIELDS.items()]
        fields += [(f"{name}.{feature.name}", _feature_type(feature.type)) for feature in view.outputs]
    return pa.schema(fields)


class RowBuilder:
    """Converts feature records to rows.

    Args:
        plan: The pipeline's plan.
        views: The views whose features the rows have.
    """

    def __init__(self, plan: PipelinePlan, views: Iterable[str]) -> None:
        self._views = [plan.view(name) for name in views]
        self.schema = row_schema(plan, [view.name for view in self._views])
        self._passthrough = [name for name, _ in plan.passthrough]

    def batch(self, records: Sequence[Mapping[str, Any]]) -> pa.RecordBatch:
        """Return the rows of decoded feature records, in the same order."""
        source = [record["source"] for record in records]
        columns: list[list[Any]] = [
            [record["event_id"] for record in records],
            [record["event_time"] for record in records],
            *([part[name] for part in source] for name in ("partition", "offset", "timestamp")),
            *([record["event"][name] for record in records] for name in self._passthrough),
        ]
        for view in self._views:
            columns += _view_columns(view, [record[view.name] for record in records])
        arrays = [pa.array(values, type=field.type) for values, field in zip(columns, self.schema, strict=True)]
        return pa.record_batch(arrays, schema=self.schema)


class WrittenOffsets:
    """A bit set of the source offsets of one partition whose rows are written.

    Args:
        start: The first offset that can have a row.
        end: The offset after the last.
    """

    def __init__(self, start: int, end: int) -> None:
        self._start = start
        self._bits = bytearray((max(0, end - start) + 7) // 8)

    def add(self, offset: int) -> bool:
        """Add an offset; return False if the set has it already."""
        index = offset - self._start
        is_new = not self._bits[index >> 3] & (1 << (index & 7))
        self._bits[index >> 3] |= 1 << (index & 7)
        return is_new

    def add_part(self, folder: Path, part: Part) -> None:
        """Add the offsets of a part's rows."""
        for offset in pq.read_table(folder / part.file, columns=["source.offset"])["source.offset"].to_pylist():
            self.add(offset)


def write_part(
    folder: Path,
    partition: int,
    number: int,
    records: Iterator[Record],
    decoder: Decoder,
    rows: RowBuilder,
    written: WrittenOffsets,
) -> Part | None:
    """Write the next part of a partition; the file appears complete or not at all.

    Args:
        folder: The backfill's folder.
        partition: The source partition.
        number: The part's number within the partition, from 0.
        records: Records of the scratch topic; the function consumes those of one part.
        decoder: Decodes the records.
        rows: Converts them to rows.
        written: The offsets that have a row already; the function adds those of this part. A record with such an offset
            is left out: the job wrote it again after it was restored from an older checkpoint.

    Returns:
        The part, or None if there are no more rows.
    """
    name = f"part-{partition:05}-{number:05}.parquet"
    partial, count, next_offset = folder / f".{name}", 0, 0
    writer = None
    try:
        while count < ROWS_PER_PART:
            chunk = list(islice(records, _ROWS_PER_GROUP))
            if not chunk:
                break
            next_offset = chunk[-1].offset + 1
            decoded = (decoder.decode(record.value or b"") for record in chunk)
            batch = [features for features in decoded if written.add(features["source"]["offset"])]
            if not batch:
                continue
            if writer is None:
                writer = pq.ParquetWriter(partial, rows.schema, compression="zstd")
            writer.write_batch(rows.batch(batch))
            count += len(batch)
    finally:
        if writer is not None:
            writer.close()
    if writer is None:
        return None
    partial.replace(folder / name)
    return Part(file=name, partition=partition, rows=count, next_offset=next_offset)


@dataclass(frozen=True)
class Backfill:
    """A complete backfill; ``manifest`` has its pipeline, views and range."""

    folder: Path
    manifest: BackfillManifest

    def columns(self) -> list[str]:
        """Return the column names."""
        return list(pq.read_schema(self.folder / self.manifest.parts[0].file).names)

    def batches(
        self, columns: Sequence[str] | None = None, *, partition: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield all rows, grouped by source partition, or those of one; with all columns by default."""
        for part in self.manifest.parts:
            if partition not in (None, part.partition):
                continue
            with pq.ParquetFile(self.folder / part.file) as file:
                for batch in file.iter_batches(_ROWS_PER_GROUP, columns=columns):
                    yield batch if columns is None else batch.select(columns)

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return all rows as one table; with all columns by default."""
        schema = pq.read_schema(self.folder / self.manifest.parts[0].file)
        chosen = schema if columns is None else pa.schema([schema.field(name) for name in columns])
        return pa.Table.from_batches(self.batches(columns), schema=chosen)


def read_backfill(folder: Path) -> Backfill:
    """Open the backfill in a folder.

    Raises:
        PenstockError: if the folder has none, it is not complete, or a part is missing or damaged.
    """
    manifest = load_manifest(folder)
    if manifest is None:
        raise PenstockError(
            "the folder has no backfill",
            where=str(folder),
            next=f"penstock backfill run PIPELINE --from TIME --to TIME --out {shlex.quote(str(folder))}",
        )
    if manifest.state != "complete":
        replay, views = manifest.replay, " ".join(f"--view {name}" for name in manifest.views)
        raise PenstockError(
            "the backfill is not complete",
            where=str(folder),
            next=f"run the same command again: penstock backfill run {manifest.pipeline} "
            f"--from {iso(replay.from_ms)} --to {iso(replay.to_ms)} {views} --out {shlex.quote(str(folder))}",
        )
    for part in manifest.parts:
        try:
            row_count = pq.read_metadata(folder / part.file).num_rows
        except (OSError, pa.ArrowInvalid):
            row_count = -1
        if row_count != part.rows:
            raise PenstockError(
                f"part {part.file} of the backfill is missing or damaged",
                where=str(folder),
                next="delete the folder and run the backfill again",
            )
    return Backfill(folder, manifest)


def _feature_type(kind: FeatureType) -> pa.DataType:
    element = element_of(kind)
    return _TYPES[kind] if element is None else pa.list_(_TYPES[element])


def _view_columns(view: ViewPlan, parts: Sequence[Mapping[str, Any] | None]) -> list[list[Any]]:
    names = (*_VIEW_FIELDS, *(feature.name for feature in view.outputs))
    return [[None if part is None else part[name] for part in parts] for name in names]
