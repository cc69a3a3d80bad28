"""Rows of the history store in CQL's binary form, made of single records or of many at once.

This module connects to nothing. Both ways give the same rows.
"""

from __future__ import annotations

import io
import itertools
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from cassandra import ProtocolVersion
from cassandra.cqltypes import (
    BooleanType,
    BytesType,
    DoubleType,
    Int32Type,
    ListType,
    LongType,
    TupleType,
    UTF8Type,
)
from cassandra.query import UNSET_VALUE
from fastavro import schemaless_reader

from schemas.avro import parse_avro
from schemas.codec import Undecodable
from schemas.columns import Columns, Mask, slices
from schemas.records import VIEW_FIELD_NAMES
from sinks.cassandra_tables import FEATURES, SLOT_MS, Table
from streams.plan.feature_records import view_schema
from streams.plan.model import ViewPlan

# A message of CQL, and so a row, has at most 16 MiB (native_transport_max_frame_size; commitlog_segment_size is twice
# that): Cassandra would refuse a longer row at every attempt. The rest is for the message around the row.
MAX_ROW_BYTES = 16 * 2**20 - 64 * 1024
# The size of a cell without its value: flags, lengths, times.
_CELL_BYTES = 16
# Longer parts of feature records become rows one by one, where the limits of rows and keys are checked.
_LONG_BYTES = 32_000
_TYPES = {
    "text": UTF8Type,
    "int": Int32Type,
    "bigint": LongType,
    "double": DoubleType,
    "boolean": BooleanType,
    "blob": BytesType,
}
_KEY_PART = struct.Struct(">H").pack
_LENGTH = struct.Struct(">i").pack
_LENGTH_BYTES = 4
_NULL = _LENGTH(-1)
# The bytes of a value, of the types that always take as many.
_FIXED = {"double": 8, "bigint": 8, "boolean": 1}

Serialise: TypeAlias = Callable[[Any], bytes]


class Row(NamedTuple):
    """A row for a table.

    Args:
        table: The table's name.
        key: Its partition key, as Cassandra hashes it.
        values: The bytes of each column, in the order of the table's INSERT; UNSET_VALUE where it has no value.
        size: About as many bytes as the server counts of it.
    """

    table: str
    key: bytes
    values: tuple[Any, ...]
    size: int


class RowFormat:
    """Makes the rows of one table."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._serialisers = {name: _serialiser(table, name) for name in table.columns}
        self._key = [list(table.columns).index(name) for name in table.partition]

    def row(self, values: Mapping[str, Any]) -> Row:
        """The row with the values of the table's columns; others are left out.

        Raises:
            Undecodable: if Cassandra cannot hold it.
        """
        name = self._table.name
        try:
            # A written null would be a tombstone; an unset column costs nothing. Rows never change, so no earlier value
            # can show through.
            encoded = tuple(
                UNSET_VALUE if (value := values[column]) is None else serialise(value)
                for column, serialise in self._serialisers.items()
            )
        except struct.error as error:
            raise Undecodable(f"a row of {name} has an integer that its column cannot hold") from error
        size = _CELL_BYTES * len(encoded) + sum(len(value) for value in encoded if value is not UNSET_VALUE)
        if size > MAX_ROW_BYTES:
            raise Undecodable(f"a row of {name} is longer than the {MAX_ROW_BYTES} bytes that Cassandra takes")
        return Row(name, self._routing_key(encoded), encoded, size)

    def _routing_key(self, values: Sequence[Any]) -> bytes:
        if len(self._key) == 1:
            return bytes(values[self._key[0]])
        return _composite(*(values[place] for place in self._key))


class HistoryFormat(RowFormat):
    """Makes the rows of a view's history."""

    def __init__(self, table: Table, view: ViewPlan) -> None:
        super().__init__(table)
        of_view = {name: f"{view.name}.{name}" for name in VIEW_FIELD_NAMES}
        self._view = view.name
        self._fields = {name: of_view.get(name, name) for name in table.columns}
        self._features = _FeaturesFormat(table, view)

    def of_columns(self, columns: Columns) -> tuple[list[Row], Mask]:
        """A row for each record, and whether it can be used; see :data:`sinks.feature_batches.OfColumns`."""
        values = {name: self._column(name, columns) for name in self._table.columns}
        table, cells = self._table.name, _CELL_BYTES * len(values)
        keys = map(_composite, *(values[name] for name in self._table.partition))
        found = zip(keys, zip(*values.values(), strict=True), strict=True)
        rows = [Row(table, key, row, cells + sum(map(len, row))) for key, row in found]
        return rows, columns.sizes(self._view) < _LONG_BYTES

    def _column(self, name: str, columns: Columns) -> list[bytes]:
        """The column's value in each record; no value of a record with this view is null."""
        if name == "slot":
            return slices((columns.integers(self._fields["as_of"]) // SLOT_MS).astype(">i8").tobytes(), 8)
        if name == FEATURES:
            return self._features.of_columns(columns)
        field = self._fields[name]
        match self._table.columns[name]:
            case "bigint":
                return slices(columns.integers(field).astype(">i8").tobytes(), 8)
            case "boolean":
                return columns.encoded(field)
            case _:
                return [text or b"" for text in columns.text_bytes(field)]


class _FeaturesFormat:
    """Makes the column ``features``: of each feature its length and its value, or the length -1 for null."""

    def __init__(self, table: Table, view: ViewPlan) -> None:
        self._fields = [(f"{view.name}.{name}", cql) for name, cql in table.features.items()]
        # Neighbours of fixed length are made at once.
        self._runs = [list(run) for _, run in itertools.groupby(self._fields, lambda field: field[1] in _FIXED)]
        kinds = {field["name"]: field["type"] for field in view_schema(view)["fields"]}
        self._arrays = {
            f"{view.name}.{name}": parse_avro(kinds[name][1] if isinstance(kinds[name], list) else kinds[name])
            for name, cql in table.features.items()
            if cql not in _TYPES
        }

    def of_columns(self, columns: Columns) -> list[bytes]:
        """The column's value in each record."""
        parts = []
        for run in self._runs:
            if run[0][1] in _FIXED:
                parts.append(_fixed_fields(columns, run))
            else:
                parts += [self._of_any_length(columns, field, cql) for field, cql in run]
        return parts[0] if len(parts) == 1 else [b"".join(row) for row in zip(*parts, strict=True)]

    def _of_any_length(self, columns: Columns, field: str, cql: str) -> list[bytes]:
        if cql == "text":
            return [_NULL if text is None else _with_length(text) for text in columns.text_bytes(field)]
        array, serialise = self._arrays[field], _serialiser_of(cql)
        # A record that is not plain can have anything in this place.
        return [
            _with_length(serialise(schemaless_reader(io.BytesIO(avro), array, None))) if avro and is_plain else _NULL
            for avro, is_plain in zip(columns.encoded(field), columns.plain.tolist(), strict=True)
        ]


def _fixed_fields(columns: Columns, fields: Sequence[tuple[str, str]]) -> list[bytes]:
    """The fields of each record, all of them of a fixed length: cut from one matrix, without the values of nulls."""
    starts = np.cumsum([0, *(_LENGTH_BYTES + _FIXED[cql] for _, cql in fields)]).tolist()
    data = np.empty((len(columns), starts[-1]), np.uint8)
    kept = np.ones(data.shape, np.bool_)
    for (field, cql), start, end in zip(fields, starts, starts[1:], strict=False):
        match cql:
            case "double":
                values = columns.numbers(field).astype(">f8")
            case "boolean":
                values = columns.numbers(field) == 1
            case _:
                values = columns.integers(field).astype(">i8")
        value, present = start + _LENGTH_BYTES, columns.present(field)
        data[:, start:value] = np.where(present, _FIXED[cql], -1).astype(">i4")[:, None].view(np.uint8)
        data[:, value:end] = values[:, None].view(np.uint8)
        kept[:, value:end] = present[:, None]
    if kept.all():
        return slices(data.tobytes(), starts[-1])
    whole, ends = data[kept].tobytes(), np.cumsum(kept.sum(axis=1)).tolist()
    return [whole[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]


def _composite(*parts: bytes) -> bytes:
    """A partition key of several columns, as Cassandra hashes it."""
    return b"".join([_KEY_PART(len(part) & 0xFFFF) + part + b"\0" for part in parts])


def _serialiser(table: Table, column: str) -> Serialise:
    """Makes the bytes of a value of the column."""
    if column != FEATURES:
        return _serialiser_of(table.columns[column])
    fields = {name: _serialiser_of(cql) for name, cql in table.features.items()}
    return lambda values: b"".join(
        _NULL if values[name] is None else _with_length(serialise(values[name])) for name, serialise in fields.items()
    )


def _serialiser_of(cql: str) -> Serialise:
    kind = _driver_type(cql)
    return lambda value: bytes(kind.serialize(value, ProtocolVersion.V5))


def _with_length(value: bytes) -> bytes:
    """A value as a field of a column's type: its length, and the value."""
    return _LENGTH(len(value)) + value


def _driver_type(cql: str) -> Any:
    """The driver's type of a column of :mod:`sinks.cassandra_tables`."""
    if cql.startswith("frozen<list<"):
        return ListType.apply_parameters([_driver_type(cql.removeprefix("frozen<list<").removesuffix(">>"))])
    if cql.startswith("frozen<tuple<"):
        return _driver_type(cql.removeprefix("frozen<").removesuffix(">"))
    if cql.startswith("tuple<"):
        parts = cql.removeprefix("tuple<").removesuffix(">").split(", ")
        return TupleType.apply_parameters([_driver_type(part) for part in parts])
    return _TYPES[cql]
