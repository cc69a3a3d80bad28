"""The records of one partition that are written together, from the first that arrives until the batch is closed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from penstock.kafka.reading import Record
from sinks.archive.columns import IGNORED, TopicColumns
from sinks.archive.layout import HOUR_MS, ArchivedFile, file_path

CHUNK = 2_000
"""Records that are decoded together: enough for the columnar decoders, and few enough to be kept undecoded."""

ROWS_PER_GROUP = 50_000
"""A reader of a range of offsets or of a few columns reads whole row groups."""

# What Kafka and this process keep of a record beside its bytes.
_RECORD_BYTES = 64


@dataclass(frozen=True)
class Limits:
    """When a batch is closed: at the first of these.

    Args:
        rows: So many records.
        bytes: So many bytes of keys, values and headers.
        age_s: So many seconds after its first record arrived.
        open_bytes: So many bytes of all open batches together; the largest is closed.
    """

    rows: int = 500_000
    bytes: int = 64 * 1024 * 1024
    age_s: float = 60.0
    open_bytes: int = 256 * 1024 * 1024


class OpenBatch:
    """A growing batch.

    Args:
        columns: The topic's columns.
        begin: The first offset of its range.
    """

    def __init__(self, columns: TopicColumns, begin: int) -> None:
        self.begin = self.end = begin
        self.rows = self.bytes = 0
        self.since_s: float | None = None
        self.oldest_ms: int | None = None
        self._columns = columns
        self._waiting: list[Record] = []
        self._decoded: list[pa.RecordBatch] = []

    def add(self, records: Iterable[Record], now_s: float) -> None:
        """Add records, which follow those that it has; one that it has already is left out.

        Args:
            records: In the order of their offsets.
            now_s: Monotonic seconds.
        """
        for record in records:
            if record.offset < self.end:
                continue
            self.end = record.offset + 1
            self.rows += 1
            self.bytes += _RECORD_BYTES + len(record.key or b"") + len(record.value or b"")
            self.bytes += sum(len(name) + len(value or b"") for name, value in record.headers)
            self._waiting.append(record)
            if record.timestamp >= 0:
                self.oldest_ms = min(self.oldest_ms or record.timestamp, record.timestamp)
        if self._waiting and self.since_s is None:
            self.since_s = now_s

    def reach(self, offset: int) -> None:
        """There is no further record before this offset: only markers of transactions, or aborted records."""
        self.end = max(self.end, offset)

    def is_due(self, limits: Limits, now_s: float) -> bool:
        """Whether it is to be closed."""
        return self.since_s is not None and (
            self.rows >= limits.rows or self.bytes >= limits.bytes or now_s - self.since_s >= limits.age_s
        )

    def decode(self, least: int = CHUNK) -> None:
        """Decode what waits, if it is at least so much; may be called again after an error.

        Raises:
            PenstockError: if a schema registry does not answer.
        """
        while len(self._waiting) >= max(1, least):
            self._decoded.append(self._columns.batch(self._waiting[:CHUNK]))
            del self._waiting[:CHUNK]

    def files(self, topic: str, partition: int) -> list[tuple[ArchivedFile, bytes]]:
        """Its files, one for each hour, in the order of their hours; the same records have the same bytes.

        Raises:
            PenstockError: if a schema registry does not answer.
        """
        self.decode(1)
        if not self._decoded:
            return []
        table = pa.Table.from_batches(self._decoded)
        hours = hours_of(table["_timestamp"])
        files = []
        for hour in np.unique(hours).tolist():
            of_hour = table.filter(pa.array(hours == hour))
            data = encode(of_hour)
            path = partial(file_path, topic, hour, partition, self.begin, self.end)
            files.append((described(path, of_hour.num_rows, data), data))
        return files

    @property
    def undecoded(self) -> int:
        """How many of the decoded rows have no typed columns, although they should."""
        errors = [batch["_error"] for batch in self._decoded]
        counts = (len(each) - each.null_count - (pc.sum(pc.starts_with(each, IGNORED)).as_py() or 0) for each in errors)
        undecoded: int = sum(counts)
        return undecoded


def hours_of(timestamps: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """The beginning of the hour of each timestamp, epoch ms; 0 where there is none."""
    times = pc.fill_null(timestamps.cast(pa.int64()), 0).to_numpy()
    hours: npt.NDArray[np.int64] = times // HOUR_MS * HOUR_MS
    return hours


def encode(table: pa.Table) -> bytes:
    """A table as a Parquet file. The checksums of its pages tell a reader of damage."""
    sink = pa.BufferOutputStream()
    with writer(sink, table.schema) as file:
        file.write_table(table, ROWS_PER_GROUP)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def writer(sink: object, schema: pa.Schema) -> pq.ParquetWriter:
    """A writer of a file of the archive."""
    return pq.ParquetWriter(sink, schema, compression="zstd", write_page_checksum=True)


def described(path: Callable[[str], str], rows: int, data: bytes) -> ArchivedFile:
    """A file as its commit record has it; ``path`` makes its path of its SHA-256."""
    sha256 = hashlib.sha256(data).hexdigest()
    return ArchivedFile(path=path(sha256), rows=rows, bytes=len(data), sha256=sha256)
