"""From an event as it is written (nested objects) to the columns of its contract, and back.

The kernel's ``EventDecoder`` does the same while it decodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

from schemas.contract import Contract, ContractField, Role, contract_fields
from schemas.conversions import TIMESTAMPS, LogicalType, Unreadable, column_value, written_value
from schemas.written import ARRAY, TIME_FORMS, avro_name

_ABSENT = object()
_NO_OBJECT = object()


@cache
def converted_fields(contract: type[Contract]) -> tuple[ContractField, ...]:
    """The fields whose columns may be something else than the event's field of that name: the event time is one."""
    return tuple(f for f in contract_fields(contract) if not f.is_plain or Role.EVENT_TIME in f.roles)


def row_of(
    document: Mapping[str, Any], contract: type[Contract], avro: Mapping[str, LogicalType] | None = None
) -> dict[str, Any]:
    """The values of the contract's columns in an event, for ``contract.model_validate``.

    A column is missing where its field is; what its field's form does not allow is :class:`Unreadable`.

    Args:
        document: The event as its reader gives it.
        contract: The contract.
        avro: The logical types in the writer's schema, from :func:`logical_types`; None for JSON.
    """
    row = {field.name: document[field.name] for field in contract_fields(contract) if field.name in document}
    for field in converted_fields(contract):
        row.pop(field.name, None)
        value = _value_at(document, field, is_avro=avro is not None)
        if value is _NO_OBJECT and field.required:
            value = None
        if value is not _ABSENT and value is not _NO_OBJECT:
            if field.is_list:
                value = _list_value(value, field, avro)
            else:
                value = _column_value(value, field, (avro or {}).get(field.name))
            row[field.name] = value
    return row


def document_of(values: Mapping[str, Any], fields: Iterable[ContractField], *, avro: bool = False) -> dict[str, Any]:
    """The event with these values of columns, as JSON or for the contract's Avro schema.

    Lists of one array are written side by side, and a shorter one ends with nulls.

    Raises:
        ValueError: if a value does not fit its form, as a date that does not exist; begins with the field's path.
    """
    document: dict[str, Any] = {}
    written = [field for field in fields if field.name in values]
    lengths: dict[tuple[str, ...], int] = {}
    for field in written:
        if field.each is not None and (elements := values[field.name]) is not None:
            lengths[field.place] = max(len(elements), lengths.get(field.place, 0))
    for field in written:
        value = values[field.name]
        try:
            if field.is_list and value is not None:
                value = [written_value(element, field.written, field.scale, avro=avro) for element in value]
            else:
                value = written_value(value, field.written, field.scale, avro=avro)
        except (ValueError, OverflowError):
            raise ValueError(f"{field.path}: cannot be written as {field.written}") from None
        if field.place in lengths:
            value = [*(value or []), *[None] * (lengths[field.place] - len(value or []))]
        place(document, field, value, avro=avro)
    return document


def place(document: dict[str, Any], field: ContractField, value: Any, *, avro: bool = False) -> None:
    """Put a written value where the field is; values of a list, one by one, into the elements of the array there."""
    if field.each is None:
        _put(document, field.place, value, avro=avro)
        return
    array = _value_at(document, field, is_avro=avro)
    if not isinstance(value, list):
        if not isinstance(array, list):
            _put(document, field.place, value, avro=avro)
        return
    array = array if isinstance(array, list) else []
    array += [{} for _ in value[len(array) :]]
    for element, one in zip(array, value, strict=False):
        _put(element, field.each, one, avro=avro)
    _put(document, field.place, array, avro=avro)


def _put(document: dict[str, Any], place: Iterable[str], value: Any, *, avro: bool) -> None:
    *way, last = [avro_name(name) for name in place] if avro else place
    for name in way:
        document = document.setdefault(name, {})
    document[last] = value


def logical_types(
    parsed: Any,
    contract: type[Contract],
    place_of: Callable[[ContractField], tuple[str, ...]] = lambda field: field.way,
) -> dict[str, LogicalType]:
    """The logical types that matter in a writer's schema (from :func:`schemas.avro.parse_avro`), by column.

    They are a timestamp's where the column is a time, and a decimal's where it is a decimal. ``place_of`` says where
    a field's value is in the schema.
    """
    records: dict[str, Any] = {}
    kinds: tuple[str, ...]
    names: tuple[str, ...]
    _collect(parsed, records)
    found = {}
    for field in converted_fields(contract):
        if Role.EVENT_TIME in field.roles or field.written in TIME_FORMS:
            kinds, names = ("long",), TIMESTAMPS
        elif field.written == "decimal":
            kinds, names = ("bytes", "fixed"), ("decimal",)
        else:
            continue
        for branch in _branches_at(parsed, place_of(field), records):
            if branch["type"] in kinds and branch.get("penstock.logicalType") in names:
                found[field.name] = branch
                break
    return found


def _list_value(value: Any, field: ContractField, avro: Mapping[str, LogicalType] | None) -> Any:
    """The values of an array's elements, in order; what breaks a rule of lists is :class:`Unreadable`."""
    if value is None or isinstance(value, Unreadable):
        return value
    if not isinstance(value, list):
        return Unreadable("must be an array")
    if field.max_elements is not None and len(value) > field.max_elements:
        return Unreadable(f"must have at most {field.max_elements} elements")
    logical = (avro or {}).get(field.name)
    found = []
    for element in value:
        one = _column_value(_within(element, field, is_avro=avro is not None), field, logical)
        if isinstance(one, Unreadable):
            return one
        if one is not None:
            found.append(one)
        elif not field.nullable_elements:
            return Unreadable("must have a value in every element")
    return found


def _within(element: Any, field: ContractField, *, is_avro: bool) -> Any:
    """A list's value in one element of the array; None if the way to it ends early."""
    node = element
    for name in field.each or ():
        if node is None:
            return None
        if not isinstance(node, dict):
            return Unreadable("must be within objects in every element")
        node = node.get(name if name in node or not is_avro else avro_name(name))
    return node


def _column_value(value: Any, field: ContractField, avro: LogicalType | None) -> Any:
    if isinstance(value, Unreadable):
        return value
    if field.otherwise is not None and type(value) is str:
        assert field.enum is not None
        return value if value in field.enum else field.otherwise
    if field.written is None and Role.EVENT_TIME not in field.roles:
        return value
    return column_value(value, field.written, field.value_type, field.scale, field.precision, avro)


def _value_at(document: Mapping[str, Any], field: ContractField, *, is_avro: bool) -> Any:
    node: Any = document
    for depth, name in enumerate(field.place):
        if node is None:
            return _NO_OBJECT
        if not isinstance(node, dict):
            return Unreadable(f"{'.'.join(field.place[:depth])} is not an object")
        key = name if name in node or not is_avro else avro_name(name)
        if key not in node:
            return _ABSENT if depth == len(field.place) - 1 else _NO_OBJECT
        node = node[key]
    return node


def _collect(schema: Any, records: dict[str, Any]) -> None:
    if isinstance(schema, list):
        for branch in schema:
            _collect(branch, records)
    elif isinstance(schema, dict):
        if "name" in schema and schema["name"] not in records:
            records[schema["name"]] = schema
        for field in schema.get("fields", ()):
            _collect(field["type"], records)
        for part in ("type", "items", "values"):
            _collect(schema.get(part), records)


def _branches(schema: Any, records: Mapping[str, Any]) -> list[Any]:
    """The types of a field that are no unions, each as an object with its ``type``."""
    if isinstance(schema, list):
        return [found for branch in schema for found in _branches(branch, records)]
    if isinstance(schema, str):
        return [records.get(schema, {"type": schema})]
    return [schema] if isinstance(schema["type"], str) else _branches(schema["type"], records)


def _branches_at(schema: Any, place: tuple[str, ...], records: Mapping[str, Any]) -> list[Any]:
    branches = _branches(schema, records)
    for name in place:
        for branch in branches:
            if name == ARRAY:
                if branch["type"] == "array":
                    branches = _branches(branch["items"], records)
                    break
                continue
            if branch["type"] == "map":
                branches = _branches(branch["values"], records)
                break
            types = {field["name"]: field["type"] for field in branch.get("fields", ())}
            if (kind := types.get(name, types.get(avro_name(name)))) is not None:
                branches = _branches(kind, records)
                break
        else:
            return []
    return branches
