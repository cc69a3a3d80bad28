"""The values of a file's rows as those of a contract: a CSV has texts only, Parquet and Avro have types of their own.

Only what means the same is converted. Everything else stays as it is, and the contract refuses it by name.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from schemas.contract import Contract, ContractField, contract_fields
from schemas.conversions import written_value
from schemas.documents import place
from schemas.written import TIME_FORMS, avro_name

_INTEGER = re.compile(r"[+-]?[0-9]+")
# Far more than 64 bits have; Python refuses to read one of several thousand digits.
_LONGEST_INTEGER = 100
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BOOLEANS = {"true": True, "false": False}


def as_event(row: Mapping[str, Any], contract: type[Contract], *, is_text: bool) -> dict[str, Any]:
    """The event of a row, as producers write it; fields that the contract does not have are left out.

    Args:
        row: The row.
        contract: The contract.
        is_text: Whether all values are texts. An empty one is then no value, unless the field must have a text. A field
            within objects is the cell whose header is its path, as in ``payload.amount`` or ``items[].sku``. A list is
            a JSON array.
    """
    event: dict[str, Any] = {}
    for field in contract_fields(contract):
        if not is_text:
            _copy(row, event, field.place, field)
        elif field.path in row and not _is_absent(value := row[field.path], field):
            place(event, field, _of_list(value) if field.is_list else _of_text(value, field))
    return event


def _copy(row: Mapping[str, Any], event: dict[str, Any], at: Sequence[str], field: ContractField) -> None:
    """Put a field's value where it is in the row; what is no object on the way is for the contract to refuse."""
    *way, last = at
    node: Any = row
    for name in way:
        key = _key(node, name)
        if key is None:
            return
        node = node[key]
        if not isinstance(node, Mapping):
            event[name] = node
            return
        event = event.setdefault(name, {})
    key = _key(node, last)
    if key is None:
        return
    value = node[key]
    if not field.is_list or not isinstance(value, list):
        event[last] = _of_type(value, field)
    elif field.each is None or at is field.each:
        event[last] = [_of_type(element, field) for element in value]
    elif all(element is None or isinstance(element, Mapping) for element in value):
        for element, copied in zip(value, event.setdefault(last, [{} for _ in value]), strict=True):
            _copy(element or {}, copied, field.each, field)
    else:
        event[last] = value  # no objects: for the contract to refuse


def _key(node: Mapping[str, Any], name: str) -> str | None:
    """Under which name it is there: in Avro, names have letters, digits and ``_`` only."""
    return next((key for key in (name, avro_name(name)) if key in node), None)


def _is_absent(value: str, field: ContractField) -> bool:
    return value == "" and (field.type != "string" or field.nullable or not field.required)


def _of_list(value: str) -> object:
    """The list in a cell, as JSON; what is none is for the contract to refuse."""
    try:
        return json.loads(value)
    except ValueError:
        return value


def _of_text(value: str, field: ContractField) -> object:
    if field.written == "decimal":
        return value
    if field.type == "long" and len(value) <= _LONGEST_INTEGER and _INTEGER.fullmatch(value):
        return int(value)
    if field.type == "double" and _NUMBER.fullmatch(value):
        return float(value)
    if field.type == "boolean":
        return _BOOLEANS.get(value.lower(), value)
    return value


def _of_type(value: object, field: ContractField) -> object:
    converted = value
    match value:
        case datetime():
            converted = _of_time(value, field)
        case date() | UUID():
            converted = value.isoformat() if isinstance(value, date) else str(value)
        case Decimal():
            converted = f"{value:f}" if field.written == "decimal" else float(value) if _is_number(field) else value
        case bytes() if field.written == "bytes":
            converted = base64.b64encode(value).decode()
        case int() if type(value) is int and _is_number(field):
            with contextlib.suppress(OverflowError):
                converted = float(value)
    return converted


def _is_number(field: ContractField) -> bool:
    return field.value_type == "double" and field.written is None


def _of_time(time: datetime, field: ContractField) -> object:
    # Rounded down, as the job does.
    ms = ((time if time.tzinfo else time.replace(tzinfo=UTC)) - _EPOCH) // timedelta(milliseconds=1)
    if field.written in TIME_FORMS:
        return written_value(ms, field.written, None, avro=False)
    return ms if field.value_type == "long" else time.isoformat()
