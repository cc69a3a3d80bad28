"""Reads a backfill: Parquet files with one row per event, each of rows of one source partition.

Columns: ``event_id``, ``event_time``, ``source.partition``, ``source.offset``, ``source.timestamp``, ``source.topic``
if the events of several topics have rows, ``event.<column>``, and for each view ``<view>.entity``, ``.as_of``,
``.late``, ``.seq`` and ``.<feature>``, all null if the event has no such entity. Times are timestamps in UTC. ``seq``
counts within the replay: it gives the order of rows, and differs from the served ``seq``. Rows are ordered by source
partition and, within it, as the views processed them: by offset, or by event time if the source's order is
``event_time``.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from backfill.manifest import BackfillManifest, load_manifest
from penstock.errors import PenstockError
from penstock.time import iso

_ROWS_PER_BATCH = 20_000


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
                for batch in file.iter_batches(_ROWS_PER_BATCH, columns=columns):
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
