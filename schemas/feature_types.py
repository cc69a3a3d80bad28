"""The types of columns, of features and of their values: column types, and lists of them such as ``string[]``.

List elements are never null. A list feature of an empty window is null, except that a histogram has zeros.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from schemas.contract import ColumnType, ListType

FeatureType = ColumnType | ListType
Value: TypeAlias = str | int | float | bool | None
"""The value of a column in one row."""
FeatureValue: TypeAlias = str | int | float | bool | list[Any] | None

_LISTS: dict[ColumnType, ListType] = {
    "string": "string[]",
    "long": "long[]",
    "double": "double[]",
    "boolean": "boolean[]",
}
_ELEMENTS: dict[FeatureType, ColumnType] = {whole: element for element, whole in _LISTS.items()}


def list_of(element: ColumnType) -> ListType:
    """Return the list type with elements of type ``element``.

    >>> list_of("long")
    'long[]'
    """
    return _LISTS[element]


def element_of(kind: FeatureType) -> ColumnType | None:
    """Return the type of a list's elements; None if ``kind`` is not a list.

    >>> element_of("long[]"), element_of("long")
    ('long', None)
    """
    return _ELEMENTS.get(kind)
