"""The files of a training set: written in row groups of one length, so that the same rows give the same bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from backfill.training_sets.manifest import SetPart
from backfill.training_sets.staging import label_type
from streams.definitions.labels import Task

ROWS_PER_PART = 1_000_000
_ROWS_PER_GROUP = 50_000
_TIME = pa.timestamp("ms", tz="UTC")
COLUMNS = ("event_id", "event_time", "known_at", "label", "label_known_at", "p_observed", "split")
"""The columns before those of the inputs, and before ``LABEL_SOURCE``."""
LABEL_SOURCE = "label_source"
"""The topic of the row's label, if there are several sources; null for no label."""


def set_schema(task: Task, inputs: Sequence[str], *, with_source: bool = False) -> pa.Schema:
    """The columns of a training set; ``with_source`` if labels have several sources."""
    kinds = (pa.string(), _TIME, _TIME, label_type(task), _TIME, pa.float64(), pa.string())
    source = [(LABEL_SOURCE, pa.string())] if with_source else []
    return pa.schema([*zip(COLUMNS, kinds, strict=True), *source, *((name, pa.float32()) for name in inputs)])


def write_parts(
    folder: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch], rows_per_part: int = ROWS_PER_PART
) -> tuple[SetPart, ...]:
    """Write ``part-00000.parquet`` and so on, each with at most ``rows_per_part`` rows.

    Args:
        folder: Where.
        schema: The columns.
        batches: The rows, in order, with columns of these types or of integers for times.
        rows_per_part: How many rows a file has.
    """
    parts: list[SetPart] = []
    writer: pq.ParquetWriter | None = None
    count, file = 0, folder
    size = min(_ROWS_PER_GROUP, rows_per_part)
    try:
        for group in _groups(schema, batches, size):
            if writer is None:
                file = folder / f"part-{len(parts):05}.parquet"
                writer = pq.ParquetWriter(file, schema, compression="zstd", version="2.6")
            writer.write_table(group, row_group_size=size)
            count += group.num_rows
            if count + size > rows_per_part:
                writer.close()
                parts.append(SetPart(file=file.name, rows=count, sha256=file_hash(file)))
                writer, count = None, 0
    finally:
        if writer is not None:
            writer.close()
    if count:
        parts.append(SetPart(file=file.name, rows=count, sha256=file_hash(file)))
    return tuple(parts)


def file_hash(file: Path) -> str:
    """The SHA-256 of a file's bytes."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def data_hash(
    files: Sequence[Path],
    inputs: Sequence[str],
    views: Mapping[str, str],
    task: Task,
    classes: Sequence[str],
    positive: str | None,
) -> str:
    """The hash that :class:`scoring.training_set.TrainingSet` has of the same rows: a model of these has the same one.

    It is of all ids, then of all times, vectors and labels, so the files are read four times, some columns each time.
    """
    digest = hashlib.sha256(_head(inputs, views))
    separator = b""
    for batch in _batches(files, ["event_id"]):
        text = json.dumps(batch.column(0).to_pylist()).encode()
        digest.update(separator + text[1:-1])
        separator = b", "
    digest.update(b"]]")
    for batch in _batches(files, ["event_time"]):
        digest.update(batch.column(0).cast("int64").to_numpy(zero_copy_only=False).astype("<i8").tobytes())
    for batch in _batches(files, list(inputs)):
        digest.update(matrix_of(batch, inputs).astype("<f4").tobytes())
    for batch in _batches(files, ["label"]):
        digest.update(_label_bytes(batch.column(0), task, classes))
    if task == "multiclass":
        digest.update(json.dumps([list(classes), positive]).encode())
    return digest.hexdigest()


def matrix_of(rows: pa.RecordBatch | pa.Table, inputs: Sequence[str]) -> NDArray[np.float32]:
    """The vectors [N, inputs] of rows, float32, null as NaN."""
    matrix = np.empty((rows.num_rows, len(inputs)), dtype=np.float32)
    for place, name in enumerate(inputs):
        matrix[:, place] = np.asarray(rows.column(name))
    return matrix


def _head(inputs: Sequence[str], views: Mapping[str, str]) -> bytes:
    """The JSON of names, views and ids up to the first id."""
    return json.dumps([list(inputs), dict(views), []], sort_keys=True).encode()[:-2]


def _label_bytes(labels: pa.Array, task: Task, classes: Sequence[str]) -> bytes:
    if task == "multiclass":
        places = {name: place for place, name in enumerate(classes)}
        return np.array([places[one] for one in labels.to_pylist()], dtype="<i2").tobytes()
    kind = "<f8" if task == "regression" else "i1"
    content: bytes = labels.to_numpy(zero_copy_only=False).astype(kind).tobytes()
    return content


def _batches(files: Sequence[Path], columns: list[str]) -> Iterator[pa.RecordBatch]:
    for path in files:
        with pq.ParquetFile(path) as file:
            yield from file.iter_batches(_ROWS_PER_GROUP, columns=columns)


def _groups(schema: pa.Schema, batches: Iterable[pa.RecordBatch], size: int) -> Iterator[pa.Table]:
    """The rows in tables of one length, but for the last."""
    held: list[pa.Table] = []
    count = 0
    for batch in batches:
        table = pa.table(
            [column.cast(of.type) for column, of in zip(batch.columns, schema, strict=True)], schema=schema
        )
        held.append(table)
        count += table.num_rows
        if count >= size:
            whole = pa.concat_tables(held)
            for begin in range(0, count - size + 1, size):
                yield whole.slice(begin, size).combine_chunks()
            rest = count % size
            held, count = ([whole.slice(count - rest)] if rest else []), rest
    if count:
        yield pa.concat_tables(held).combine_chunks()
