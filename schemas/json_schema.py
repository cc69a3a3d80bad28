"""JSON Schema of a contract whose fields are written elsewhere, or in another form, than their columns are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from schemas.contract import ContractField

_OF_FORMS: dict[str, dict[str, Any]] = {
    "iso8601": {"type": "string", "format": "date-time"},
    "seconds": {"type": "integer"},
    "microseconds": {"type": "integer"},
    "nanoseconds": {"type": "integer"},
    "date": {"type": "string", "format": "date"},
    "uuid": {"type": "string", "format": "uuid"},
    "bytes": {"type": "string", "contentEncoding": "base64"},
    "decimal": {"type": "string", "pattern": "^[+-]?[0-9]+(\\.[0-9]+)?$"},
}
_OF_TEXT = ("title", "description", "default", "examples")


def as_written(schema: dict[str, Any], field: ContractField) -> None:
    """Change, in place, the JSON Schema of a field's column to that of the written value.

    Bounds, lengths and patterns are of the column. They are left out, as they say nothing of another form.
    """
    of_form = _OF_FORMS.get(field.written or "")
    if field.otherwise is not None:
        of_form = {"type": "string"}
    if field.is_list:
        array = next(branch for branch in [schema, *schema.get("anyOf", ())] if branch.get("type") == "array")
        items = array["items"] if of_form is None else of_form
        array["items"] = {"anyOf": [items, {"type": "null"}]} if field.nullable_elements else items
        return
    if of_form is None:
        return
    kept = {name: schema[name] for name in _OF_TEXT if name in schema}
    schema.clear()
    schema |= kept | ({"anyOf": [of_form, {"type": "null"}]} if field.nullable else of_form)


def nest(document: dict[str, Any], fields: Sequence[ContractField]) -> None:
    """Move the properties of a contract's JSON Schema, in place, to where producers write them.

    An object is required if one of its fields is required and not null. Fields of one array are in its items.
    """
    columns, required = document["properties"], set(document.pop("required", ()))
    document["properties"] = {}
    for field in fields:
        parent, needed = document, field.name in required
        for depth, name in enumerate(field.place):
            is_last = depth == len(field.place) - 1
            if needed and (is_last or not field.nullable) and name not in parent.setdefault("required", []):
                parent["required"].append(name)
            if not is_last:
                parent = parent["properties"].setdefault(name, {"type": "object", "properties": {}})
            elif field.each is None:
                parent["properties"][name] = columns[field.name]
            else:
                _add_to_array(parent["properties"].setdefault(name, {}), field, field.each, columns[field.name])


def _add_to_array(array: dict[str, Any], field: ContractField, each: Sequence[str], column: dict[str, Any]) -> None:
    (of_list,) = (branch for branch in [column, *column.get("anyOf", ())] if branch.get("type") == "array")
    _set_type(array, "array", nullable=field.nullable)
    array["maxItems"] = min(of_list["maxItems"], array.get("maxItems", of_list["maxItems"]))
    parent, is_optional = array.setdefault("items", {}), bool(field.nullable_elements)
    for depth, name in enumerate(each):
        _set_type(parent, "object", nullable=is_optional)
        if not is_optional and name not in parent.setdefault("required", []):
            parent["required"].append(name)
        parent = parent.setdefault("properties", {})
        if depth == len(each) - 1:
            parent[name] = of_list["items"]
        else:
            parent = parent.setdefault(name, {})


def _set_type(schema: dict[str, Any], kind: str, *, nullable: bool) -> None:
    # What one field allows to be null, another one may need.
    schema["type"] = [kind, "null"] if nullable and schema.get("type") in (None, [kind, "null"]) else kind
