"""Upserts the rows of a complete backfill into the history of its views in Cassandra.

A row there has the backfill's epoch, which is negative (:attr:`backfill.manifest.BackfillManifest.epoch`), its `seq` of
the replay, and attempt 0. All three follow from the folder, so to write a row again changes nothing. The parts that
were written are noted only to be quicker. docs/concepts/stores.md says how such rows relate to those of the live job.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from backfill.manifest import BackfillManifest, Part
from backfill.progress_bar import ProgressBar
from backfill.resumable import StoppedError
from penstock.errors import PenstockError
from schemas.codec import Undecodable
from schemas.records import VIEW_FIELD_NAMES
from sinks.cassandra_rows import Row
from sinks.emitted_vectors import EmittedVector
from sinks.store_interface import StoreUnavailable
from streams.plan.model import PipelinePlan, ViewPlan

_EVENTS_PER_WRITE = 2_000


class HistoryStore(Protocol):
    """What is needed of :class:`sinks.stores.cassandra.CassandraStore`."""

    place: str

    def row_of(self, vector: EmittedVector) -> Row:
        """The row of a vector; raises Undecodable if no table can hold it."""

    def write(self, records: Sequence[Sequence[Row]]) -> Future[Any]:
        """Begin to write rows."""


class Upserted(NamedTuple):
    """How many vectors a call wrote, and how many it left out because no row of Cassandra can hold them."""

    vectors: int
    left_out: int


def upsert_history(
    folder: Path,
    manifest: BackfillManifest,
    plan: PipelinePlan,
    store: HistoryStore,
    progress: ProgressBar,
    stop: threading.Event,
    *,
    max_per_s: int = 0,
) -> Upserted:
    """Write the parts that were not written to this store yet.

    Args:
        folder: Has the backfill.
        manifest: Its manifest, which is complete and of these views; it is saved after each part.
        plan: The pipeline's plan.
        store: Writes the rows; it is open.
        progress: Shows the events whose vectors are written.
        stop: Ends the call before the next rows.
        max_per_s: How many events to write in a second at most; 0: as many as Cassandra takes.

    Raises:
        StoppedError: if ``stop`` was set; what was written stays.
        PenstockError: if Cassandra does not take the rows, or a part is missing or damaged.
    """
    views = [plan.view(name) for name in manifest.views]
    written = set(manifest.delivered.get(store.place, ()))
    done = first = sum(part.rows for part in manifest.parts if part.file in written)
    progress.start_step("upsert", manifest.rows, done, "event")
    started, vectors, left_out = time.monotonic(), 0, 0
    for part in manifest.parts:
        if part.file in written:
            continue
        for batch in _batches(folder, part, min(_EVENTS_PER_WRITE, max_per_s or _EVENTS_PER_WRITE)):
            if stop.is_set():
                raise StoppedError
            rows, refused = _rows(batch, views, manifest.epoch, store)
            _write(rows, store, folder)
            vectors, left_out, done = vectors + len(rows), left_out + refused, done + batch.num_rows
            progress.update(done)
            if max_per_s:
                stop.wait(started + (done - first) / max_per_s - time.monotonic())
        manifest.delivered.setdefault(store.place, []).append(part.file)
        manifest.save(folder)
    return Upserted(vectors, left_out)


def _batches(folder: Path, part: Part, size: int) -> Iterator[pa.RecordBatch]:
    try:
        with pq.ParquetFile(folder / part.file) as file:
            yield from file.iter_batches(size)
    except (OSError, pa.ArrowException) as error:
        raise PenstockError(
            f"a part is missing or damaged: {error}",
            where=str(folder / part.file),
            safe="the parts before it are in Cassandra",
            next="restore the file, and run the same command; or delete the folder, and run the backfill again",
        ) from error


def _rows(batch: pa.RecordBatch, views: Sequence[ViewPlan], epoch: int, store: HistoryStore) -> tuple[list[Row], int]:
    """The rows of all vectors of the events, and how many vectors no row can hold."""
    rows, refused = [], 0
    for view in views:
        for vector in _vectors(batch, view, epoch):
            try:
                rows.append(store.row_of(vector))
            except Undecodable:
                refused += 1
    return rows, refused


def _vectors(batch: pa.RecordBatch, view: ViewPlan, epoch: int) -> Iterator[EmittedVector]:
    names = [*(name for name in VIEW_FIELD_NAMES if name != "epoch"), *(feature.name for feature in view.outputs)]
    columns = [_plain(batch[f"{view.name}.{name}"]) for name in names]
    for event_id, *values in zip(batch["event_id"].to_pylist(), *columns, strict=True):
        record = dict(zip(names, values, strict=True)) | {"epoch": epoch}
        if record["entity"] is not None:
            yield EmittedVector(view, event_id, 0, record)


def _plain(column: pa.Array) -> list[Any]:
    """The values; times as epoch ms."""
    values: list[Any] = (column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column).to_pylist()
    return values


def _write(rows: list[Row], store: HistoryStore, folder: Path) -> None:
    try:
        store.write([rows]).result()
    except StoreUnavailable as error:
        raise PenstockError(
            error.what,
            where=error.where,
            safe=f"the rows are in {folder}; what was written is written again with the same values",
            next="penstock status; then the same command again",
        ) from error
