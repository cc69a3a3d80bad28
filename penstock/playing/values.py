"""The values of a file's rows as those of a contract: a CSV has texts only, Parquet and Avro have types of their own.

Only what means the same is converted. Everything else stays as it is, and the contract refuses it by name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from penstock.time import epoch_ms
from schemas.contract import Contract, ContractField, contract_fields

_INTEGER = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_BOOLEANS = {"true": True, "false": False}


def as_event(row: Mapping[str, Any], contract: type[Contract], *, is_text: bool) -> dict[str, Any]:
    """The fields of a row as the contract has them; fields that it does not have are left out.

    Args:
        row: The row.
        contract: The contract.
        is_text: Whether all values are texts. An empty one is then no value, unless the field must have a text.
    """
    fields = {field.name: field for field in contract_fields(contract)}
    convert = _of_text if is_text else _of_type
    return {
        name: convert(value, fields[name])
        for name, value in row.items()
        if name in fields and not (is_text and _is_absent(value, fields[name]))
    }


def _is_absent(value: str, field: ContractField) -> bool:
    return value == "" and (field.type != "string" or field.nullable or not field.required)


def _of_text(value: str, field: ContractField) -> object:
    if field.type == "long" and _INTEGER.fullmatch(value):
        return int(value)
    if field.type == "double" and _NUMBER.fullmatch(value):
        return float(value)
    if field.type == "boolean":
        return _BOOLEANS.get(value.lower(), value)
    return value


def _of_type(value: object, field: ContractField) -> object:
    if isinstance(value, datetime):
        return epoch_ms(value) if field.type == "long" else value.isoformat()
    if isinstance(value, Decimal) and field.type == "double":
        return float(value)
    if field.type == "double" and type(value) is int:
        return float(value)
    return value
