"""What an annotation of a contract's field says of its column: the type, and the rules of a list's elements."""

from __future__ import annotations

from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from annotated_types import MaxLen
from pydantic.fields import FieldInfo

from schemas.constraints import constraints_of

MAX_ELEMENTS = 100
"""The most elements of a list without ``max_length``: an event updates windows once for each."""
GREATEST_MAX_ELEMENTS = 10_000
_TYPES: dict[Any, str] = {str: "string", int: "long", float: "double", bool: "boolean"}


class Elements(Enum):
    """What is noted of a list whose elements may be null in an event: in an instance none is."""

    NULLABLE = "nullable"


class FieldType(NamedTuple):
    """The type of a column, and what ``ContractField`` has because of it.

    Args:
        type: The type; that of a list ends with ``[]``.
        nullable: Whether it may be null.
        settings: ``enum`` and all constraints. Of a list, those of its elements, ``max_elements`` and
            ``nullable_elements``.
    """

    type: str
    nullable: bool
    settings: dict[str, Any]


def settle_list(where: str, info: FieldInfo) -> bool:
    """Change a list's annotation, in place, to that of instances: without null elements, and of limited length.

    Returns whether it is a list.
    """
    whole, nullable = _without_null(where, info.annotation)
    if get_origin(whole) is not list:
        return False
    inner, rules = _element(whole)
    element, has_nulls = _without_null(where, inner)
    if has_nulls:
        info.metadata.append(Elements.NULLABLE)
    if "max_length" not in constraints_of(where, "list", _rules(info)):
        info.metadata.append(MaxLen(MAX_ELEMENTS))
    item: Any = Annotated[(element, *rules)] if rules else element
    settled: Any = list[item]
    info.annotation = settled | None if nullable else settled
    return True


def field_type(where: str, info: FieldInfo, constraints: list[Any]) -> FieldType:
    """The type that a field's annotation gives its column; ``constraints`` are those of its metadata.

    Raises:
        TypeError: if no column can have it, or a constraint does not fit; begins with ``where``.
    """
    whole, nullable = _without_null(where, info.annotation)
    if get_origin(whole) is not list:
        kind, enum = _scalar(where, whole)
        settings = constraints_of(where, "enum" if enum else kind, constraints)
        return FieldType(kind, nullable, settings | ({"enum": enum} if enum else {}))
    element, rules = _element(whole)
    kind, enum = _scalar(where, element, " as an element of a list")
    settings = constraints_of(where, "enum" if enum else kind, _of_elements(where, rules))
    settings |= {"enum": enum} if enum else {}
    most = constraints_of(where, "list", constraints)["max_length"]
    if not 1 <= most <= GREATEST_MAX_ELEMENTS:
        raise TypeError(f"{where}: max_length of a list is from 1 to {GREATEST_MAX_ELEMENTS}")
    settings |= {"max_elements": most}
    settings |= {"nullable_elements": True} if Elements.NULLABLE in info.metadata else {}
    return FieldType(f"{kind}[]", nullable, settings)


def _rules(info: FieldInfo) -> list[Any]:
    return [item for item in info.metadata if isinstance(item, MaxLen)]


def _element(whole: Any) -> tuple[Any, tuple[Any, ...]]:
    """The type of a list's elements, and the rules in the brackets beside it."""
    (inner,) = get_args(whole)
    return (get_args(inner)[0], get_args(inner)[1:]) if get_origin(inner) is Annotated else (inner, ())


def _without_null(where: str, annotation: Any) -> tuple[Any, bool]:
    if get_origin(annotation) not in (Union, UnionType):
        return annotation, False
    members = [one for one in get_args(annotation) if one is not NoneType]
    if len(members) != 1:
        raise TypeError(f"{where}: a field is one type, or one type | None, not {annotation}")
    return members[0], len(members) < len(get_args(annotation))


def _scalar(where: str, annotation: Any, place: str = "") -> tuple[str, tuple[str, ...] | None]:
    if get_origin(annotation) is Annotated:
        raise TypeError(f"{where}: write Annotated around the whole type, as in Annotated[str | None, ...]")
    if get_origin(annotation) is Literal and all(type(a) is str for a in get_args(annotation)):
        return "string", get_args(annotation)
    try:
        return _TYPES[annotation], None
    except (KeyError, TypeError):
        types = "str, int, float, bool or Literal of strings" + ("" if place else ", or list[...] of one of them")
        raise TypeError(f"{where}: type {annotation} is not supported{place}; use {types}") from None


def _of_elements(where: str, rules: tuple[Any, ...]) -> list[Any]:
    """The constraints in a list's brackets, those in a ``Field`` too."""
    found: list[Any] = []
    plain = FieldInfo()
    for rule in rules:
        if not isinstance(rule, FieldInfo):
            found.append(rule)
            continue
        for setting in FieldInfo.__slots__:
            is_other = not setting.startswith("_") and setting != "metadata"
            if is_other and getattr(rule, setting) != getattr(plain, setting):
                raise TypeError(f"{where}: {setting}= belongs beside the list, not to its elements")
        found += rule.metadata
    return found
