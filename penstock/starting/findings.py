"""What the fields of events are: from what was seen of rows to columns of a contract. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from penstock.counts import counted
from penstock.starting.columns import MOST_COLUMNS, Kind, Observed, Place, Table
from penstock.starting.enveloped import NAMES
from penstock.starting.naming import column_name
from penstock.starting.personal import Personal, personal_by_name, personal_by_values
from penstock.starting.strays import MOST_STRAYS
from penstock.starting.times import TimeForm
from schemas.contract import ColumnType
from schemas.envelopes import CloudEvents, Debezium
from schemas.field_types import GREATEST_MAX_ELEMENTS, MAX_ELEMENTS
from schemas.written import ARRAY, Form, avro_name

Origin = Literal["json", "csv", "parquet", "avro", "protobuf"]

MANY_ROWS = 20
"""From so many rows on, their values say what a column is for."""
_AMOUNTS = {"amount", "price", "total", "cost", "value", "balance", "fee", "tax", "revenue", "spend", "bid", "score"}
_AMOUNTS |= {"rate", "ratio", "discount", "distance", "weight", "temperature", "latitude", "longitude", "lat", "lon"}
_TYPES: Mapping[Kind, ColumnType] = {
    "boolean": "boolean",
    "integer": "long",
    "number": "double",
    "text": "string",
    "time": "long",
    "date": "string",
    "decimal": "double",
    "bytes": "string",
    "UUID": "string",
}
_NO_COLUMNS: Mapping[Kind, str] = {
    "list": "it is a list within a list",
    "other": "its type is none of a contract's",
    "not a number": "none of its values is a number",
}
_FORMS: Mapping[Kind, Form] = {"date": "date", "decimal": "decimal", "bytes": "bytes", "UUID": "uuid"}


@dataclass(frozen=True)
class Column:
    """A column of the contract, and what decides what it is for.

    Attributes:
        name: Its name in code.
        place: The way to it in the event.
        type: The type of the column.
        nullable: Whether it was null or missing in a row.
        form: The form in which it is written, if not that of the column.
        scale: The decimal places of a decimal.
        values: All of its values, if an Avro enum declares them; otherwise the first few that were seen.
        is_enum: Whether ``values`` are all.
        time: In which form it is a time, if it is one.
        zoneless: Whether it is a time without a zone.
        span_ms: From its first time to its last.
        personal: What it has of people.
        count: How many values there were; 0 if there are no rows, but a schema.
        distinct_of: How many were compared.
        distinct: How many different ones these were.
        is_empty_seen: Whether a text was empty.
        bad: How many values the contract refuses.
        lacking: How many rows have no value, and the first of them, for messages.
        timeless: The first row whose value is no time, if others are one, for messages.
        is_list: Whether it is a list, of values of ``type``: ``place`` is an array, or goes through one, whose name
            ends with ``[]``.
        nullable_elements: Whether an element had no value.
        max_elements: The most elements it may have, if that is not the limit of every list.
        rules: Bounds and lengths, as pydantic's ``Field`` calls them; of a list, those of its elements.
        default: Its default, if its schema gives it one.
    """

    name: str
    place: Place
    type: ColumnType
    nullable: bool = False
    form: Form | None = None
    scale: int | None = None
    values: tuple[str, ...] = ()
    is_enum: bool = False
    time: TimeForm | None = None
    zoneless: bool = False
    span_ms: int = 0
    personal: Personal | None = None
    count: int = 0
    distinct_of: int = 0
    distinct: int = 0
    is_empty_seen: bool = False
    bad: int = 0
    lacking: str = ""
    timeless: str = ""
    is_list: bool = False
    nullable_elements: bool = False
    max_elements: int | None = None
    rules: Mapping[str, Any] = field(default_factory=dict)
    default: str | float | bool | None = None

    @property
    def path(self) -> str:
        """Its place as text."""
        return ".".join(self.place)

    @property
    def is_constant(self) -> bool:
        """Whether each of many rows has the same value."""
        return self.distinct == 1 and self.distinct_of >= MANY_ROWS and not self.nullable and not self.is_list

    @property
    def is_unique(self) -> bool:
        """Whether no value came twice."""
        return 0 < self.distinct == self.distinct_of


@dataclass(frozen=True)
class Findings:
    """All columns that a contract can have, and why it cannot have the others.

    Attributes:
        columns: The columns, in the order of the fields.
        left_out: The reason, by the path of the field.
        notes: What else a person should know.
        origin: What the values come from.
        rows: How many rows were seen; 0 if there was only a schema.
        envelope: What stands around the events.
    """

    columns: tuple[Column, ...]
    left_out: Mapping[str, str]
    notes: tuple[str, ...]
    origin: Origin
    rows: int
    envelope: Debezium | CloudEvents | None = None


def findings_of(table: Table, origin: Origin) -> Findings:
    """The columns for what was seen of rows."""
    left_out: dict[str, str] = {}
    notes: list[str] = []
    columns: list[Column] = []
    for place, observed in table.columns.items():
        if set(observed.kinds) == {"object"} or _is_within(place, left_out):
            continue  # its fields are columns; or it is within what is left out
        if set(observed.kinds) == {"list"} and observed.array is None:
            if reason := _why_no_list(observed, table.unit):
                left_out[".".join(place)] = reason
            continue  # what its elements are is a column
        found = _column(observed, table, origin)
        if isinstance(found, str):
            left_out[".".join(_place(observed))] = found
            continue
        columns.append(found)
        if observed.naive:
            notes.append(
                f"{found.path}: its times have no zone and are taken for UTC; if they are not, correct the file"
            )
        if table.is_text and _has_decimal_commas(observed):
            notes.append(
                f"{found.path}: looks like numbers with a decimal comma, first in "
                f"{table.place(observed.first_row['text'])}; taken as text; write a decimal point instead (78.5), then "
                "begin again"
            )
        if found.bad:
            first = table.place(observed.first_row["not a number"])
            instead = "an empty cell" if table.is_text else "null"
            notes.append(
                f"{found.path}: {counted(found.bad, 'value')} of the sample, first in {first}, cannot be read as a "
                f"number (NaN or the like): such events are refused; write {instead} instead"
            )
    if table.is_cut:
        notes.append(f"only the first {MOST_COLUMNS} fields are looked at; the others are left out")
    return Findings(named(columns, left_out), left_out, tuple(notes), origin, table.rows)


def _has_decimal_commas(observed: Observed) -> bool:
    """Whether nearly all cells are whole numbers, or numbers with a decimal comma."""
    numbers = observed.commas + observed.kinds["integer"]
    return observed.commas > 0 and numbers >= (1 - MOST_STRAYS) * observed.count


def _is_within(place: Place, left_out: Mapping[str, str]) -> bool:
    ways = (".".join(place[:n]) for n in range(1, len(place) + 1))
    return any(way in left_out or way.removesuffix(ARRAY) in left_out for way in ways)


def _why_no_list(array: Observed, unit: str) -> str | None:
    if array.place[-1].endswith(ARRAY):
        return f"it is a list whose name ends with {ARRAY}"
    if array.longest > GREATEST_MAX_ELEMENTS:
        return f"it is a list of up to {array.longest:,} elements, more than {GREATEST_MAX_ELEMENTS:,}"
    return None if array.elements else f"it is a list without elements in every {unit}"


def _place(observed: Observed) -> Place:
    """Where a column is: a list of plain values is at its array."""
    *way, last = observed.place
    array = observed.array
    is_element = array is not None and len(observed.place) == len(array.place)
    return (*way, last.removesuffix(ARRAY)) if is_element else observed.place


def named(columns: Iterable[Column], left_out: dict[str, str]) -> tuple[Column, ...]:
    """The columns, each with a name of its own; those whose place Avro cannot tell from another's are left out."""
    result: list[Column] = []
    taken: set[str] = set()
    places: dict[Place, str] = {}
    for column in columns:
        place = tuple(map(avro_name, column.place))
        if other := places.get(place):
            left_out[column.path] = f"in Avro it would have the same name as {other}"
            continue
        places[place] = column.path
        called = NAMES.get(column.place)
        name = column_name(column.place if called is None else (called,), taken)
        taken.add(name)
        personal = column.personal or personal_by_name(name)
        if personal is not None and column.type != "string":
            left_out[column.path] = f"it has {personal.what}, and only texts can be hashed or dropped"
            continue
        result.append(replace(column, name=name, personal=personal))
    return tuple(result)


def _column(observed: Observed, table: Table, origin: Origin) -> Column | str:
    """The column of a field, with no name yet; or why it has none."""
    if not all(observed.place):
        return "it has no name"
    kind = _kind(observed, table)
    if kind not in _TYPES:
        return kind
    form = _FORMS.get(kind)  # type: ignore[call-overload]
    time, zoneless = _time(observed, kind), 0 < observed.zoneless == observed.count
    type_: ColumnType = _TYPES[kind]  # type: ignore[index]
    if kind == "text" and time == "iso8601":
        type_, form = "long", "iso8601"
    elif kind == "time" and origin == "avro":
        form = "microseconds"  # the writer's logical type knows better, where it is at hand
    # The check digit of one in ten times in milliseconds is that of a card.
    personal = None if time else personal_by_values(observed.looked_at, observed.personal)
    if kind == "integer" and (_is_amount(observed.place) or origin == "csv"):
        by_name = personal_by_name(column_name(observed.place, ()))
        if origin == "csv" and (personal or by_name):
            type_, time = "string", None
        elif time is None and _is_amount(observed.place):
            type_ = "double"
    first, last = observed.times_ms.get(time, (0, 0)) if time else (0, 0)
    array = observed.array
    most = 2 * array.longest if array is not None else 0
    return Column(
        name="",
        place=_place(observed),
        type=type_,
        nullable=(array or observed).count < table.rows,
        form=form,
        scale=observed.scale if form == "decimal" else None,
        values=tuple(observed.values),
        time=time if array is None else None,
        zoneless=zoneless,
        span_ms=last - first,
        personal=personal,
        count=observed.count,
        distinct_of=observed.distinct_of,
        distinct=len(observed.distinct),
        is_empty_seen=observed.empty > 0,
        bad=observed.kinds["not a number"],
        lacking=_lacking(observed, table),
        timeless=table.place(observed.timeless) if observed.forms and observed.timeless is not None else "",
        is_list=array is not None,
        nullable_elements=array is not None and observed.count < array.elements,
        max_elements=min(most, GREATEST_MAX_ELEMENTS) if most > MAX_ELEMENTS else None,
    )


def _lacking(observed: Observed, table: Table) -> str:
    if observed.array is not None or observed.lacking is None:
        return ""
    of = f"{table.rows - observed.count:,} of {counted(table.rows, table.unit)}"
    return f"{of}, first in {table.place(observed.lacking)}"


def _kind(observed: Observed, table: Table) -> str:
    """The one kind that fits all values; or why there is none."""
    kinds = {kind for kind, count in observed.kinds.items() if count}
    if table.is_text and kinds:
        return _kind_of_cells(kinds)
    if len(kinds) > 1:
        kinds.discard("not a number")
    if "huge integer" in kinds and kinds <= {"integer", "huge integer"}:
        row = table.place(observed.first_row["huge integer"])
        return f"{row} has an integer of more than 64 bits: write it as a text"
    if len(kinds) > 1 and kinds <= {"integer", "huge integer", "number"}:
        return "number"
    if len(kinds) == 1:
        kind = next(iter(kinds))
        is_element = observed.array is not None and len(observed.place) == len(observed.array.place)
        return "it is a list of lists" if kind == "list" and is_element else _NO_COLUMNS.get(kind, kind)
    if not kinds:
        return f"it has no value in any {table.unit}"
    seen = ", ".join(f"{_a(kind)} ({table.place(observed.first_row[kind])})" for kind in observed.first_row)
    return f"its values are of several kinds: {seen}"


def _kind_of_cells(kinds: set[Kind]) -> Kind:
    if len(kinds) == 1:
        return "text" if "not a number" in kinds else next(iter(kinds))
    numbers = kinds - {"not a number"}
    if numbers == {"integer"}:
        return "integer"
    return "number" if numbers and numbers <= {"integer", "number"} else "text"


def _a(kind: Kind) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def _time(observed: Observed, kind: str) -> TimeForm | None:
    """The form in which every value is a time, if there is one."""
    if kind not in ("integer", "text", "time"):
        return None
    return next((form for form, count in observed.forms.items() if 0 < count == observed.count), None)


def _is_amount(place: Place) -> bool:
    """Whether a number of this name may well have a fraction, though the sample has none."""
    return bool(_AMOUNTS & set(column_name(place[-1:], ()).split("_")))
