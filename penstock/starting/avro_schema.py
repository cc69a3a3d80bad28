"""What the fields of events are: from the Avro schema that they are written with to columns of a contract. Pure."""

from __future__ import annotations

from typing import Any

from penstock.starting.findings import Column, Findings, named
from penstock.starting.times import MARKERS
from schemas.imported.avro import read_avro_schema
from schemas.imported.fields import NoColumn, SchemaField

_MOST_VALUES = 50
_TIMES = {form: time for time, (form, _) in MARKERS.items()}


def findings_of_schema(document: Any, where: str) -> Findings:
    """The columns for an Avro schema.

    Args:
        document: The schema, as JSON.
        where: Its file or subject, for errors.

    Raises:
        PenstockError: if it is no schema of a record.
    """
    fields = read_avro_schema(document, where).fields
    left_out = {field.path: field.why for field in fields if isinstance(field, NoColumn)}
    columns = [_column(field) for field in fields if isinstance(field, SchemaField)]
    return Findings(named(columns, left_out), left_out, (), "avro", 0)


def _column(field: SchemaField) -> Column:
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
    )
