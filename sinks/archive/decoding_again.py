"""Decodes the original bytes of archived files again: what their decoded columns must be, whoever wrote them.

Hashes tell that a file is as it was written. They do not tell of a writer or a compaction that wrote something wrong.
"""

from __future__ import annotations

import pyarrow as pa

from penstock.counts import counted
from penstock.kafka.reading import Record
from sinks.archive.batch import CHUNK
from sinks.archive.columns import TopicColumns


def wrong_columns(table: pa.Table, columns: TopicColumns) -> str | None:
    """Which decoded columns of a file do not follow from its original bytes; None if all do.

    Args:
        table: All columns of the file.
        columns: The topic's columns, which must be those that the file was written with.

    Raises:
        PenstockError: only if a schema registry does not answer.
    """
    if table.column_names != columns.schema.names:
        return f"its columns are not those of {columns.id}"
    rows, names = 0, set[str]()
    for batch in table.to_batches(max_chunksize=CHUNK):
        wanted = columns.batch(_records(batch))
        wrong: set[int] = set()
        for name, found, expected in zip(table.column_names, batch.columns, wanted.columns, strict=True):
            if not found.equals(expected):
                pairs = zip(found.to_pylist(), expected.to_pylist(), strict=True)
                # As texts, NaN is like NaN.
                places = [place for place, (one, other) in enumerate(pairs) if repr(one) != repr(other)]
                wrong |= {*places}
                names |= {name} if places else set()
        rows += len(wrong)
    if not rows:
        return None
    return f"{', '.join(sorted(names))} of {counted(rows, 'row')} do not follow from the original bytes"


def _records(batch: pa.RecordBatch) -> list[Record]:
    """The records that the rows were made of."""
    times = batch.column("_timestamp").cast(pa.int64()).fill_null(-1).to_pylist()
    own = (batch.column(f"_{name}").to_pylist() for name in ("partition", "offset", "key", "value", "headers"))
    return [
        Record(partition, offset, timestamp, key, value, tuple((one["name"], one["value"]) for one in headers))
        for partition, offset, key, value, headers, timestamp in zip(*own, times, strict=True)
    ]
