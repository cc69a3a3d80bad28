"""Decodes Avro records of numbers and booleans, null or not, in half the time of a general decoder.

A general decoder takes a step for each field. Here one regular expression locates all fields of a record: every atom of
it is decided by its first byte, so that there is nothing to try twice. Texts and arrays are as long as a number before
them says, which no regular expression can follow: schemas with such fields are left to :class:`schemas.codec.Decoder`,
and so is every record that does not fit.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Self, TypeAlias

import numpy as np
import numpy.typing as npt

Encoded: TypeAlias = tuple[bytes | None, ...]
"""The bytes of each field; None for null. A double has nine: its branch of the union comes first."""

# At most eight bytes, so that nine are always a double.
_LONG = rb"[\x80-\xff]{0,7}+[\x00-\x7f]"
_BOOLEAN = rb"[\x00\x01]"
_SKIPPED = {"long": _LONG, "boolean": _BOOLEAN}
_FIELD = {
    "long": rb"(" + _LONG + rb")",
    "boolean": rb"(" + _BOOLEAN + rb")",
    "double or null": rb"(?:(\x02.{8})|\x00)",
    "long or null": rb"(?:\x02(" + _LONG + rb")|\x00)",
    "boolean or null": rb"(?:\x02(" + _BOOLEAN + rb")|\x00)",
}
_DOUBLE_LENGTH = 9
_double = struct.Struct("<xd").unpack
_DOUBLES = np.dtype([("branch", "u1"), ("value", "<f8")])
_NAN = struct.pack("<xd", float("nan"))


class NumberRecords:
    """Decodes the fields of records of one form, by name.

    Args:
        names: The fields that are decoded, which come last in the record.
        kinds: Their Avro types, with `` or null`` if they are nullable.
        skipped: The types of the fields right before them: ``long`` or ``boolean``.
    """

    def __init__(self, names: Sequence[str], kinds: Sequence[str], skipped: Sequence[str]) -> None:
        self.names = tuple(names)
        pattern = b"".join([*(_SKIPPED[kind] for kind in skipped), *(_FIELD[kind] for kind in kinds)])
        self._fullmatch = re.compile(pattern, re.DOTALL).fullmatch
        self._is_double = [kind.startswith("double") for kind in kinds]
        self._booleans = [name for name, kind in zip(names, kinds, strict=True) if kind.startswith("boolean")]

    @classmethod
    def of(cls, fields: Sequence[dict[str, Any]], skipped: Sequence[dict[str, Any]]) -> Self | None:
        """The decoder of these fields of an Avro schema, those of ``skipped`` before them; None if it cannot be."""
        kinds, before = [_kind(field["type"]) for field in fields], [_kind(field["type"]) for field in skipped]
        if not fields or not _FIELD.keys() >= set(kinds) or not _SKIPPED.keys() >= set(before):
            return None
        return cls([field["name"] for field in fields], kinds, before)

    def locate(self, data: bytes, start: int) -> Encoded | None:
        """The fields of the record whose skipped fields begin at ``start``; None if the data does not fit."""
        found = self._fullmatch(data, start)
        return None if found is None else found.groups()

    def values(self, encoded: Encoded) -> dict[str, Any]:
        """The values of a record's fields, in their order."""
        values = {
            name: None if data is None else _double(data)[0] if len(data) == _DOUBLE_LENGTH else _long(data)
            for name, data in zip(self.names, encoded, strict=True)
        }
        for name in self._booleans:
            if values[name] is not None:
                values[name] = values[name] != 0
        return values

    def matrix(self, rows: Sequence[Encoded]) -> npt.NDArray[np.float64]:
        """(rows, fields) The values of n records; null is NaN, a boolean 0 or 1."""
        matrix = np.empty((len(rows), len(self.names)))
        columns = zip(*rows, strict=True)
        for place, (column, is_double) in enumerate(zip(columns, self._is_double, strict=True) if rows else ()):
            if is_double:
                matrix[:, place] = np.frombuffer(b"".join([data or _NAN for data in column]), _DOUBLES)["value"]
            else:
                matrix[:, place] = [np.nan if data is None else _long(data) for data in column]
        for name in self._booleans:
            place = self.names.index(name)
            matrix[:, place] = np.abs(matrix[:, place])
        return matrix


def _kind(avro: Any) -> str:
    return f"{avro[1]} or null" if isinstance(avro, list) and avro[0] == "null" else str(avro)


@lru_cache(8_192)  # most are small counts
def _long(data: bytes) -> int:
    """A zigzag-encoded integer; of a boolean's byte, 0 for false and -1 for true."""
    number = 0
    for place, byte in enumerate(data):
        number |= (byte & 0x7F) << 7 * place
    return number >> 1 ^ -(number & 1)
