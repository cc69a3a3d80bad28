"""The columns of an archived topic: those of every record, and those of its decoded value."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import pyarrow as pa

from penstock.kafka.reading import Record
from sinks.archive.layout import is_dated

RECORD_SCHEMA = pa.schema(
    [
        ("_partition", pa.int32()),
        ("_offset", pa.int64()),
        ("_timestamp", pa.timestamp("ms", tz="UTC")),
        ("_key", pa.binary()),
        ("_headers", pa.list_(pa.struct([("name", pa.string()), ("value", pa.binary())]))),
        ("_value", pa.binary()),
        ("_error", pa.string()),
    ]
)
"""The columns of every record, whatever its topic. ``_error`` says why the decoded columns are null."""
IGNORED = "penstock.Ignored"
"""How ``_error`` of a record begins that is neither an event nor refused."""

FOLDER_COLUMNS = frozenset({"topic", "date", "hour"})
"""The columns that readers take from the names of folders; no file has a column of such a name."""

TIME = pa.timestamp("ms", tz="UTC")
NO_VALUE = "penstock.Tombstone: the record has no value"
_T = TypeVar("_T")


class ValueColumns(Protocol):
    """Decodes the values of a topic's records as columns."""

    id: str
    """Which columns these are: the contract and its version, or the record and its schema."""

    schema: pa.Schema

    def decode(self, records: Sequence[Record]) -> tuple[list[pa.Array], list[str | None]]:
        """The columns of the schema, and for each record why it has none; it is null in all of them then.

        Raises:
            PenstockError: only if a schema registry does not answer.
        """


class TopicColumns:
    """All columns of a topic.

    Args:
        values: The columns of its decoded values.
    """

    def __init__(self, values: ValueColumns) -> None:
        self._values = values
        fields = [*RECORD_SCHEMA, *values.schema]
        digest = hashlib.sha256(str(values.schema).encode()).hexdigest()[:8]
        self.id = f"{values.id}:{digest}"
        self.schema = pa.schema(fields, metadata={"penstock.columns": self.id})

    def batch(self, records: Sequence[Record]) -> pa.RecordBatch:
        """The records as rows, in their order.

        Raises:
            PenstockError: only if a schema registry does not answer.
        """
        decoded, errors = self._values.decode(records)
        timestamps = [record.timestamp if is_dated(record.timestamp) else None for record in records]
        own: list[Sequence[Any]] = [
            [record.partition for record in records],
            [record.offset for record in records],
            timestamps,
            [record.key for record in records],
            [_headers(record) for record in records],
            [record.value for record in records],
            errors,
        ]
        arrays = [pa.array(column, field.type) for column, field in zip(own, RECORD_SCHEMA, strict=True)]
        return pa.record_batch([*arrays, *decoded], schema=self.schema)


def column_name(field: str) -> str:
    """The column of a contract's field: its name, or ``event.<name>`` where readers would take it for a folder's."""
    return f"event.{field}" if field.lower() in FOLDER_COLUMNS else field


def fitting(
    rows: Sequence[_T | str], schema: pa.Schema, values: Callable[[Sequence[_T]], list[list[Any]]]
) -> tuple[list[pa.Array], list[str | None]]:
    """Arrays of decoded rows; a row that is a text is an error, and null in all columns.

    Args:
        rows: What was decoded of each record, or why nothing was.
        schema: The columns.
        values: The columns of rows, as lists.
    """
    errors: list[str | None] = [row if isinstance(row, str) else None for row in rows]
    try:
        return _arrays(rows, errors, schema, values), errors
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        pass
    # Garbage can decode to a number that its column does not take. Find the rows.
    for place, row in enumerate(rows):
        if not isinstance(row, str):
            try:
                _arrays([row], [None], schema, values)
            except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
                errors[place] = "penstock.Undecodable: a value does not fit its column"
    return _arrays(rows, errors, schema, values), errors


def _arrays(
    rows: Sequence[_T | str],
    errors: Sequence[str | None],
    schema: pa.Schema,
    values: Callable[[Sequence[_T]], list[list[Any]]],
) -> list[pa.Array]:
    good: list[Any] = [row for row, error in zip(rows, errors, strict=True) if error is None]
    columns = [pa.array(column, field.type) for column, field in zip(values(good), schema, strict=True)]
    if len(good) == len(rows):
        return columns
    places = iter(range(len(good)))
    wanted = pa.array([None if error is not None else next(places) for error in errors], pa.int64())
    return [column.take(wanted) for column in columns]


def _headers(record: Record) -> list[tuple[str, bytes | None]]:
    return list(record.headers)
