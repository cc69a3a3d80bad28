"""The fields of a schema that is not Penstock's: those that a column can hold, and why the others cannot be one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from schemas.kinds import ColumnType
from schemas.written import ARRAY, Form

Place = tuple[str, ...]

IS_LIST_IN_LIST, IS_MAP = "it is a list within a list", "it is a map"
IS_UNION = "it has a union of several types"
IS_RECURSIVE = "it contains itself, or nests too deep"


@dataclass(frozen=True)
class SchemaField:
    """A field that a column can hold.

    Attributes:
        place: The way to it in the event.
        type: The type of the column.
        nullable: Whether it, or an object on the way, may be null or missing.
        required: Whether it has no default.
        default: Its default, if it has one.
        form: The form in which it is written, if not that of the column.
        scale: The decimal places of a decimal.
        precision: Its most digits.
        values: All values of an enum.
        otherwise: What another value than those stands for.
        is_ms: Whether the schema says that it is a time in epoch milliseconds.
        rules: Its bounds, lengths and pattern, as pydantic's ``Field`` calls them.
        unfit: Its rules that no contract can have.
        description: What the schema says about it.
        is_list: Whether the column is a list of such values, and ``place`` an array, or goes through one: a name that
            ends with ``[]``. Then ``nullable`` and ``required`` are those of the array.
        nullable_elements: Whether an element may be without a value.
        max_elements: The most elements of the array, if the schema says it.
    """

    place: Place
    type: ColumnType
    nullable: bool = False
    required: bool = True
    default: str | float | bool | None = None
    form: Form | None = None
    scale: int | None = None
    precision: int | None = None
    values: tuple[str, ...] = ()
    otherwise: str | None = None
    is_ms: bool = False
    rules: Mapping[str, Any] = field(default_factory=dict)
    unfit: tuple[str, ...] = ()
    description: str | None = None
    is_list: bool = False
    nullable_elements: bool = False
    max_elements: int | None = None

    @property
    def path(self) -> str:
        """Its place as text."""
        return ".".join(self.place)


@dataclass(frozen=True)
class NoColumn:
    """A field that no column can hold.

    Attributes:
        place: The way to it in the event.
        why: The reason: "it is a map".
        key: Of a map, what a column of the value at one of its keys would be; None if no column can hold it.
    """

    place: Place
    why: str
    key: SchemaField | None = None

    @property
    def path(self) -> str:
        """Its place as text."""
        return ".".join(self.place)


Found = Iterator[SchemaField | NoColumn]


@dataclass(frozen=True)
class Schema:
    """All fields of a schema, in its order.

    Attributes:
        fields: The fields that are no objects, and the objects that cannot be read.
        where: The schema, for errors.
        description: What the schema says about the event.
    """

    fields: tuple[SchemaField | NoColumn, ...]
    where: str
    description: str | None = None


def is_in_list(place: Place) -> bool:
    """Whether the way to a place goes through an array."""
    return any(name.endswith(ARRAY) for name in place)


def in_array(found: Found, array: SchemaField) -> Found:
    """The columns of what is found in an element of an array.

    Args:
        found: The fields of an element, or the element itself.
        array: What its schema says of the array.
    """
    for one in found:
        yield _element(one, array) if isinstance(one, SchemaField) else _map_in_element(one, array)


def map_of(place: Place, value: SchemaField | None) -> NoColumn:
    """A map whose values are such."""
    return NoColumn(place, IS_MAP, None if value is None else replace(value, nullable=True, required=False))


def _element(field: SchemaField, array: SchemaField) -> SchemaField:
    unfit = (*array.unfit, *field.unfit)
    if field.default is not None:
        unfit = (*unfit, "default (a value in a list can have none)")
    return replace(
        field,
        nullable=array.nullable,
        required=array.required,
        default=None,
        unfit=unfit,
        description=field.description or (None if is_in_list(field.place) else array.description),
        is_list=True,
        nullable_elements=field.nullable or not field.required,
        max_elements=array.max_elements,
    )


def _map_in_element(field: NoColumn, array: SchemaField) -> NoColumn:
    return field if field.key is None else replace(field, key=_element(field.key, array))


def without_default(found: SchemaField) -> SchemaField:
    """The field without the default that the schema gives it.

    A contract has none for a value in a form of its own, and for a list.
    """
    unfit = (*found.unfit, f"default (a {'list' if found.is_list else found.form} can have none)")
    return replace(found, nullable=True, required=False, unfit=unfit)
