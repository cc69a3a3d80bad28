"""The meaning of a view as plain data, and its hash. If the hash of a view version changes, so did its meaning.

One part of the meaning is beside the hash: the types of optional fields without constraints (:func:`optional_fields`).
Adding such a field is the most common change of a contract, and must not empty a view's state.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from schemas.contract import ContractField, contract_fields
from streams.definitions.columns import Derived, PythonColumn
from streams.definitions.expressions import columns_of
from streams.definitions.feature_dependencies import columns_used, views_used
from streams.definitions.function_source import function_digest
from streams.definitions.pipeline import Pipeline
from streams.definitions.sources import Source
from streams.definitions.views import View


def view_definition(pipeline: Pipeline, view: View) -> dict[str, Any]:
    """The view's meaning as plain data: itself, its derived columns, its lookups, and the rules of the sources.

    Other views whose features it uses are in it by version and hash.
    """
    others = [pipeline.view(name) for name in views_used(view)]
    used = {other.name: f"{other.version}:{view_hash(pipeline, other)}" for other in others}
    derived, names = _derived_columns_of(pipeline, view)
    lookups = _lookups_of(pipeline, names)
    additional = [_source_rules(source, names) for source in pipeline.additional_sources]
    definition = {
        "view": view.model_dump(mode="json", exclude={"refresh"}),
        "derived": {name: _column_definition(pipeline.derived[name]) for name in derived},
        "source": _source_rules(pipeline.source, names),
        **({"additional_sources": additional} if additional else {}),
        **({"lookups": lookups} if lookups else {}),
    }
    return definition | ({"views": used} if used else {})


def optional_fields(pipeline: Pipeline) -> dict[str, str]:
    """The type of each optional field without constraints, by ``field of topic``.

    Under one view version, fields may be added to these. None may go or take another type: events that were valid would
    be refused, or the other way round.
    """
    return {
        f"{field.name} of {source.topic}": field.type
        for source in pipeline.sources
        for field in contract_fields(source.contract)
        if not _decides_validity(field)
    }


def _source_rules(source: Source, names: set[str]) -> dict[str, Any]:
    """A source's rules for valid events and their order. Options added later appear only if they are set.

    ``names`` are the columns that a view uses, directly or through derived ones. Of the contract, these fields count,
    and those that decide which events are valid. The others are in :func:`optional_fields`.
    """
    fields = [
        field
        for field in contract_fields(source.contract)
        if _decides_validity(field) or field.name == source.key or field.name in names
    ]
    rules: dict[str, Any] = {
        "topic": source.topic,
        "contract": source.contract.contract_name,
        "fields": {field.name: _field_rules(field) for field in fields},
        "key": source.key,
        "dedup_horizon_ms": source.dedup_horizon,
        "max_future_ms": source.max_future,
    }
    if source.max_bytes != Source.model_fields["max_bytes"].default:
        rules |= {"max_bytes": source.max_bytes}
    if source.order != "arrival":
        rules |= {"order": source.order, "disorder_ms": source.disorder}
    if source.envelope is not None:
        rules |= {"envelope": source.envelope.model_dump(mode="json")}
    return rules if source.filter is None else rules | {"filter": source.filter}


def _lookups_of(pipeline: Pipeline, names: set[str]) -> dict[str, Any]:
    """The lookups of the columns ``names``, and of those on which these join; adds the columns that they join on."""
    found = {}
    for lookup in reversed(pipeline.lookups):
        used = {column: field for column, field in lookup.fields.items() if column in names}
        if used:
            names |= set(lookup.on_columns)
            fields = {field.name: field for field in contract_fields(lookup.contract)}
            found[lookup.name] = {
                "topic": lookup.topic,
                "contract": lookup.contract.contract_name,
                "on": list(lookup.on_columns),
                "key": {name: _field_rules(fields[name]) for name in lookup.key_fields},
                "columns": {column: {"field": field.name} | _field_rules(field) for column, field in used.items()},
            }
    return found


def _field_rules(field: ContractField) -> dict[str, Any]:
    return field.model_dump(mode="json", exclude={"name", "description"}, exclude_defaults=True)


def _decides_validity(field: ContractField) -> bool:
    """Whether an event that lacks the field, or has a value of its type there, can be refused or be another event."""
    bounds = (field.minimum, field.maximum, field.min_length, field.max_length, field.pattern, field.enum)
    return (
        field.required
        or not field.nullable
        or not field.is_plain
        or bool(field.roles)
        or any(bound is not None for bound in bounds)
    )


def _column_definition(column: Derived | PythonColumn) -> dict[str, Any]:
    if isinstance(column, Derived):
        return {"sql": column.sql, "type": column.type}
    return {
        "python": column.reference,
        "source": function_digest(column.function),
        "columns": column.columns,
        "type": column.type,
    }


def _derived_columns_of(pipeline: Pipeline, view: View) -> tuple[list[str], set[str]]:
    """The derived columns on which the view depends, directly or through others (each can use only earlier ones).

    Also returns all columns that the view uses in this way.
    """
    conditions = [a.where for a in view.aggregates] + [source.filter for source in pipeline.sources]
    names = {
        *view.entity.columns,
        *(a.column for a in view.aggregates if a.column is not None),
        *columns_used(view),
        *(name for sql in conditions if sql is not None for name in columns_of(sql)),
    }
    used = []
    for name, column in reversed(pipeline.derived.items()):
        if name in names:
            used.append(name)
            names |= set(columns_of(column.sql) if isinstance(column, Derived) else column.columns)
    return sorted(used), names


def view_hash(pipeline: Pipeline, view: View) -> str:
    """The hash of :func:`view_definition`: two views with the same hash have the same meaning."""
    canonical = json.dumps(view_definition(pipeline, view), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
