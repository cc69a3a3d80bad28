"""Checks of the SQL over an event's columns: derived columns, conditions of aggregates, filters of sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from schemas.contract import ColumnType
from schemas.feature_types import FeatureType, element_of
from streams.definitions.columns import Derived, PythonColumn
from streams.definitions.sources import Source
from streams.definitions.sql.parser import parse
from streams.definitions.sql.tree import SqlError, names
from streams.definitions.sql.typed import typed
from streams.definitions.views import View


def columns_of(sql: str) -> list[str]:
    """The columns that an expression over an event uses."""
    return list(dict.fromkeys(name.name for name in names(parse(sql))))


def check_expressions(
    fields: Mapping[str, FeatureType],
    derived: Mapping[str, Derived | PythonColumn],
    sources: Sequence[Source],
    views: Sequence[View],
) -> None:
    """Check every expression over the columns: a derived column may use those before it, conditions may use all.

    Raises:
        ValueError: if one is wrong; names where it is, and marks the place in it.
    """
    types = dict(fields)
    for name, column in derived.items():
        if isinstance(column, Derived):
            _check(f"derived column {name}", column.sql, types, column.type)
        else:
            for used in column.columns:
                if used not in types:
                    raise ValueError(f"derived column {name}: no column {used!r}; there are {', '.join(types)}")
                if element_of(types[used]) is not None:
                    raise ValueError(
                        f"derived column {name}: {used} is a list, which a Python column does not take; "
                        f"derive a value from it by SQL, such as CARDINALITY({used})"
                    )
        types[name] = column.type
    for source in sources:
        if source.filter is not None:
            _check(f"filter of source {source.topic}", source.filter, types, "boolean")
    for view in views:
        for aggregate in view.aggregates:
            if aggregate.where is not None:
                _check(f"view {view.name}, where of {aggregate.name}", aggregate.where, types, "boolean")


def _check(where: str, sql: str, types: Mapping[str, FeatureType], kind: ColumnType) -> None:
    try:
        typed(sql, types, kind)
    except SqlError as error:
        raise ValueError(f"{where}: {error}") from None
