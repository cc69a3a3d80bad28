"""Reads many Avro records of one schema at once, as columns: no Python object for a record or a value.

:class:`ColumnReader` walks through all records side by side. At each field it holds one position per record, and moves
all of them with a few numpy operations. It only locates the fields. :class:`Columns` then gives the values of those
that are asked for, and the bytes of any field or run of fields as they stand, to be copied into another record.

The reader vouches only for what is plain. A record of another schema, one that is cut off or has bytes left over, an
unknown branch of a union, text that is not UTF-8, or an integer of more than eight bytes is not plain:
:class:`schemas.codec.Decoder` decides on it. :attr:`Columns.plain` tells the plain records.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from schemas.avro import fingerprint
from schemas.codec import HEADER_LENGTH, MARKER

Integers: TypeAlias = npt.NDArray[np.int64]
Numbers: TypeAlias = npt.NDArray[np.float64]
Mask: TypeAlias = npt.NDArray[np.bool_]
Words: TypeAlias = npt.NDArray[np.uint64]

FEWEST = 48
"""Fewer records than this are decoded faster one by one: a walk takes half a millisecond, however few they are."""

_WORD = 8
# The first byte of a union [null, T] is 0 for null and 2 for T.
_NOT_NULL = np.uint8(2)
# The high bit of each byte of a word; in a variable-length integer it says that another byte follows.
_HIGH_BITS = np.uint64(0x8080808080808080)
# The same of the first n bytes only.
_FIRST_HIGH_BITS = np.array([(1 << _WORD * n) - 1 & int(_HIGH_BITS) for n in range(_WORD + 1)], np.uint64)
# Longer texts are checked one by one: a walk takes a step for each word of the longest.
_LONG_TEXT = 64
# A record with a longer array is not plain: a walk takes a step for each item of the longest.
_LONG_ARRAY = 100
_ONE = np.uint64(1)


@dataclass(frozen=True, slots=True)
class Field:
    """Where one field stands in the data.

    Args:
        kind: Its Avro type without null: ``long``, ``double``, ``boolean``, ``string``, ``bytes``, ``record`` or
            ``array``.
        rows: The records that have it; None: all. Where a record within the record is null, its fields are absent.
        start: Position of the value's first byte, after the branch of a union.
        end: Position after the last byte: equal to ``start`` for null.
    """

    kind: str
    rows: Integers | None
    start: Integers
    end: Integers


class Columns:
    """The fields of n records. A name has the form ``field``, or ``record.field`` for a field of a nested record.

    Attributes:
        plain: (n,) Whether the reader vouches for the record; what the methods say of any other is meaningless.
    """

    def __init__(self, data: bytes, plain: Mask, fields: dict[str, Field]) -> None:
        self.plain = plain
        self._data = data
        self._fields = fields
        self._bytes = np.frombuffer(data, np.uint8)
        self._words = _at_each_byte(data, "<u8")
        self._doubles = _at_each_byte(data, "<f8")

    def __len__(self) -> int:
        return len(self.plain)

    def is_text(self, name: str) -> bool:
        """Whether the field is a text, by the schema."""
        return self._fields[name].kind == "string"

    def integers(self, name: str) -> Integers:
        """(n,) The values of an integer; 0 where it is null or absent."""
        field = self._fields[name]
        values = _integers(self._words, field.start)
        values[field.end == field.start] = 0
        return self._of_every_record(field, values, 0)

    def numbers(self, name: str) -> Numbers:
        """(n,) The values of a number or boolean; NaN where it is null or absent."""
        field = self._fields[name]
        match field.kind:
            case "double":
                values = self._doubles[field.start]
            case "boolean":
                values = self._bytes[field.start].astype(np.float64)
            case _:
                values = _integers(self._words, field.start).astype(np.float64)
        values[field.end == field.start] = np.nan
        return self._of_every_record(field, values, np.nan)

    def texts(self, name: str) -> list[str | None]:
        """The values of a text; None where it is null or absent."""
        return [None if text is None else text.decode(errors="replace") for text in self.text_bytes(name)]

    def text_bytes(self, name: str) -> list[bytes | None]:
        """The values of a text in UTF-8, without the length before them; None where it is null or absent."""
        field, data = self._fields[name], self._data
        # A text is preceded by its length in bytes; a null has neither.
        length = np.where(field.end > field.start, _integers(self._words, field.start), -1)
        column = [
            None if size < 0 else data[end - size : end]
            for end, size in zip(field.end.tolist(), length.tolist(), strict=True)
        ]
        return self._of_all(field, column, None)

    def present(self, name: str) -> Mask:
        """(n,) Whether the record has the field and its value is not null."""
        return self.sizes(name) > 0

    def sizes(self, name: str) -> Integers:
        """(n,) The length of the field's encoded value in bytes; 0 where it is null or absent."""
        field = self._fields[name]
        return self._of_every_record(field, field.end - field.start, 0)

    def encoded(self, first: str, last: str | None = None) -> list[bytes]:
        """The bytes from the first field to the last one, as they stand; empty where they are null or absent.

        The two fields belong to the same record. A branch of a union before the first is left out.
        """
        start, end, data = self._fields[first], self._fields[last or first], self._data
        spans = [data[a:b] for a, b in zip(start.start.tolist(), end.end.tolist(), strict=True)]
        return self._of_all(start, spans, b"")

    def equals(self, name: str, text: str) -> Mask:
        """(n,) Whether a text that is never null or absent is this one, of less than 64 bytes."""
        field = self._fields[name]
        expected = text.encode()
        same: Mask = (field.end - field.start == 1 + len(expected)) & (self._bytes[field.start] == 2 * len(expected))
        for place, byte in enumerate(expected, 1):
            # Not beyond the field: the last record's may be the last bytes of all.
            same &= self._bytes[np.minimum(field.start + place, field.end)] == byte
        return same

    def _of_every_record(self, field: Field, values: npt.NDArray[Any], absent: float) -> npt.NDArray[Any]:
        if field.rows is None:
            return values
        column = np.full(len(self), absent, values.dtype)
        column[field.rows] = values
        return column

    def _of_all(self, field: Field, values: list[Any], absent: Any) -> list[Any]:
        if field.rows is None:
            return values
        column = [absent] * len(self)
        for row, value in zip(field.rows.tolist(), values, strict=True):
            column[row] = value
        return column


class ColumnReader:
    """Locates the fields of records of one schema, in single-object encoding.

    Args:
        schema: An Avro record of ``int``, ``long``, ``double``, ``boolean``, ``string``, ``bytes``, records, arrays of
            these, and unions of null with any of them, null first.
    """

    def __init__(self, schema: dict[str, Any]) -> None:
        self._schema = schema
        self._header = MARKER + fingerprint(schema)
        # A walk may go astray beyond the last record, by at most this much: nine bytes for each field.
        self._padding = bytes(_WORD + HEADER_LENGTH + 9 * _fields_of(schema))

    def locate(self, values: Sequence[bytes]) -> Columns:
        """Locate the fields of the records."""
        data = b"".join([*values, self._padding])
        lengths = np.fromiter(map(len, values), np.int64, len(values))
        ends = np.cumsum(lengths)
        starts = ends - lengths
        walk = _Walk(data, ends)
        # Two overlapping words make up the ten bytes of the header.
        for place in (0, HEADER_LENGTH - _WORD):
            expected = np.frombuffer(self._header, "<u8", 1, place)
            walk.refuse(None, walk.words[starts + place] != expected)
        walk.refuse(None, walk.record(self._schema, "", None, starts + HEADER_LENGTH) != ends)
        return Columns(data, ~walk.wrong, walk.fields)


class _Walk:
    """One walk through all records, which end at ``ends``, and the fields located so far.

    ``rows`` says which records an argument is about; None: all.
    """

    def __init__(self, data: bytes, ends: Integers) -> None:
        self.fields: dict[str, Field] = {}
        self.wrong = np.zeros(len(ends), np.bool_)
        self.words = _at_each_byte(data, "<u8")
        self._bytes = np.frombuffer(data, np.uint8)
        self._data = data
        self._ends = ends

    def refuse(self, rows: Integers | None, wrong: Mask) -> None:
        """Mark as not plain those of the rows at which ``wrong`` is true."""
        if wrong.any():
            self.wrong[np.flatnonzero(wrong) if rows is None else rows[wrong]] = True

    def record(self, schema: Any, prefix: str, rows: Integers | None, at: Integers) -> Integers:
        """Locate the fields of the records that begin at ``at``; returns where the records end."""
        for field in schema["fields"]:
            at = self._field(field["type"], prefix + field["name"], rows, at)
        return at

    def _field(self, avro: Any, name: str, rows: Integers | None, start: Integers) -> Integers:
        if not isinstance(avro, list):
            end = self._value(avro, name, rows, start)
        else:
            avro = avro[1]
            branch = self._bytes[start]
            self.refuse(rows, (branch & ~_NOT_NULL) != 0)
            branch = branch & _NOT_NULL
            start = start + 1
            if avro == "double":
                end = start + (_WORD // int(_NOT_NULL)) * branch.astype(np.int64)
            elif branch.all():
                end = self._value(avro, name, rows, start)
            else:
                has, end = np.flatnonzero(branch), start.copy()
                end[has] = self._value(avro, name, has if rows is None else rows[has], start[has])
        self.fields[name] = Field(_kind(avro), rows, start, end)
        return end

    def _value(self, avro: Any, name: str, rows: Integers | None, at: Integers) -> Integers:
        match _kind(avro):
            case "double":
                return at + _WORD
            case "boolean":
                self.refuse(rows, self._bytes[at] > 1)
                return at + 1
            case "long":
                return self._after_integer(rows, at)
            case "string" | "bytes" as kind:
                return self._after_bytes(rows, at, is_text=kind == "string")
            case "array":
                return self._after_array(avro["items"], name, rows, at)
            case _:
                return self.record(avro, f"{name}.", rows, at)

    def _after_integer(self, rows: Integers | None, at: Integers) -> Integers:
        last = _last_byte(self.words[at])
        self.refuse(rows, last == 0)
        # The bit that ends an integer of n bytes is the bit 8 n - 1.
        length: Integers = (np.bitwise_count(last - _ONE).astype(np.int64) + 1) // _WORD
        return at + length

    def _after_bytes(self, rows: Integers | None, at: Integers, *, is_text: bool) -> Integers:
        start, length = self._after_integer(rows, at), _integers(self.words, at)
        room = np.maximum((self._ends if rows is None else self._ends[rows]) - start, 0)
        self.refuse(rows, (length < 0) | (length > room))
        end = start + np.clip(length, 0, room)
        if is_text:
            self._refuse_other_than_text(rows, start, end)
        return end

    def _refuse_other_than_text(self, rows: Integers | None, start: Integers, end: Integers) -> None:
        rest = end - start
        other = rest > _LONG_TEXT
        for done in range(0, min(_LONG_TEXT, int(rest.max(initial=0))), _WORD):
            other |= (self.words[np.minimum(start + done, end)] & _FIRST_HIGH_BITS[np.clip(rest - done, 0, _WORD)]) != 0
        for row in np.flatnonzero(other).tolist():
            try:
                self._data[start[row] : end[row]].decode()
            except UnicodeDecodeError:
                self.wrong[row if rows is None else rows[row]] = True

    def _after_array(self, items: Any, name: str, rows: Integers | None, at: Integers) -> Integers:
        """Blocks of items until an empty block; the first items of all arrays at once, then the second ones."""
        at, rows = at.copy(), np.arange(len(at)) if rows is None else rows
        unfinished, items_read = np.arange(len(at)), 0
        while len(unfinished):
            count = _integers(self.words, at[unfinished])
            at[unfinished] = self._after_integer(rows[unfinished], at[unfinished])
            # Avro also allows a negative count, followed by the block's length; Penstock writes none.
            self.refuse(rows[unfinished], count < 0)
            unfinished, left = unfinished[count > 0], count[count > 0]
            within = unfinished
            while len(within):
                at[within] = self._value(items, f"{name}.", rows[within], at[within])
                left, items_read = left - 1, items_read + 1
                plain = (at[within] <= self._ends[rows[within]]) & (items_read <= _LONG_ARRAY)
                self.refuse(rows[within], ~plain)
                within, left = within[plain & (left > 0)], left[plain & (left > 0)]
            unfinished = unfinished[~self.wrong[rows[unfinished]]]
        return at


def slices(data: bytes, length: int) -> list[bytes]:
    """The data, cut into pieces of this length."""
    return [data[start : start + length] for start in range(0, len(data), length)]


def _kind(avro: Any) -> str:
    kind = str(avro["type"] if isinstance(avro, dict) else avro)
    return "long" if kind == "int" else kind


def _fields_of(schema: Any) -> int:
    """How many fields a schema has, those of nested records and of an array's items included."""
    if isinstance(schema, list):
        return sum(map(_fields_of, schema))
    if _kind(schema) == "array":
        return 1 + _fields_of(schema["items"])
    if _kind(schema) == "record":
        return sum(1 + _fields_of(field["type"]) for field in schema["fields"])
    return 1


def _at_each_byte(data: bytes, dtype: str) -> npt.NDArray[Any]:
    """The eight-byte value that begins at each byte, without copying the data."""
    return np.ndarray((len(data) - _WORD + 1,), dtype, buffer=data, strides=(1,))


def _last_byte(words: Words) -> Words:
    """The high bit of the byte that ends the integer at the start of each word; 0 if the word does not hold its end."""
    ends = ~words & _HIGH_BITS
    return ends & (~ends + _ONE)


def _integers(words: Words, at: Integers) -> Integers:
    """The integers at these positions, each of at most eight bytes of seven bits, zigzag-encoded."""
    word = words[at]
    word &= (_last_byte(word) - _ONE) & ~_HIGH_BITS
    for group, width in _GROUPS:
        word = (word & group) | ((word & ~group) >> width)
    return ((word >> _ONE) ^ (~(word & _ONE) + _ONE)).view(np.int64)


# How to close the gaps between groups of 7, 14 and 28 bits: which groups stay, and by how much the others move.
_GROUPS = [
    (np.uint64(group), np.uint64(width))
    for group, width in ((0x007F007F007F007F, 1), (0x00003FFF00003FFF, 2), (0x000000000FFFFFFF, 4))
]
