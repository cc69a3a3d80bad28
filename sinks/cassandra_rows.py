"""Rows of the history store in CQL's binary form, made of single records or of many at once.

This module connects to nothing. Both ways give the same rows.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

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
from sinks.cassandra_tables import SLOT_MS, Table
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

Serialise: TypeAlias = Callable[[Any], bytes]


class Row(NamedTuple):
    """A row for a table.

    Args:
        table: The table's name.
        key: Its partition key, as Cassandra hashes it.
        values: The bytes of each column, in the order of the table's INSERT; UNSET_VALUE where it has no value.
    """

    table: str
    key: bytes
    values: tuple[Any, ...]

    @property
    def size(self) -> int:
        """About as many bytes as the server counts of it."""
        return _CELL_BYTES * len(self.values) + sum(len(value) for value in self.values if value is not UNSET_VALUE)


class RowFormat:
    """Makes the rows of one table."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._serialisers = {name: _serialiser(cql) for name, cql in table.columns.items()}
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
        row = Row(name, self._routing_key(encoded), encoded)
        if row.size > MAX_ROW_BYTES:
            raise Undecodable(f"a row of {name} is longer than the {MAX_ROW_BYTES} bytes that Cassandra takes")
        return row

    def _routing_key(self, values: Sequence[Any]) -> bytes:
        if len(self._key) == 1:
            return bytes(values[self._key[0]])
        return _composite(*(values[place] for place in self._key))


class HistoryFormat(RowFormat):
    """Makes the rows of a view's history."""

    def __init__(self, table: Table, view: ViewPlan) -> None:
        super().__init__(table)
        fields = {field["name"]: field["type"] for field in view_schema(view)["fields"]}
        self._view = view.name
        self._fields = {name: f"{view.name}.{name}" if name in fields else name for name in table.columns}
        self._arrays = {
            name: parse_avro(kind[1] if isinstance(kind, list) else kind)
            for name, kind in fields.items()
            if table.columns[name].startswith("frozen<list")
        }

    def of_columns(self, columns: Columns) -> tuple[list[Row], Mask]:
        """A row for each record, and whether it can be used; see :data:`sinks.feature_batches.OfColumns`."""
        values = {name: self._column(name, columns) for name in self._table.columns}
        table = self._table.name
        keys = map(_composite, *(values[name] for name in self._table.partition))
        rows = [Row(table, key, row) for key, row in zip(keys, zip(*values.values(), strict=True), strict=True)]
        return rows, columns.sizes(self._view) < _LONG_BYTES

    def _column(self, name: str, columns: Columns) -> list[Any]:
        """The column's value in each record."""
        field = self._fields[name]
        match self._table.columns[name]:
            case _ if name == "slot":
                return slices((columns.integers(f"{self._view}.as_of") // SLOT_MS).astype(">i8").tobytes(), 8)
            case "bigint":
                values: Sequence[Any] = slices(columns.integers(field).astype(">i8").tobytes(), 8)
            case "double":
                values = slices(columns.numbers(field).astype(">f8").tobytes(), 8)
            case "boolean":
                values = columns.encoded(field)
            case "text":
                values = [text or b"" for text in columns.text_bytes(field)]
            case _:
                array, serialise = self._arrays[name], self._serialisers[name]
                # A record that is not plain can have anything in this place.
                values = [
                    serialise(schemaless_reader(io.BytesIO(avro), array, None)) if avro and is_plain else b""
                    for avro, is_plain in zip(columns.encoded(field), columns.plain.tolist(), strict=True)
                ]
        present = columns.present(field)
        if present.all():
            return list(values)
        return [value if there else UNSET_VALUE for value, there in zip(values, present.tolist(), strict=True)]


def _composite(*parts: Any) -> bytes:
    """A partition key of several columns, as Cassandra hashes it."""
    return b"".join([_KEY_PART(len(part) & 0xFFFF) + part + b"\0" for part in parts if part is not UNSET_VALUE])


def _serialiser(cql: str) -> Serialise:
    kind = _driver_type(cql)
    return lambda value: bytes(kind.serialize(value, ProtocolVersion.V5))


def _driver_type(cql: str) -> Any:
    """The driver's type of a column of :mod:`sinks.cassandra_tables`."""
    if cql.startswith("frozen<list<"):
        return ListType.apply_parameters([_driver_type(cql.removeprefix("frozen<list<").removesuffix(">>"))])
    if cql.startswith("tuple<"):
        parts = cql.removeprefix("tuple<").removesuffix(">").split(", ")
        return TupleType.apply_parameters([_driver_type(part) for part in parts])
    return _TYPES[cql]
