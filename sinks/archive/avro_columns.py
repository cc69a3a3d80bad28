"""The decoded columns of features and predictions: the fields of their Avro schema.

The fields of a nested record are columns of their own, as ``source.offset`` or ``view.feature``: features have the
columns of a backfill's rows, and more. An array is a list, of structs if its items are records. Most records are
decoded together (:mod:`schemas.columns`), those of earlier schemas and damaged ones one by one.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from fastavro import schemaless_reader

from penstock.kafka.reading import Record
from schemas.avro import fingerprint, parse_avro
from schemas.codec import Decoder, Undecodable, UnknownSchema
from schemas.columns import FEWEST, ColumnReader, Columns
from sinks.archive.columns import NO_VALUE, TIME, fitting

_TYPES = {
    "string": pa.string(),
    "bytes": pa.binary(),
    "int": pa.int32(),
    "long": pa.int64(),
    "double": pa.float64(),
    "boolean": pa.bool_(),
}
_INT32_MAX = 2**31 - 1


class _Leaf(NamedTuple):
    """A column: its name, the names on the way to it, its Avro type without null, and its Arrow type."""

    name: str
    path: tuple[str, ...]
    avro: Any
    arrow: pa.DataType


class AvroColumns:
    """The columns of Penstock's own records.

    Args:
        name: What the records are, for the id of the columns.
        schema: The current Avro schema.
        decoder: Decodes records of all releases and definitions to it.
    """

    def __init__(self, name: str, schema: dict[str, Any], decoder: Decoder) -> None:
        self.id = f"{name}@{fingerprint(schema).hex()}"
        self._leaves = list(_leaves(schema["fields"], ()))
        self.schema = pa.schema([(leaf.name, leaf.arrow) for leaf in self._leaves])
        self._arrays = {leaf.name: parse_avro(leaf.avro) for leaf in self._leaves if _is_array(leaf.avro)}
        self._reader = ColumnReader(schema)
        self._decoder = decoder

    def decode(self, records: Sequence[Record]) -> tuple[list[pa.Array], list[str | None]]:
        """As :meth:`sinks.archive.columns.ValueColumns.decode`."""
        if len(records) < FEWEST:
            return self._one_by_one(records)
        located = self._reader.locate([record.value or b"" for record in records])
        plain = located.plain & np.array([record.value is not None for record in records])
        for leaf in self._leaves:
            if leaf.avro == "int":
                plain &= np.abs(located.integers(leaf.name)) <= _INT32_MAX
        columns = [self._column(located, leaf, plain) for leaf in self._leaves]
        others = np.flatnonzero(~plain).tolist()
        if not others:
            return columns, [None] * len(records)
        decoded, found = self._one_by_one([records[row] for row in others])
        errors: list[str | None] = [None] * len(records)
        places = np.arange(len(records))
        for number, (row, error) in enumerate(zip(others, found, strict=True)):
            places[row], errors[row] = len(records) + number, error
        both = (pa.concat_arrays(pair) for pair in zip(columns, decoded, strict=True))
        return [column.take(pa.array(places)) for column in both], errors

    def _column(self, located: Columns, leaf: _Leaf, plain: Any) -> pa.Array:
        """A column of all records; of those that are not plain it has nothing, or anything of its type."""
        present = located.present(leaf.name) & plain
        if leaf.name in self._arrays:
            values = located.encoded(leaf.name)
            return pa.array(
                [self._array(leaf, v) if p else None for v, p in zip(values, present, strict=True)], leaf.arrow
            )
        match leaf.avro:
            case "string" | "bytes":
                texts = located.text_bytes(leaf.name)
                kept = [text if is_kept else None for text, is_kept in zip(texts, present.tolist(), strict=True)]
                return pa.array(kept, pa.binary()).cast(leaf.arrow)
            case "double":
                return pa.array(located.numbers(leaf.name), leaf.arrow, mask=~present)
            case "boolean":
                return pa.array(located.numbers(leaf.name) == 1, leaf.arrow, mask=~present)
            case _:
                integers = np.where(present, located.integers(leaf.name), 0)
                return pa.array(integers, pa.int64(), mask=~present).cast(leaf.arrow)

    def _array(self, leaf: _Leaf, data: bytes) -> Any:
        return schemaless_reader(io.BytesIO(data), self._arrays[leaf.name], None)

    def _one_by_one(self, records: Sequence[Record]) -> tuple[list[pa.Array], list[str | None]]:
        return fitting([self._decode_one(record.value) for record in records], self.schema, self._rows)

    def _decode_one(self, value: bytes | None) -> dict[str, Any] | str:
        if value is None:
            return NO_VALUE
        try:
            return self._decoder.decode(value)
        except (Undecodable, UnknownSchema) as error:
            return f"penstock.{type(error).__name__}: {error.what}"

    def _rows(self, records: Sequence[dict[str, Any]]) -> list[list[Any]]:
        return [[_value(record, leaf.path) for record in records] for leaf in self._leaves]


def _leaves(fields: Sequence[dict[str, Any]], path: tuple[str, ...]) -> Iterator[_Leaf]:
    for field in fields:
        avro, at = _not_null(field["type"]), (*path, field["name"])
        if isinstance(avro, dict) and avro["type"] == "record":
            yield from _leaves(avro["fields"], at)
        else:
            yield _Leaf(".".join(at), at, avro, _arrow(field))


def _arrow(field: dict[str, Any]) -> pa.DataType:
    avro = _not_null(field["type"])
    if _is_array(avro):
        return pa.list_(_arrow({"name": "item", "type": avro["items"]}))
    if isinstance(avro, dict):
        return pa.struct([(part["name"], _arrow(part)) for part in avro["fields"]])
    return TIME if _is_time(field) else _TYPES[avro]


def _is_time(field: dict[str, Any]) -> bool:
    """Whether a field is a point in time by its description; an attempt is a time too, and used as an id."""
    return str(field.get("doc", "")).endswith("epoch ms") and field["name"] != "attempt"


def _is_array(avro: Any) -> bool:
    return isinstance(avro, dict) and avro["type"] == "array"


def _not_null(avro: Any) -> Any:
    return avro[1] if isinstance(avro, list) else avro


def _value(record: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        if record is None:
            return None
        record = record[name]
    return record
