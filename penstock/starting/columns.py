"""Watches the fields of rows, in bounded memory: which kinds of values each has, how many differ, what they look like.

Pure. Every number of rows takes the same memory, however long the values are.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

from penstock.starting.personal import Personal, personal_of
from penstock.starting.times import TimeForm, lacks_zone, ms_of, unit_of
from penstock.time import epoch_ms
from schemas.constraints import INT64_MAX, INT64_MIN
from schemas.written import ARRAY

Kind = Literal[
    "boolean",
    "integer",
    "huge integer",
    "number",
    "not a number",
    "text",
    "time",
    "date",
    "decimal",
    "bytes",
    "UUID",
    "list",
    "object",
    "other",
]
Place = tuple[str, ...]

MOST_COLUMNS = 500
_MOST_DISTINCT = 20_000
_LOOKED_AT = 1_000
_KEPT_VALUES = 20
_KEPT_LENGTH = 200
_DEEPEST = 8
_MOST_OTHERS, _MOST_SHARE = 3, 0.1
_INTEGER = re.compile(r"[+-]?(0|[1-9][0-9]*)")
_NUMBER = re.compile(r"[+-]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_DECIMAL_COMMA = re.compile(r"[+-]?([0-9]+|[0-9]{1,3}(\.[0-9]{3})+),[0-9]+")
# What tools write into a CSV in place of a number that is not there.
_NO_NUMBERS = {"nan", "inf", "+inf", "-inf", "infinity", "-infinity", "na", "n/a", "null", "none"}


@dataclass
class Observed:
    """What was seen of one field.

    Attributes:
        place: The way to it in the event.
        kinds: How many values of each kind there were; nulls and missing ones are in none.
        first_row: The number of the first row of each kind.
        distinct: The hashes of the first different values.
        distinct_of: How many values they are of.
        values: The first few different texts.
        forms: How many values were times, in each form.
        zoneless: How many texts were times without a zone.
        naive: How many times of Parquet or Avro were without a zone.
        empty: How many texts were empty.
        commas: How many texts were numbers with a decimal comma.
        times_ms: The first and the last time, by form.
        personal: What its texts looked like, of the first ``looked_at``.
        scale: The most decimal places of decimals.
        array: Of what is in the elements of an array, that array.
        elements: Of an array, how many elements there were, nulls among them.
        longest: Of an array, the most elements that one had.
        seen_in: The last row with a value, counted from 1.
        lacking: The number of the first row without a value.
        timeless: The number of the first row whose value is no time.
    """

    place: Place
    kinds: Counter[Kind] = field(default_factory=Counter)
    first_row: dict[Kind, int] = field(default_factory=dict)
    distinct: set[int] = field(default_factory=set)
    distinct_of: int = 0
    values: dict[str, None] = field(default_factory=dict)
    forms: Counter[TimeForm] = field(default_factory=Counter)
    zoneless: int = 0
    naive: int = 0
    empty: int = 0
    commas: int = 0
    times_ms: dict[TimeForm, tuple[int, int]] = field(default_factory=dict)
    personal: list[Personal] = field(default_factory=list)
    looked_at: int = 0
    scale: int = 0
    array: Observed | None = None
    elements: int = 0
    longest: int = 0
    seen_in: int = 0
    lacking: int | None = None
    timeless: int | None = None

    @property
    def count(self) -> int:
        """How many values there were."""
        return self.kinds.total()

    def add(self, value: Any, kind: Kind, row: int) -> None:
        """Take a value, which is not null."""
        self.kinds[kind] += 1
        self.first_row.setdefault(kind, row)
        if kind in ("list", "object", "other"):
            return
        if len(self.distinct) < _MOST_DISTINCT:
            self.distinct.add(hash(value))
            self.distinct_of += 1
        if kind == "integer":
            self._see_integer(int(value))
        elif kind == "time":
            self.naive += value.tzinfo is None
            self._see_time("milliseconds", epoch_ms(value))
        elif kind == "decimal":
            self.scale = max(self.scale, -int(value.as_tuple().exponent))
        elif kind == "text":
            self._see_text(value)
        if self.timeless is None and self.forms.total() < self.count:
            self.timeless = row
        if isinstance(value, (int, str)) and not isinstance(value, bool):
            self._see_personal(str(value))

    def _see_integer(self, number: int) -> None:
        form = unit_of(number)
        if form is not None and (ms := ms_of(number, form)) is not None:
            self._see_time(form, ms)

    def _see_text(self, text: str) -> None:
        self.empty += not text
        self.commas += _DECIMAL_COMMA.fullmatch(text) is not None
        if len(self.values) <= _KEPT_VALUES and len(text) <= _KEPT_LENGTH:
            self.values[text] = None
        # Once several texts were none, the field is none; the texts of most fields are looked at a few times.
        others = self.kinds["text"] - 1 - self.forms["iso8601"] - self.zoneless
        if others <= _MOST_OTHERS or others <= self.kinds["text"] * _MOST_SHARE:
            ms = ms_of(text, "iso8601")
            if ms is not None:
                self._see_time("iso8601", ms)
            self.zoneless += lacks_zone(text)

    def _see_time(self, form: TimeForm, ms: int) -> None:
        self.forms[form] += 1
        first, last = self.times_ms.get(form, (ms, ms))
        self.times_ms[form] = min(first, ms), max(last, ms)

    def _see_personal(self, text: str) -> None:
        if text and self.looked_at < _LOOKED_AT:
            self.looked_at += 1
            if found := personal_of(text[:_KEPT_LENGTH]):
                self.personal.append(found)


@dataclass
class Table:
    """What was seen of all fields of rows.

    Attributes:
        is_text: Whether all values are texts, as in a CSV: what they look like is their kind then.
        unit: What the numbers of rows count, for messages: lines, where a file has some.
        place_of: Where the row of a number is, for messages; by default the unit and the number.
        rows: How many rows there were.
        columns: The fields by their places; an object is one, and so is each of its fields. So is an array, and what
            its elements are, at a place of which a name ends with ``[]``.
        is_cut: Whether there were more than ``MOST_COLUMNS``.
        first: The number of the first row.
    """

    is_text: bool = False
    unit: str = "row"
    place_of: Callable[[int], str] | None = None
    rows: int = 0
    columns: dict[Place, Observed] = field(default_factory=dict)
    is_cut: bool = False
    first: int | None = None
    _complete: list[Observed] = field(default_factory=list, init=False)

    def add(self, row: Mapping[str, Any], number: int) -> None:
        """Take a row.

        Args:
            row: Its fields.
            number: Its number, for messages.
        """
        self.rows += 1
        self.first = number if self.first is None else self.first
        self._add_fields(row, number, (), None)
        for observed in self._complete:
            if observed.seen_in != self.rows:
                observed.lacking = number
        self._complete = [observed for observed in self._complete if observed.lacking is None]

    def place(self, number: int) -> str:
        """Where the row of a number is, for messages."""
        return f"{self.unit} {number}" if self.place_of is None else self.place_of(number)

    def _add_fields(self, fields: Mapping[str, Any], number: int, way: Place, array: Observed | None) -> None:
        for name, value in fields.items():
            self._add_value(value, number, (*way, str(name)), array)

    def _add_value(self, value: Any, number: int, place: Place, array: Observed | None) -> None:
        observed = self.columns.get(place)
        if observed is None:
            if len(self.columns) >= MOST_COLUMNS:
                self.is_cut = True
                return
            observed = self.columns[place] = Observed(place, array=array)
            if self.rows > 1:
                observed.lacking = self.first
            else:
                self._complete.append(observed)
        if value is None or (self.is_text and value == ""):
            return
        kind = kind_of_text(value) if self.is_text else kind_of(value)
        observed.add(value, kind, number)
        observed.seen_in = self.rows
        if kind == "object" and len(place) < _DEEPEST:
            self._add_fields(value, number, place, array)
        elif kind == "list" and array is None:
            observed.elements += len(value)
            observed.longest = max(observed.longest, len(value))
            for element in value:
                self._add_value(element, number, (*place[:-1], place[-1] + ARRAY), observed)


def kind_of(value: Any) -> Kind:
    """The kind of a value that is not null.

    >>> kind_of(2**64), kind_of(float("nan")), kind_of({})
    ('huge integer', 'not a number', 'object')
    """
    match value:
        case bool():
            return "boolean"
        case int():
            return "integer" if INT64_MIN <= value <= INT64_MAX else "huge integer"
        case float():
            return "number" if math.isfinite(value) else "not a number"
        case Decimal():
            return "decimal" if value.is_finite() else "not a number"
        case dict():
            return "object"
    others: tuple[tuple[type, Kind], ...] = (
        (str, "text"),
        (datetime, "time"),
        (date, "date"),
        (bytes, "bytes"),
        (UUID, "UUID"),
        (list, "list"),
    )
    return next((kind for of, kind in others if isinstance(value, of)), "other")


def kind_of_text(text: str) -> Kind:
    """The kind of a cell of a CSV that is not empty. A number with a leading zero is a text, as codes are.

    >>> [kind_of_text(text) for text in ("12", "007", "1.5", "1e999", "NaN", "True", "99999999999999999999")]
    ['integer', 'text', 'number', 'text', 'not a number', 'boolean', 'text']
    """
    if _INTEGER.fullmatch(text):
        # More digits than a 64-bit integer has: not computed.
        return "integer" if len(text) <= 20 and INT64_MIN <= int(text) <= INT64_MAX else "text"
    if _NUMBER.fullmatch(text):
        return "number" if math.isfinite(float(text)) else "text"
    if text.lower() in ("true", "false"):
        return "boolean"
    return "not a number" if text.lower() in _NO_NUMBERS else "text"
