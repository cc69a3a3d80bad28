"""The fields of an Avro schema. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from penstock.errors import PenstockError
from schemas.imported.fields import (
    IS_LIST_IN_LIST,
    IS_RECURSIVE,
    IS_UNION,
    Found,
    NoColumn,
    Place,
    Schema,
    SchemaField,
    in_array,
    is_in_list,
    map_of,
    without_default,
)
from schemas.kinds import ColumnType
from schemas.written import ARRAY, DEEPEST, MOST_DIGITS, Form

_PLAIN: Mapping[str, ColumnType] = {
    "string": "string",
    "int": "long",
    "long": "long",
    "float": "double",
    "double": "double",
    "boolean": "boolean",
}
_TIMES: Mapping[str, Form | None] = {
    "timestamp-millis": None,
    "timestamp-micros": "microseconds",
    "timestamp-nanos": "nanoseconds",
}
_RECORDS = ("record", "error")
_NOTHING = object()


def read_avro_schema(document: Any, where: str) -> Schema:
    """The fields of an Avro schema.

    Args:
        document: The schema, as JSON.
        where: Its file or subject, for errors.

    Raises:
        PenstockError: if it is no schema of a record.
    """
    if not isinstance(document, dict) or document.get("type") not in _RECORDS:
        raise PenstockError(
            "the schema is not the Avro schema of a record",
            where=where,
            next="name the schema of the events: an object with type record and fields",
        )
    named: dict[str, Any] = {}
    _collect(document, "", named)
    return Schema(tuple(_fields(document, (), "", named, (), nullable=False)), where, _text(document.get("doc")))


def _fields(
    record: Mapping[str, Any], way: Place, space: str, named: Mapping[str, Any], within: Place, *, nullable: bool
) -> Found:
    name, space = _full_name(record, space)
    for field in _listed(record, "fields"):
        place = (*way, str(field.get("name", "")))
        kind, may_be_null = _without_null(field.get("type"), space, named)
        may_be_null = may_be_null or nullable
        default, doc = field.get("default", _NOTHING), _text(field.get("doc"))
        if isinstance(kind, dict) and kind["type"] == "array":
            if is_in_list(place):
                yield NoColumn(place, IS_LIST_IN_LIST)
                continue
            array = SchemaField(place, "string", nullable=may_be_null, description=doc, is_list=True)
            elements = _elements(place, kind.get("items"), space, named, (*within, name))
            yield from in_array(elements, _with_default(array, default, is_within_null=nullable))
        elif isinstance(kind, dict) and kind["type"] in _RECORDS:
            yield from _object(place, kind, space, named, (*within, name), nullable=may_be_null)
        else:
            found = _scalar(place, kind, space, named)
            if isinstance(found, SchemaField):
                described = replace(found, nullable=may_be_null, description=doc)
                found = _with_default(described, default, is_within_null=nullable)
            yield found


def _object(
    place: Place, record: Mapping[str, Any], space: str, named: Mapping[str, Any], within: Place, *, nullable: bool
) -> Found:
    if len(place) >= DEEPEST or _full_name(record, space)[0] in within:
        yield NoColumn(place, IS_RECURSIVE)
        return
    yield from _fields(record, place, space, named, within, nullable=nullable)


def _elements(place: Place, items: Any, space: str, named: Mapping[str, Any], within: Place) -> Found:
    """What is in an element of an array."""
    kind, may_be_null = _without_null(items, space, named)
    if isinstance(kind, dict) and kind["type"] in _RECORDS:
        inside = (*place[:-1], place[-1] + ARRAY)
        yield from _object(inside, kind, space, named, within, nullable=may_be_null)
    elif isinstance(kind, dict) and kind["type"] in ("array", "map"):
        yield NoColumn(place, f"it is a list of {'lists' if kind['type'] == 'array' else 'maps'}")
    else:
        found = _scalar(place, kind, space, named)
        yield replace(found, nullable=may_be_null) if isinstance(found, SchemaField) else found


def _scalar(place: Place, kind: dict[str, Any] | str, space: str, named: Mapping[str, Any]) -> SchemaField | NoColumn:
    """A field of a type that is no record and no array; ``kind`` is from :func:`_without_null`."""
    if isinstance(kind, str):
        return NoColumn(place, kind)
    if kind["type"] == "map":
        value, _ = _without_null(kind.get("values"), space, named)
        is_plain = isinstance(value, dict) and value["type"] not in (*_RECORDS, "array", "map")
        of_key = _column(place, value) if is_plain else None  # type: ignore[arg-type]
        return map_of(place, of_key if isinstance(of_key, SchemaField) else None)
    found = _column(place, kind)
    return NoColumn(place, found) if isinstance(found, str) else found


def _without_null(kind: Any, space: str, named: Mapping[str, Any]) -> tuple[dict[str, Any] | str, bool]:
    """The one type of a field as an object, and whether it may be null; a text says why there is none."""
    nullable = False
    for _ in range(DEEPEST):
        if isinstance(kind, list):
            branches = [branch for branch in kind if branch not in ("null", {"type": "null"})]
            nullable = nullable or len(branches) < len(kind)
            if len(branches) != 1:
                return IS_UNION if branches else "it is always null", nullable
            kind = branches[0]
        elif kind == "null":
            return "it is always null", True
        elif isinstance(kind, str):
            if kind in _PLAIN or kind == "bytes":
                return {"type": kind}, nullable
            found = named.get(kind if "." in kind or not space else f"{space}.{kind}", named.get(kind))
            if found is None:
                return f"it is of type {kind}", nullable
            kind = found
        elif isinstance(kind, dict) and isinstance(kind.get("type"), (dict, list)):
            kind = kind["type"]
        elif isinstance(kind, dict) and isinstance(kind.get("type"), str):
            if kind["type"] not in (*_PLAIN, *_RECORDS, "bytes", "fixed", "enum", "array", "map"):
                kind = kind["type"]
                continue
            return kind, nullable
        else:
            break
    return "its type cannot be read", nullable


def _column(place: Place, schema: Mapping[str, Any]) -> SchemaField | str:
    base, logical = schema["type"], schema.get("logicalType")
    found: SchemaField | str
    if base == "enum":
        values = tuple(dict.fromkeys(map(str, _listed(schema, "symbols", str))))
        default = schema.get("default")
        otherwise = default if default in values else None
        found = SchemaField(place, "string", values=values, otherwise=otherwise) if values else "it has no values"
    elif logical == "decimal" and base in ("bytes", "fixed"):
        found = _decimal(place, schema.get("scale", 0), schema.get("precision", MOST_DIGITS))
    elif logical == "uuid" and base in ("string", "fixed"):
        found = SchemaField(place, "string", form="uuid")
    elif base in ("bytes", "fixed"):
        found = SchemaField(place, "string", form="bytes")
    elif logical == "date" and base == "int":
        found = SchemaField(place, "string", form="date")
    elif base == "long" and isinstance(logical, str) and logical in _TIMES:
        found = SchemaField(place, "long", form=_TIMES[logical], is_ms=_TIMES[logical] is None)
    else:
        found = SchemaField(place, _PLAIN[base])
    return found


def _decimal(place: Place, scale: Any, precision: Any) -> SchemaField | str:
    if type(scale) is not int or type(precision) is not int or not 0 <= scale <= precision:
        return "its decimal has no scale within its precision"
    if scale > MOST_DIGITS:
        return f"its decimal has more than {MOST_DIGITS} decimal places"
    unfit = (f"precision {precision} (at most {MOST_DIGITS})",) if precision > MOST_DIGITS else ()
    most = min(precision, MOST_DIGITS)
    return SchemaField(place, "double", form="decimal", scale=scale, precision=most, unfit=unfit)


def _with_default(field: SchemaField, default: Any, *, is_within_null: bool) -> SchemaField:
    if default is _NOTHING or default is None:
        # A contract gives null where an object on the way is missing: that must be the field's default then.
        is_optional = field.nullable and (default is None or is_within_null)
        return replace(field, required=not is_optional)
    if field.form is not None or field.is_list:
        return without_default(field)
    is_number = field.type == "double" and type(default) is int
    return replace(field, required=False, default=float(default) if is_number else default)


def _collect(schema: Any, space: str, named: dict[str, Any]) -> None:
    """All named types, by their full names."""
    if isinstance(schema, list):
        for branch in schema:
            _collect(branch, space, named)
    elif isinstance(schema, dict):
        if isinstance(schema.get("name"), str) and schema.get("type") in (*_RECORDS, "enum", "fixed"):
            name, space = _full_name(schema, space)
            named[name] = {**schema, "namespace": space}
        for field in _listed(schema, "fields"):
            _collect(field.get("type"), space, named)
        for part in ("type", "items", "values"):
            _collect(schema.get(part), space, named)


def _full_name(schema: Mapping[str, Any], space: str) -> tuple[str, str]:
    """The full name of a named type, and its namespace."""
    name = str(schema.get("name", ""))
    if "." in name:
        return name, name.rpartition(".")[0]
    space = str(schema.get("namespace") or space)
    return (f"{space}.{name}" if space else name), space


def _listed(schema: Mapping[str, Any], name: str, of: type = dict) -> list[Any]:
    found = schema.get(name)
    return [item for item in found if isinstance(item, of)] if isinstance(found, list) else []


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
