"""What the fields of events are: from the Avro schema that they are written with to columns of a contract. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from penstock.errors import PenstockError
from penstock.starting.columns import Place
from penstock.starting.findings import Column, Findings, named
from penstock.starting.times import MARKERS, TimeForm
from schemas.contract import ColumnType
from schemas.written import Form

_DEEPEST = 8
_MOST_VALUES = 50
_PLAIN: Mapping[str, ColumnType] = {
    "string": "string",
    "int": "long",
    "long": "long",
    "float": "double",
    "double": "double",
    "boolean": "boolean",
}
_TIMES: Mapping[str, TimeForm] = {
    "timestamp-millis": "milliseconds",
    "timestamp-micros": "microseconds",
    "timestamp-nanos": "nanoseconds",
}


def findings_of_schema(document: Any, where: str) -> Findings:
    """The columns for an Avro schema.

    Args:
        document: The schema, as JSON.
        where: Its file or subject, for errors.

    Raises:
        PenstockError: if it is no schema of a record.
    """
    if not isinstance(document, dict) or document.get("type") != "record":
        raise PenstockError(
            "the schema is not the Avro schema of a record",
            where=where,
            safe="nothing was written",
            next="name the schema of the events: an object with type record and fields",
        )
    left_out: dict[str, str] = {}
    columns: list[Column] = []
    for place, kind, nullable in _leaves(document, (), {}, nullable=False):
        found = kind if isinstance(kind, str) and kind.startswith("it ") else _column(place, kind, nullable)
        if isinstance(found, str):
            left_out[".".join(place)] = found
        else:
            columns.append(found)
    return Findings(named(columns, left_out), left_out, (), "avro", 0)


def _leaves(
    record: Mapping[str, Any], way: Place, known: dict[str, Any], *, nullable: bool
) -> Iterator[tuple[Place, Any, bool]]:
    """The fields that are no records, at their places; of one that cannot be read, the reason."""
    known = known | _name_of(record)
    for field in record.get("fields", ()):
        place, kind, may_be_null = (*way, str(field.get("name", ""))), field.get("type"), nullable
        if isinstance(kind, list):
            branches = [branch for branch in kind if branch != "null"]
            may_be_null = may_be_null or len(branches) < len(kind)
            kind = branches[0] if len(branches) == 1 else "it has a union of several types"
        if isinstance(kind, dict) and isinstance(kind.get("type"), dict):
            kind = kind["type"]
        if isinstance(kind, str) and kind in known:
            kind = known[kind]
        if isinstance(kind, dict) and kind.get("type") == "record":
            if len(place) >= _DEEPEST or kind.get("name") == record.get("name"):
                yield place, "it contains itself, or nests too deep", may_be_null
                continue
            yield from _leaves(kind, place, known, nullable=may_be_null)
        else:
            if isinstance(kind, dict):
                known |= _name_of(kind)
            yield place, kind, may_be_null


def _name_of(schema: Mapping[str, Any]) -> dict[str, Any]:
    name = schema.get("name")
    if not isinstance(name, str):
        return {}
    space = schema.get("namespace")
    return {name: schema} | ({f"{space}.{name}": schema} if space else {})


def _column(place: Place, kind: Any, nullable: bool) -> Column | str:
    schema = kind if isinstance(kind, dict) else {"type": kind}
    base, logical = schema.get("type"), schema.get("logicalType")
    form: Form | None = None
    scale = time = None
    values: tuple[str, ...] = ()
    type_: ColumnType | None = _PLAIN.get(base) if isinstance(base, str) else None
    if base == "enum":
        values = tuple(schema.get("symbols", ()))
        type_ = "string"
    elif logical == "decimal" and base in ("bytes", "fixed"):
        type_, form, scale = "double", "decimal", schema.get("scale", 0)
    elif logical == "uuid" and base in ("string", "fixed"):
        type_, form = "string", "uuid"
    elif base in ("bytes", "fixed"):
        type_, form = "string", "bytes"
    elif logical == "date" and base == "int":
        type_, form = "string", "date"
    elif base == "long" and isinstance(logical, str) and logical in _TIMES:
        time = _TIMES[logical]
        form = MARKERS[time][0]
    if type_ is None:
        return f"it is of type {base}" if isinstance(base, str) else "its type cannot be read"
    return Column(
        name="",
        place=place,
        type=type_,
        nullable=nullable,
        form=form,
        scale=scale,
        values=values if len(values) <= _MOST_VALUES else (),
        is_enum=0 < len(values) <= _MOST_VALUES,
        time=time,
    )
