"""What the fields of events are: from a schema of theirs to columns of a contract, and where that schema is read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from penstock.errors import PenstockError
from penstock.starting.findings import Column, Findings, Origin, named
from penstock.starting.times import MARKERS
from schemas.imported.avro import read_avro_schema
from schemas.imported.fields import NoColumn, Schema, SchemaField
from schemas.imported.json_document import read_json_schema
from schemas.imported.protobuf_file import compile_command, read_protobuf_file

_MOST_VALUES = 50
_TIMES = {form: time for time, (form, _) in MARKERS.items()}
_COMPILED = (".pb", ".desc", ".binpb", ".protoset")


def findings_of_file(path: Path, message: str | None) -> Findings:
    """The columns for a schema in a file: Avro, JSON Schema, or a compiled Protobuf file with all that it imports.

    Args:
        path: The file.
        message: Of Protobuf, the full name of the message; None: the only one.

    Raises:
        PenstockError: if it cannot be read.
    """
    if path.suffix == ".proto":
        raise PenstockError(
            "a .proto file is to be compiled first",
            where=str(path),
            safe="nothing was written",
            next=f"{compile_command(str(path))}, then the same command with {path.with_suffix('.pb')}",
        )
    try:
        content = path.read_bytes()
        if path.suffix in _COMPILED:
            return findings_of_protobuf(content, message, str(path))
        return findings_of_document(json.loads(content.decode("utf-8-sig")), str(path))
    except (OSError, ValueError, RecursionError) as error:
        raise PenstockError(
            f"the schema cannot be read: {error}", where=str(path), safe="nothing was written"
        ) from error


def findings_of_document(document: Any, where: str) -> Findings:
    """The columns for an Avro schema of a record, or else a JSON Schema.

    Raises:
        PenstockError: if it is neither.
    """
    kind = document.get("type") if isinstance(document, dict) else None
    is_json_schema = kind == "object" or (kind is None and isinstance(document, dict) and bool(document))
    try:
        if is_json_schema:
            return findings_of_schema(read_json_schema(document, where), "json")
        return findings_of_schema(read_avro_schema(document, where), "avro")
    except PenstockError as error:
        error.safe = "nothing was written"
        raise


def findings_of_protobuf(content: bytes, message: str | None, where: str) -> Findings:
    """The columns for a message of a compiled Protobuf file.

    Raises:
        PenstockError: if it is none, or has several and none is named.
    """
    try:
        return findings_of_schema(read_protobuf_file(content, message, where), "protobuf")
    except PenstockError as error:
        error.safe = "nothing was written"
        error.next = (error.next or "").replace('give message="..."', "the same command with --message NAME")
        raise


def findings_of_schema(schema: Schema, origin: Origin) -> Findings:
    """The columns for the fields of a schema."""
    left_out = {field.path: field.why for field in schema.fields if isinstance(field, NoColumn)}
    columns, notes = [], []
    for field in schema.fields:
        if isinstance(field, SchemaField):
            rules, unfit = _rules(field)
            columns.append(_column(field, rules))
            notes += [f"{field.path}: not checked, as its schema has it: {', '.join(unfit)}"] if unfit else []
    return Findings(named(columns, left_out), left_out, tuple(notes), origin, 0)


def _rules(field: SchemaField) -> tuple[dict[str, Any], list[str]]:
    """The rules that the contract has; and those that it has not: a test needs a value that matches each pattern."""
    rules, unfit = dict(field.rules), list(field.unfit)
    pattern = rules.get("pattern")
    if pattern is not None and not re.search(pattern, text_of(rules)):
        unfit.append(f"pattern {rules.pop('pattern')}")
    return rules, unfit


def text_of(rules: Mapping[str, Any]) -> str:
    """A text of the least length.

    >>> text_of({"min_length": 3}), text_of({})
    ('aaa', 'a')
    """
    length: int = rules.get("min_length", 1)
    return "a" * max(1, length)


def _column(field: SchemaField, rules: dict[str, Any]) -> Column:
    is_enum = 0 < len(field.values) <= _MOST_VALUES
    return Column(
        name="",
        place=field.place,
        type=field.type,
        nullable=field.nullable,
        form=field.form,
        scale=field.scale,
        values=field.values if is_enum else (),
        is_enum=is_enum,
        time=_TIMES.get(field.form) if (field.form or field.is_ms) and not field.is_list else None,
        is_list=field.is_list,
        nullable_elements=field.nullable_elements,
        max_elements=field.max_elements,
        rules=rules,
        default=None if field.required or field.nullable else field.default,
    )
