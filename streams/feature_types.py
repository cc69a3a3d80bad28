"""The types of features and their values: those of columns, and lists of them, such as ``string[]``.

The elements of a list are never null. An empty window has no list but null, unless the aggregate counts.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from schemas.contract import ColumnType

ListType = Literal["string[]", "long[]", "double[]", "boolean[]"]
FeatureType = ColumnType | ListType
Value: TypeAlias = str | int | float | bool | None
"""The value of a column."""
FeatureValue: TypeAlias = str | int | float | bool | list[Any] | None

_LISTS: dict[ColumnType, ListType] = {
    "string": "string[]",
    "long": "long[]",
    "double": "double[]",
    "boolean": "boolean[]",
}
_ELEMENTS: dict[FeatureType, ColumnType] = {whole: element for element, whole in _LISTS.items()}


def list_of(element: ColumnType) -> ListType:
    """The list type of these elements.

    >>> list_of("long")
    'long[]'
    """
    return _LISTS[element]


def element_of(kind: FeatureType) -> ColumnType | None:
    """The type of a list's elements; None if it is no list.

    >>> element_of("long[]"), element_of("long")
    ('long', None)
    """
    return _ELEMENTS.get(kind)
