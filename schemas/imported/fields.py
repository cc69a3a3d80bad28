"""The fields of a schema that is not Penstock's: those that a column can hold, and why the others cannot be one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from schemas.kinds import ColumnType
from schemas.written import Form

Place = tuple[str, ...]

IS_LIST, IS_MAP = "it is a list", "it is a map"
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
    """

    place: Place
    why: str

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


def without_default(found: SchemaField) -> SchemaField:
    """The field without the default that the schema gives it: a contract has none for a value in a form of its own."""
    unfit = (*found.unfit, f"default (a {found.form} can have none)")
    return replace(found, nullable=True, required=False, unfit=unfit)
