"""The fields of a JSON Schema. Pure.

Annotations that say how a value is written count as rules here: ``format`` of ``date-time``, ``date`` and ``uuid``, and
``contentEncoding`` of ``base64``. Other formats are ignored, as validators do by default.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from penstock.errors import PenstockError
from schemas.constraints import INT64_MAX, INT64_MIN
from schemas.field_types import GREATEST_MAX_ELEMENTS
from schemas.imported.fields import (
    IS_LIST_IN_LIST,
    IS_MAP,
    IS_RECURSIVE,
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
from schemas.imported.patterns import common_pattern
from schemas.kinds import ColumnType
from schemas.written import ARRAY, DEEPEST, Form

_PLAIN: Mapping[str, ColumnType] = {
    "string": "string",
    "integer": "long",
    "number": "double",
    "boolean": "boolean",
}
_FORMS: Mapping[str, Form] = {"date-time": "iso8601", "date": "date", "uuid": "uuid"}
_ONE_OF_SEVERAL = "it has one of several forms"
# Of two schemas of one value, these may differ.
_NO_RULES = {"title", "description", "examples", "deprecated", "readOnly", "writeOnly", "nullable"}
_NO_RULES |= {"$id", "$comment", "additionalProperties"}
_UNFIT = ("multipleOf", "not", "if", "oneOf", "anyOf", "allOf", "contains")


class _UnreadableError(Exception):
    """Why a part of the schema cannot be read."""


def read_json_schema(document: Any, where: str) -> Schema:
    """The fields of a JSON Schema of objects, draft 4 or later, that refers only to itself.

    Args:
        document: The schema.
        where: Its file or subject, for errors.

    Raises:
        PenstockError: if it is not that.
    """
    try:
        reader = _Reader(document)
        root = reader.root()
    except _UnreadableError as error:
        raise PenstockError(
            f"the JSON Schema cannot be read: {error}",
            where=where,
            next="name the schema of one kind of events: an object with properties; put what it refers to into $defs",
        ) from None
    return Schema(tuple(reader.fields(root, (), ("#",), nullable=False)), where, _described(root))


class _Reader:
    def __init__(self, document: Any) -> None:
        self._document = document

    def root(self) -> dict[str, Any]:
        """The schema of the event."""
        root, _, _ = self.resolved(self._document, ())
        if not isinstance(root.get("properties"), dict):
            raise _UnreadableError("it describes no object with properties")
        if _has_variants(root):
            raise _UnreadableError("its events have one of several forms: give the schema of one of them")
        return root

    def fields(self, parent: Mapping[str, Any], way: Place, within: tuple[str, ...], *, nullable: bool) -> Found:
        """The fields of an object. ``within`` are the references on the way."""
        required = parent.get("required")
        names = {*required} if isinstance(required, list) else set()
        for name, raw in parent["properties"].items():
            place = (*way, name)
            try:
                yield from self._fields_at(place, raw, within, is_required=name in names, is_within_null=nullable)
            except _UnreadableError as error:
                yield NoColumn(place, str(error))

    def _fields_at(
        self, place: Place, raw: Any, within: tuple[str, ...], *, is_required: bool, is_within_null: bool
    ) -> Found:
        schema, may_be_null, inside = self.resolved(raw, within)
        if schema.get("type") == "array":
            if is_in_list(place):
                raise _UnreadableError(IS_LIST_IN_LIST)
            array = _with_presence(
                _array(place, schema, may_be_null=may_be_null),
                schema,
                is_required=is_required,
                is_within_null=is_within_null,
            )
            yield from in_array(self._elements(place, schema, inside), array)
        elif not _is_object(schema):
            if (key := self._key(place, schema, inside)) is not None:
                yield map_of(place, key)
                return
            field = _column(place, schema, may_be_null=may_be_null)
            yield _with_presence(field, schema, is_required=is_required, is_within_null=is_within_null)
        else:
            nullable = is_within_null or may_be_null or not is_required
            yield from self._object(place, schema, inside, nullable=nullable)

    def _elements(self, place: Place, schema: Mapping[str, Any], within: tuple[str, ...]) -> Found:
        """What is in an element of an array."""
        if "prefixItems" in schema or isinstance(schema.get("items"), list):
            raise _UnreadableError("its elements have a type each")
        element, may_be_null, inside = self.resolved(schema.get("items"), within)
        if _is_object(element):
            yield from self._object((*place[:-1], place[-1] + ARRAY), element, inside, nullable=may_be_null)
        elif element.get("type") in ("array", "object"):
            raise _UnreadableError(f"it is a list of {'lists' if element['type'] == 'array' else 'maps'}")
        else:
            field = _column(place, element, may_be_null=may_be_null)
            yield _with_presence(field, {}, is_required=True, is_within_null=False)

    def _key(self, place: Place, schema: Mapping[str, Any], within: tuple[str, ...]) -> SchemaField | None:
        """What a column of the value at a key of a map would be."""
        values = schema.get("additionalProperties")
        if schema.get("type") != "object" or not isinstance(values, dict):
            return None
        try:
            value, may_be_null, _ = self.resolved(values, within)
            return _column(place, value, may_be_null=may_be_null)
        except _UnreadableError:
            return None

    def _object(self, place: Place, schema: Mapping[str, Any], within: tuple[str, ...], *, nullable: bool) -> Found:
        if len(place) >= DEEPEST:
            raise _UnreadableError(IS_RECURSIVE)
        if _has_variants(schema):
            raise _UnreadableError(_ONE_OF_SEVERAL)
        yield from self.fields(schema, place, within, nullable=nullable)

    def resolved(self, raw: Any, within: tuple[str, ...]) -> tuple[dict[str, Any], bool, tuple[str, ...]]:
        """A schema without references and null, whether null is allowed, and the references on the way."""
        if not isinstance(raw, dict):
            raise _UnreadableError("it may be anything")
        schema, nullable = dict(raw), raw.get("nullable") is True
        while True:
            if isinstance(reference := schema.pop("$ref", None), str):
                if reference in within or len(within) > 2 * DEEPEST:
                    raise _UnreadableError(IS_RECURSIVE)
                within = (*within, reference)
                # What stands beside a reference holds as well; a default there is that of this field.
                target = self._target(reference)
                nullable = nullable or target.get("nullable") is True
                schema = _merged(schema, target | {"default": schema["default"]} if "default" in schema else target)
            elif isinstance(parts := schema.get("allOf"), list) and parts:
                del schema["allOf"]
                for part in parts:
                    merged, may_be_null, within = self.resolved(part, within)
                    nullable = nullable or may_be_null
                    schema = _merged(schema, merged)
            elif (one := _but_null(schema)) is not None:
                nullable, schema = True, one
            else:
                break
        kind = schema.get("type")
        if isinstance(kind, list):
            nullable = nullable or "null" in kind
            kinds = [one for one in kind if one != "null"]
            # Every integer is a number.
            kinds = ["number"] if set(kinds) == {"integer", "number"} else kinds
            schema["type"] = kinds[0] if len(kinds) == 1 else kinds
        if isinstance(values := schema.get("enum"), list) and None in values:
            nullable, schema["enum"] = True, [value for value in values if value is not None]
        return schema, nullable, within

    def _target(self, reference: str) -> dict[str, Any]:
        found: Any = self._document
        if reference != "#":
            if not reference.startswith("#/"):
                raise _UnreadableError(f"it refers to {reference}, which is elsewhere")
            for name in reference[2:].split("/"):
                found = found.get(name.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
        if not isinstance(found, dict):
            raise _UnreadableError(f"it refers to {reference}, which does not exist")
        return found


def _but_null(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """The schema with the one alternative to null in place of ``anyOf`` or ``oneOf``; None if that is not what it has.

    An alternative that is the only one is one as well.
    """
    for name in ("anyOf", "oneOf"):
        if isinstance(branches := schema.get(name), list):
            others = [one for one in branches if one not in ({"type": "null"}, {"const": None})]
            if len(others) == 1 and len(branches) == 2 and isinstance(others[0], dict):
                return _merged(others[0], {key: value for key, value in schema.items() if key != name})
    return None


def _merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """What both schemas say.

    Raises:
        _UnreadableError: they say it of one thing in two ways.
    """
    for name in sorted(one.keys() & other.keys()):
        if name in ("properties", "required", "allOf"):
            continue
        if one[name] != other[name] and name not in _NO_RULES:
            raise _UnreadableError(f"its {name} is given twice, by allOf or beside $ref or anyOf")
    merged = other | one
    if "allOf" in one and "allOf" in other:
        merged["allOf"] = [*one["allOf"], *other["allOf"]]
    if "properties" in one and "properties" in other:
        if twice := [
            name for name, value in other["properties"].items() if one["properties"].get(name, value) != value
        ]:
            raise _UnreadableError(f"its {twice[0]} is given twice, by allOf or beside $ref or anyOf")
        merged["properties"] = one["properties"] | other["properties"]
    if "required" in one and "required" in other:
        merged["required"] = [*one["required"], *other["required"]]
    return merged


def _is_object(schema: Mapping[str, Any]) -> bool:
    return schema.get("type", "object") == "object" and isinstance(schema.get("properties"), dict)


def _has_variants(schema: Mapping[str, Any]) -> bool:
    """Whether an object has further fields by its kind."""
    branches = [branch for name in ("oneOf", "anyOf") for branch in schema.get(name) or ()]
    return any(isinstance(branch, dict) and ("properties" in branch or "$ref" in branch) for branch in branches)


def _array(place: Place, schema: Mapping[str, Any], *, may_be_null: bool) -> SchemaField:
    most: Any = schema.get("maxItems")
    unfit = [name for name in ("contains", "uniqueItems") if schema.get(name)]
    unfit += [f"minItems {schema['minItems']}"] if schema.get("minItems") else []
    if _is_number(most) and most > GREATEST_MAX_ELEMENTS:
        unfit.append(f"maxItems {most} (at most {GREATEST_MAX_ELEMENTS})")
        most = GREATEST_MAX_ELEMENTS
    return SchemaField(
        place,
        "string",
        nullable=may_be_null,
        unfit=tuple(unfit),
        description=_described(schema),
        is_list=True,
        max_elements=int(most) if _is_number(most) else None,
    )


def _described(schema: Mapping[str, Any]) -> str | None:
    found = schema.get("description") or schema.get("title")
    return found if isinstance(found, str) else None


def _column(place: Place, schema: Mapping[str, Any], *, may_be_null: bool) -> SchemaField:
    if len(place[-1]) == 0:
        raise _UnreadableError("it has no name")
    kind, values = schema.get("type"), schema.get("enum", [schema["const"]] if "const" in schema else None)
    if kind is None and isinstance(values, list) and values and all(isinstance(value, str) for value in values):
        kind = "string"
    if kind == "array":
        raise _UnreadableError(IS_LIST_IN_LIST)
    if kind == "object":
        raise _UnreadableError(IS_MAP)
    if kind in (None, []):
        raise _UnreadableError(_ONE_OF_SEVERAL if "oneOf" in schema or "anyOf" in schema else "it has no type")
    if isinstance(kind, list):
        raise _UnreadableError("it has several types")
    if kind == "null":
        raise _UnreadableError("it is always null")
    if not isinstance(kind, str) or kind not in _PLAIN:
        raise _UnreadableError(f"it is of type {kind}")
    unfit = [f"{name} {schema[name]}" if name == "multipleOf" else name for name in _UNFIT if name in schema]
    field = SchemaField(place, _PLAIN[kind], nullable=may_be_null, description=_described(schema))
    if values is not None:
        if kind == "string" and values and all(isinstance(value, str) for value in values):
            # Every value passes its rules, or can never be one.
            return replace(field, values=tuple(dict.fromkeys(values)), unfit=tuple(unfit))
        unfit.append("enum" if "enum" in schema else "const")
    if kind == "string":
        return _text(field, schema, unfit)
    return replace(field, rules=_bounds(field.type, schema), unfit=tuple(unfit))


def _text(field: SchemaField, schema: Mapping[str, Any], unfit: list[str]) -> SchemaField:
    form = _FORMS.get(str(schema.get("format")))
    if form is None and schema.get("contentEncoding") == "base64":
        form = "bytes"
    rules: dict[str, Any] = {}
    for name, setting in (("minLength", "min_length"), ("maxLength", "max_length"), ("pattern", "pattern")):
        if name not in schema or (name == "minLength" and schema[name] == 0):
            continue
        if form is not None:
            unfit.append(f"{name} (of a {schema.get('format', 'base64')})")
        elif name == "pattern":
            try:
                rules[setting] = common_pattern(str(schema[name]))
            except ValueError as error:
                unfit.append(f"pattern {schema[name]!r} ({error})")
        else:
            rules[setting] = int(schema[name])
    if form == "iso8601":
        field = replace(field, type="long")
    return replace(field, form=form, rules=rules, unfit=tuple(unfit))


def _bounds(kind: ColumnType, schema: Mapping[str, Any]) -> dict[str, Any]:
    """The bounds, as pydantic's ``Field`` calls them: of an inclusive one and an exclusive one, the tighter."""
    found: dict[str, Any] = {}
    for inclusive, exclusive, settings, sign in (
        ("minimum", "exclusiveMinimum", ("ge", "gt"), 1),
        ("maximum", "exclusiveMaximum", ("le", "lt"), -1),
    ):
        bounds = []
        if _is_number(schema.get(inclusive)):
            # Draft 4 says with true that the bound is exclusive.
            bounds.append((sign * schema[inclusive], schema.get(exclusive) is True))
        if _is_number(schema.get(exclusive)):
            bounds.append((sign * schema[exclusive], True))
        if bounds:
            bound, is_exclusive = max(bounds)
            if kind == "long" and bound != math.floor(bound):
                bound, is_exclusive = math.ceil(bound), False
            value = sign * bound
            # Every integer of 64 bits is within a bound beyond.
            if kind != "long" or INT64_MIN <= value <= INT64_MAX:
                found[settings[is_exclusive]] = int(value) if kind == "long" else value
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _with_presence(
    field: SchemaField, schema: Mapping[str, Any], *, is_required: bool, is_within_null: bool
) -> SchemaField:
    default = schema.get("default")
    if is_required:
        # Where the object around it is missing, a contract gives null.
        return replace(field, nullable=field.nullable or is_within_null, required=not is_within_null)
    if default is None:
        return replace(field, nullable=True, required=False)
    if field.form is not None or field.is_list:
        return without_default(field)
    if field.type == "double" and type(default) is int:
        default = float(default)
    return replace(field, required=False, default=default)
