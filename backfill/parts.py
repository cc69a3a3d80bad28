"""Writes the rows of a backfill to part files, as the job writes them to the scratch topic.

A part has rows of one source partition in the order of the topic: exactly ``ROWS_PER_PART``, the partition's last one
fewer. It appears complete or not at all. So the same rows give the same parts, however often the writer was killed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from backfill.manifest import BackfillManifest, Part
from backfill.row_columns import RowColumns
from penstock.errors import PenstockError
from schemas.columns import Integers, Mask
from streams.plan.model import PipelinePlan

ROWS_PER_PART = 200_000
_ROWS_PER_GROUP = 20_000
_BYTES_PER_GROUP = 64 * 2**20
# Of all partitions together: a topic of many partitions waits in no more memory than one of few.
_MAX_WAITING_BYTES = 256 * 2**20


class WrittenOffsets:
    """A bit set of the source offsets of one partition whose rows are written.

    Args:
        start: The first offset that can have a row.
        end: The offset after the last.
    """

    def __init__(self, start: int, end: int) -> None:
        self._start = start
        self._bits = np.zeros((max(0, end - start) + 7) // 8, np.uint8)

    def add(self, offsets: Integers) -> Mask:
        """Add offsets; return for each whether it is new, which of equal ones the first is."""
        index = offsets - self._start
        place, bit = index >> 3, np.left_shift(1, index & 7).astype(np.uint8)
        is_new: Mask = (self._bits[place] & bit) == 0
        if not (np.diff(index) > 0).all():
            is_first = np.zeros(len(index), np.bool_)
            is_first[np.unique(index, return_index=True)[1]] = True
            is_new &= is_first
        np.bitwise_or.at(self._bits, place, bit)
        return is_new


class WrittenRows:
    """Which events of a partition number have a row, of each topic whose events have rows."""

    def __init__(self, offsets: Mapping[str, WrittenOffsets]) -> None:
        self._offsets = offsets

    @property
    def columns(self) -> list[str]:
        """The columns that tell the events of a partition apart."""
        return ["source.offset", *(["source.topic"] if len(self._offsets) > 1 else [])]

    def add(self, rows: pa.RecordBatch) -> Mask:
        """Add rows; return for each whether it is new, which of equal ones the first is."""
        offsets = _integers(rows["source.offset"])
        if len(self._offsets) == 1:
            (written,) = self._offsets.values()
            return written.add(offsets)
        is_new, topics = np.zeros(len(offsets), np.bool_), np.array(rows["source.topic"].to_pylist(), object)
        for topic, written in self._offsets.items():
            of_topic = np.flatnonzero(topics == topic)
            is_new[of_topic] = written.add(offsets[of_topic])
        return is_new


class PartitionParts:
    """Writes the parts of one source partition.

    Args:
        folder: The backfill's folder.
        partition: The source partition.
        rows: Converts records to rows.
        written: The events that have a row in the parts that exist. A record of such an event is left out: the job
            wrote it again after it was restored from an older checkpoint.
        number: How many parts exist.

    Attributes:
        waiting: How many bytes of records wait to be written.
    """

    def __init__(self, folder: Path, partition: int, rows: RowColumns, written: WrittenRows, number: int) -> None:
        self._folder, self._partition, self._rows, self._written, self._number = (
            folder,
            partition,
            rows,
            written,
            number,
        )
        self._positions: list[int] = []
        self._values: list[bytes] = []
        self._writer: pq.ParquetWriter | None = None
        self._count = self._next_offset = 0
        self.waiting = 0

    def add(self, positions: Sequence[int], values: Sequence[bytes]) -> list[Part]:
        """Add records of the scratch topic, with their offsets there; return the parts that are now complete."""
        self._positions += positions
        self._values += values
        self.waiting += sum(map(len, values))
        complete = []
        while len(self._values) >= _ROWS_PER_GROUP or self.waiting >= _BYTES_PER_GROUP:
            complete += self._write(_ROWS_PER_GROUP)
        return complete

    def write_waiting(self) -> list[Part]:
        """Write the records that wait; return the parts that are now complete."""
        return self._write(len(self._values)) if self._values else []

    def finish(self) -> list[Part]:
        """Write what is left; return the last parts."""
        complete = self.write_waiting()
        return [*complete, self._close_part()] if self._writer is not None else complete

    def abandon(self) -> None:
        """Delete the part that is not complete."""
        if self._writer is not None:
            with suppress(OSError):  # a full disk, which is the error that brought us here
                self._writer.close()
            self._writer = None
            self._partial.unlink(missing_ok=True)

    def _write(self, number: int) -> list[Part]:
        values, positions = self._values[:number], self._positions[:number]
        batch = self._rows.batch(values)
        self.waiting -= sum(map(len, values))
        del self._values[:number], self._positions[:number]
        is_new = self._written.add(batch)
        if not is_new.all():
            batch = batch.filter(pa.array(is_new))
        kept = np.asarray(positions)[is_new]
        complete = []
        while batch.num_rows:
            room = ROWS_PER_PART - self._count
            self._append(batch.slice(0, room), int(kept[:room][-1]) + 1)
            batch, kept = batch.slice(room), kept[room:]
            if self._count == ROWS_PER_PART:
                complete.append(self._close_part())
        return complete

    def _append(self, batch: pa.RecordBatch, next_offset: int) -> None:
        if self._writer is None:
            # Numbers seldom repeat: the search for repetitions takes as long as all else here.
            self._writer = pq.ParquetWriter(
                self._partial, self._rows.schema, compression="zstd", use_dictionary=self._rows.texts
            )
        self._writer.write_batch(batch)
        self._count += batch.num_rows
        self._next_offset = next_offset

    def _close_part(self) -> Part:
        assert self._writer is not None
        self._writer.close()
        self._writer = None
        with self._partial.open("rb") as file:
            os.fsync(file.fileno())
        part = Part(file=self._name, partition=self._partition, rows=self._count, next_offset=self._next_offset)
        self._partial.replace(self._folder / self._name)
        self._number, self._count = self._number + 1, 0
        return part

    @property
    def _name(self) -> str:
        return f"part-{self._partition:05}-{self._number:05}.parquet"

    @property
    def _partial(self) -> Path:
        return self._folder / f".{self._name}"


class PartsWriter:
    """Writes the parts of all partitions after those that the manifest has, and adds them to it. A context manager.

    Args:
        plan: The pipeline's plan.
        manifest: Says what the rows are; saved with each part.
        folder: The backfill's folder.

    Raises:
        PenstockError: also from every method, if a part cannot be written, or one of the manifest cannot be read.
    """

    def __init__(self, plan: PipelinePlan, manifest: BackfillManifest, folder: Path) -> None:
        self._manifest, self._folder = manifest, folder
        self._rows = RowColumns(plan, manifest.views)
        self._offsets = {
            source.topic: offsets
            for source, offsets in zip(plan.sources, manifest.replay.sources, strict=True)
            if source.triggers
        }
        numbers = sorted({number for offsets in self._offsets.values() for number in offsets.start})
        with _files(folder):
            self._partitions = {number: self._after_parts(number) for number in numbers}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for partition in self._partitions.values():
            partition.abandon()

    def next_offsets(self) -> dict[int, int]:
        """The offset of the scratch topic from which on each partition's records are needed."""
        return dict.fromkeys(self._partitions, 0) | {part.partition: part.next_offset for part in self._manifest.parts}

    def add(self, partition: int, positions: Sequence[int], values: Sequence[bytes]) -> None:
        """Add records of a partition of the scratch topic, with their offsets there."""
        with _files(self._folder):
            self._save(self._partitions[partition].add(positions, values))
            waiting = {number: parts.waiting for number, parts in self._partitions.items()}
            if sum(waiting.values()) >= _MAX_WAITING_BYTES:
                self._save(self._partitions[max(waiting, key=waiting.__getitem__)].write_waiting())

    def finish(self) -> None:
        """Write what is left, after the last record."""
        with _files(self._folder):
            for partition in self._partitions.values():
                self._save(partition.finish())

    def _after_parts(self, partition: int) -> PartitionParts:
        written = WrittenRows(
            {
                topic: WrittenOffsets(offsets.start.get(partition, 0), offsets.end.get(partition, 0))
                for topic, offsets in self._offsets.items()
            }
        )
        parts = [part for part in self._manifest.parts if part.partition == partition]
        for part in parts:
            try:
                table = pq.read_table(self._folder / part.file, columns=written.columns)
            except (OSError, pa.ArrowInvalid) as error:
                raise PenstockError(
                    f"a part that was written before is missing or damaged: {error}",
                    where=str(self._folder / part.file),
                    safe="the other parts; nothing was changed",
                    next="restore the file, and the same command continues; or delete the folder, and it begins anew",
                ) from error
            for batch in table.to_batches():
                written.add(batch)
        return PartitionParts(self._folder, partition, self._rows, written, len(parts))

    def _save(self, parts: list[Part]) -> None:
        if parts:
            # Readers rely on the order of the partitions.
            self._manifest.parts = sorted([*self._manifest.parts, *parts], key=lambda part: part.file)
            self._manifest.save(self._folder)


def _integers(column: pa.Array) -> Integers:
    """The values of a column without nulls. Arrow's own way imports pandas."""
    return np.frombuffer(column.buffers()[1], np.int64, len(column), column.offset * np.dtype(np.int64).itemsize)


@contextmanager
def _files(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowInvalid) as error:
        raise PenstockError(
            f"a part cannot be written: {error}",
            where=str(folder),
            safe="the parts that the manifest names, and what the job has written to its topic",
            next="make room if the disk is full; then run the same command, which continues the backfill",
        ) from error
