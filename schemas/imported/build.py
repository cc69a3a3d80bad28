"""A contract from the fields of a schema and what a call says about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field, create_model

from penstock.errors import PenstockError
from schemas.imported.choices import Choices, Path, Places, chosen, with_keys
from schemas.imported.fields import Place, Schema, SchemaField
from schemas.imported.names import column_name
from schemas.kinds import (
    ENTITY,
    EVENT_ID,
    EVENT_TIME,
    PII_DROP,
    PII_HASH,
    ColumnType,
    Compatibility,
    Pii,
    Role,
)
from schemas.written import COLUMNS, AsDecimal, At, Form, Otherwise, Written

Made = TypeVar("Made", bound=BaseModel)

_PYTHON: Mapping[ColumnType, type] = {"string": str, "long": int, "double": float, "boolean": bool}
# Of which type a value is before its form is read, where a call names the form.
_RAW: Mapping[Form, tuple[ColumnType, ...]] = {
    "iso8601": ("string",),
    "seconds": ("long",),
    "microseconds": ("long",),
    "nanoseconds": ("long",),
    "date": ("string", "long"),
    "uuid": ("string",),
    "bytes": ("string",),
    "decimal": ("string",),
}


def contract_from(
    base: type[Made], schema: Schema, choices: Choices, *, name: str, version: int, compatibility: Compatibility
) -> type[Made]:
    """A subclass of ``base``, the class of contracts, with the fields of a schema.

    Raises:
        PenstockError: what no contract can have; says which argument of the call decides it.
    """
    schema = with_keys(schema, choices.get("keys", ()))
    places = Places(schema)
    fields = chosen(schema, places, choices)
    roles = _roles(places, choices)
    personal = _personal(places, choices)
    forms = {places.field("written", path): marker for path, marker in choices.get("written", {}).items()}
    types = {places.field("types", path): type_ for path, type_ in choices.get("types", {}).items()}
    limits = {places.within("max_elements", [path])[0]: most for path, most in choices.get("max_elements", {}).items()}
    kept = {field.place for field in fields}
    for place in (*roles, *personal, *forms, *types):
        if place not in kept:
            path = ".".join(place)
            raise PenstockError(
                f"{path} has a role, a form or a type in the call, but is left out of the contract",
                where=schema.where,
                next=f"take {path} out of leave_out, or add it to only",
            )
    definitions: dict[str, Any] = {}
    try:
        names = _names(places, fields, choices.get("names", {}))
        for field in fields:
            formed = _with_form(_with_limit(field, limits), forms.get(field.place), types.get(field.place))
            markers = [*roles.get(field.place, ()), *personal.get(field.place, ())]
            definitions[names[field.place]] = _definition(formed, names[field.place], markers)
        title = "".join(word[:1].upper() + word[1:] for word in str(name).split("_"))
        made: type[Made] = create_model(
            title,
            __base__=base,
            __doc__=schema.description,
            __cls_kwargs__={"name": name, "version": version, "compatibility": compatibility},
            **definitions,
        )
    except TypeError as error:
        raise PenstockError(
            f"the schema makes no contract: {error}",
            where=schema.where,
            next="decide it in the call (written, types, unchecked, names), or leave the field out (leave_out)",
        ) from error
    return made


def _roles(places: Places, choices: Choices) -> dict[Place, list[Role]]:
    found: dict[Place, list[Role]] = {places.field("event_time", choices["event_time"]): [EVENT_TIME]}
    if (event_id := choices.get("event_id")) is not None:
        found.setdefault(places.field("event_id", event_id), []).append(EVENT_ID)
    for place in places.fields("entities", choices.get("entities", ())):
        found.setdefault(place, []).append(ENTITY)
    return found


def _personal(places: Places, choices: Choices) -> dict[Place, list[Pii]]:
    found: dict[Place, list[Pii]] = {}
    for place in places.fields("pii_hash", choices.get("pii_hash", ())):
        found.setdefault(place, []).append(PII_HASH)
    for place in places.fields("pii_drop", choices.get("pii_drop", ())):
        found.setdefault(place, []).append(PII_DROP)
    return found


def _names(places: Places, fields: list[SchemaField], given: Mapping[Path, str]) -> dict[Place, str]:
    names = {places.field("names", path): name for path, name in given.items()}
    taken: set[str] = set()
    for place, name in names.items():
        if name in taken:
            raise TypeError(f"two fields have the name {name}, {'.'.join(place)} is one of them")
        taken.add(name)
    for field in fields:
        if field.place not in names:
            names[field.place] = column_name(field.place, taken)
            taken.add(names[field.place])
    return names


def _with_limit(field: SchemaField, limits: Mapping[Place, int]) -> SchemaField:
    """The field, with the most elements that the call gives it, or the array that it is in."""
    for place, most in limits.items():
        if field.place[: len(place)] == place:
            if not field.is_list or field.max_elements is not None:
                said = f"the schema says {field.max_elements}" if field.is_list else "it is no array"
                raise TypeError(f"max_elements names {field.path}, and {said}")
            return replace(field, max_elements=most)
    return field


def _with_form(field: SchemaField, marker: Written | AsDecimal | None, kind: type | None) -> SchemaField:
    """The field, with the form and the type that the call gives it."""
    if marker is not None:
        form: Form = "decimal" if isinstance(marker, AsDecimal) else marker.value
        if field.form is not None or field.values or field.type not in _RAW[form]:
            said = field.form or ("an enum" if field.values else f"a {_PYTHON[field.type].__name__}")
            raise TypeError(f"written says that {field.path} is {form}, and the schema says that it is {said}")
        column: Any = field.type if form == "date" else COLUMNS[form][0]
        field = replace(field, form=form, type=column, is_ms=False)
        if isinstance(marker, AsDecimal):
            field = replace(field, scale=marker.scale, precision=marker.precision)
    if kind is not None:
        allowed = COLUMNS[field.form] if field.form else ("long", "double") if field.type == "long" else (field.type,)
        column = next((column for column in allowed if _PYTHON[column] is kind), None)  # type: ignore[index]
        if column is None or field.values:
            may_be = "str" if field.values else " or ".join(_PYTHON[one].__name__ for one in allowed)  # type: ignore[index]
            raise TypeError(f"types gives {field.path} the type {kind.__name__}, and its column can be {may_be}")
        default = float(field.default) if column == "double" and type(field.default) is int else field.default
        field = replace(field, type=column, default=default)
    return field


def _definition(field: SchemaField, name: str, markers: list[Role | Pii]) -> tuple[Any, Any]:
    """The annotation and the default of the column."""
    kind: Any = Literal[field.values] if field.values else _PYTHON[field.type]
    # An event without its time or id is none, though the schema may allow null.
    is_needed = EVENT_TIME in markers or EVENT_ID in markers
    if is_needed and field.is_list:
        raise TypeError(f"{field.path} is the event time or id, and its column is a list")
    if EVENT_TIME in markers and field.type != "long":
        written = f'written={{"{field.path}": ISO8601}}' if field.type == "string" else "types or another event_time"
        raise TypeError(f"{field.path} is the event time, and its column is {kind}: give {written}")
    nullable = not is_needed and (field.nullable or (not field.required and field.default is None))
    required = is_needed or field.required
    details: list[Any] = [*markers]
    if field.place != (name,):
        details.append(At(field.place))
    if field.form == "decimal":
        assert field.scale is not None
        assert field.precision is not None
        details.append(AsDecimal(field.scale, field.precision))
    elif field.form is not None:
        details.append(Written(field.form))
    if field.otherwise is not None:
        details.append(Otherwise(field.otherwise))
    if field.is_list:
        element: Any = Annotated[(kind | None if field.nullable_elements else kind, Field(**field.rules))]
        kind = list[element]
        limit: dict[str, Any] = {} if field.max_elements is None else {"max_length": field.max_elements}
        details.append(Field(description=field.description, **limit))
    else:
        details.append(Field(description=field.description, **field.rules))
    return Annotated[(kind | None if nullable else kind, *details)], ... if required else field.default
