"""The SQL of derived features, whose names have a scope: their references, and their tree with types.

A reference is ``feature`` (of the view itself), ``view.feature`` (of another view in the same record) or
``event.column``.
"""

from __future__ import annotations

from collections.abc import Mapping

from schemas.contract import ColumnType
from streams.definitions.sql.parser import KEYWORDS, parse
from streams.definitions.sql.tree import Name, Node, SqlError, names, renamed
from streams.definitions.sql.typed import typed

EVENT = "event"
"""The scope of the event's own columns."""


def references(sql: str, view: str) -> tuple[str, ...]:
    """The references in the SQL of a derived feature of ``view``, as ``view.feature`` or ``event.column``.

    >>> references("CASE WHEN count_1h > 3 THEN ABS(shop.mean_1h - event.amount) END", "card")
    ('card.count_1h', 'shop.mean_1h', 'event.amount')

    Raises:
        SqlError: if a name has more than two parts.
    """
    return tuple(dict.fromkeys(_reference(name, sql, view) for name in names(parse(sql))))


def typed_feature(sql: str, view: str, types: Mapping[str, ColumnType], result: ColumnType) -> Node:
    """The tree of a derived feature's SQL, converted to its type; names are references. A long enters as a double.

    Args:
        sql: The expression.
        view: The view of the feature.
        types: The types of references, with their scopes.
        result: The type of the feature.

    Raises:
        SqlError: if an operation does not take what it is given, or a name is unknown.
    """
    of_names = {name.name: _reference(name, sql, view) for name in names(parse(sql))}
    found = {name: types[reference] for name, reference in of_names.items() if reference in types}
    return renamed(typed(sql, found, result, long_names_as_double=True), of_names)


def is_reserved(name: str) -> bool:
    """Whether a lower-case name is a reserved word of SQL, which cannot name a feature."""
    return name.upper() in KEYWORDS


def _reference(name: Name, sql: str, view: str) -> str:
    parts = name.name.split(".")
    if len(parts) > 2:
        raise SqlError(f"{name.name!r}: a name is feature, view.feature or event.column", sql, name.at)
    return name.name if len(parts) == 2 else f"{view}.{name.name}"
