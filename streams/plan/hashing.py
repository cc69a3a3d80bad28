"""What gives a view its meaning, and the hash of it: a version whose hash changes no longer means what it meant."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from streams.definitions.columns import Derived, PythonColumn
from streams.definitions.feature_dependencies import columns_used, views_used
from streams.definitions.pipeline import Pipeline
from streams.definitions.sources import Source
from streams.definitions.views import View


def view_definition(pipeline: Pipeline, view: View) -> dict[str, Any]:
    """The view's meaning as plain data: itself, its derived columns, and the sources' rules for what is an event.

    Of other views whose features it uses, their versions and hashes.
    """
    others = [pipeline.view(name) for name in views_used(view)]
    used = {other.name: f"{other.version}:{view_hash(pipeline, other)}" for other in others}
    additional = [_events_of(source) for source in pipeline.additional_sources]
    definition = {
        "view": view.model_dump(mode="json", exclude={"refresh"}),
        "derived": {name: _meaning(pipeline.derived[name]) for name in _derived_columns_of(pipeline, view)},
        "source": _events_of(pipeline.source),
        **({"additional_sources": additional} if additional else {}),
    }
    return definition | ({"views": used} if used else {})


def _events_of(source: Source) -> dict[str, Any]:
    """Which events of a source there are, and their order; nothing of defaults that older definitions lack."""
    rules: dict[str, Any] = {
        "topic": source.topic,
        "contract": source.contract.contract_name,
        "key": source.key,
        "dedup_horizon_ms": source.dedup_horizon,
        "max_future_ms": source.max_future,
    }
    if source.order != "arrival":
        rules |= {"order": source.order, "disorder_ms": source.disorder}
    return rules if source.filter is None else rules | {"filter": source.filter}


def _meaning(column: Derived | PythonColumn) -> dict[str, Any]:
    if isinstance(column, Derived):
        return {"sql": column.sql, "type": column.type}
    return {"python": column.reference, "columns": column.columns, "type": column.type}


def _derived_columns_of(pipeline: Pipeline, view: View) -> list[str]:
    """Derived columns that the view depends on, through other derived columns too (each can use only earlier ones)."""
    texts = [
        *view.entity.columns,
        *(a.column or "" for a in view.aggregates),
        *(a.where or "" for a in view.aggregates),
        *columns_used(view),
    ]
    texts += [source.filter or "" for source in pipeline.sources]
    used = []
    for name, column in reversed(pipeline.derived.items()):
        if any(re.search(rf"\b{name}\b", text) for text in texts):
            used.append(name)
            texts += [column.sql] if isinstance(column, Derived) else column.columns
    return sorted(used)


def view_hash(pipeline: Pipeline, view: View) -> str:
    """The hash of :func:`view_definition`: two views with the same hash mean the same."""
    canonical = json.dumps(view_definition(pipeline, view), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
