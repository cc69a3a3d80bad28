"""Feature records as the rows of a backfill: columns of Arrow, without a Python object for a value where possible."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from fastavro import schemaless_reader

from schemas.avro import parse_avro
from schemas.codec import Decoder
from schemas.columns import FEWEST, ColumnReader, Columns, Mask
from schemas.feature_types import FeatureType, element_of
from streams.plan.feature_records import features_schema
from streams.plan.model import PipelinePlan

_TIME = pa.timestamp("ms", tz="UTC")
_TYPES = {"string": pa.string(), "long": pa.int64(), "double": pa.float64(), "boolean": pa.bool_()}
_VIEW_FIELDS = {"entity": pa.string(), "as_of": _TIME, "late": pa.bool_(), "seq": pa.int64()}


def row_schema(plan: PipelinePlan, views: Iterable[str]) -> pa.Schema:
    """Return the Arrow schema of the rows of a backfill with these views; :mod:`backfill.parquet` explains it."""
    fields = [
        ("event_id", pa.string()),
        ("event_time", _TIME),
        ("source.partition", pa.int32()),
        ("source.offset", pa.int64()),
        ("source.timestamp", _TIME),
        *([("source.topic", pa.string())] if len(plan.triggering_topics) > 1 else []),
        *((f"event.{name}", _TYPES[kind]) for name, kind in plan.passthrough),
    ]
    for name in views:
        view = plan.view(name)
        fields += [(f"{name}.{field}", kind) for field, kind in _VIEW_FIELDS.items()]
        fields += [(f"{name}.{feature.name}", _feature_type(feature.type)) for feature in view.outputs]
    return pa.schema(fields)


class RowColumns:
    """Converts encoded feature records to rows.

    Args:
        plan: The pipeline's plan, whose definition encoded the records.
        views: The views whose features the rows have.

    Attributes:
        schema: The schema of the rows.
        texts: Their columns that are texts.

    Both ways, by columns and record by record, give the same. Records that :class:`schemas.columns.ColumnReader` does
    not vouch for, which are few, take the second.
    """

    def __init__(self, plan: PipelinePlan, views: Iterable[str]) -> None:
        self.schema = row_schema(plan, views)
        self.texts = [field.name for field in self.schema if pa.types.is_string(field.type)]
        record = features_schema(plan)
        self._reader, self._decoder = ColumnReader(record), Decoder(record)

    def batch(self, values: Sequence[bytes]) -> pa.RecordBatch:
        """Return the rows of encoded records, in the same order.

        Raises:
            Undecodable, UnknownSchema: if a value is no feature record of this definition.
        """
        if len(values) < FEWEST:
            return self._one_by_one(values)
        columns = self._reader.locate(values)
        if columns.plain.all():
            return self._of_columns(columns)
        plain, others = np.flatnonzero(columns.plain).tolist(), np.flatnonzero(~columns.plain).tolist()
        parts = [
            self._of_columns(self._reader.locate([values[row] for row in plain])),
            self._one_by_one([values[row] for row in others]),
        ]
        (rows,) = pa.Table.from_batches(parts).take(np.argsort([*plain, *others])).combine_chunks().to_batches()
        return rows

    def _of_columns(self, columns: Columns) -> pa.RecordBatch:
        # A row's columns have the names of the record's fields.
        return pa.RecordBatch.from_arrays([_array(columns, field) for field in self.schema], schema=self.schema)

    def _one_by_one(self, values: Sequence[bytes]) -> pa.RecordBatch:
        records = [self._decoder.decode(value) for value in values]
        arrays = [pa.array([_value(record, field.name) for record in records], field.type) for field in self.schema]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)


def _value(record: Mapping[str, Any], name: str) -> Any:
    part, _, field = name.partition(".")
    value = record[part]
    return value if not field or value is None else value[field]


def _array(columns: Columns, field: pa.Field) -> pa.Array:
    """A column's values; null where the field, or the record that has it, is null."""
    name, kind, present = field.name, field.type, columns.present(field.name)
    if pa.types.is_list(kind):
        return _lists(columns.encoded(name), present, kind)
    if pa.types.is_string(kind):
        texts = [text or b"" for text in columns.text_bytes(name)]
        ends = np.zeros(len(texts) + 1, np.int32)
        np.cumsum(np.fromiter(map(len, texts), np.int32, len(texts)), out=ends[1:])
        values = [pa.py_buffer(ends), pa.py_buffer(b"".join(texts))]
    elif pa.types.is_boolean(kind):
        values = [_bits(columns.numbers(name) == 1)]
    elif pa.types.is_floating(kind):
        values = [pa.py_buffer(columns.numbers(name))]
    else:
        values = [pa.py_buffer(columns.integers(name).astype(f"<i{kind.bit_width // 8}", copy=False))]
    # Not by pa.array or pa.record_batch: they import pandas, for half a second, and a NaN might become another one.
    return pa.Array.from_buffers(kind, len(present), [None if present.all() else _bits(present), *values])


def _lists(encoded: Sequence[bytes], present: Mask, kind: pa.DataType) -> pa.Array:
    items = next(name for name, item in _TYPES.items() if item == kind.value_type)
    avro = parse_avro({"type": "array", "items": items})
    lists = [
        schemaless_reader(io.BytesIO(data), avro, None) if has else None
        for data, has in zip(encoded, present.tolist(), strict=True)
    ]
    return pa.array(lists, kind)


def _bits(mask: Mask) -> pa.Buffer:
    return pa.py_buffer(np.packbits(mask, bitorder="little"))


def _feature_type(kind: FeatureType) -> pa.DataType:
    element = element_of(kind)
    return _TYPES[kind] if element is None else pa.list_(_TYPES[element])
