"""The constraints of a contract's field: those of pydantic's that the job's kernel has, too."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import annotated_types
from pydantic import AllowInfNan, Field, Strict

from schemas.patterns import check_pattern

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
_SURROGATE = re.compile("[\ud800-\udfff]")
# Java's greatest length of a text.
_GREATEST_LENGTH = 2**31 - 1
_GENERAL = type(Field(pattern="").metadata[0])  # pydantic's class for constraints without a class of their own
_FOR_NUMBERS = {"minimum", "minimum_exclusive", "maximum", "maximum_exclusive"}
_FOR_TEXT = {"min_length", "max_length", "pattern"}
_CONSTRAINTS_OF = {
    "long": _FOR_NUMBERS,
    "double": _FOR_NUMBERS,
    "string": _FOR_TEXT,
    "boolean": set(),
    "enum": set(),
    "list": {"max_length"},
}
_HINTS = {"list": "; a list has max_length, and its elements' rules stand in its brackets: list[Annotated[...]]"}


def constraints_of(where: str, kind: str, metadata: Iterable[Any]) -> dict[str, Any]:
    """Return the constraints in the metadata of a field of ``kind``, as ``ContractField`` calls them.

    Args:
        where: The field, for errors.
        kind: Its type, ``enum``, or ``list`` for a list as a whole.
        metadata: What its ``Annotated`` and ``Field`` have, without roles and personal data.

    Raises:
        TypeError: if one is not supported, does not fit the type, or is given twice.
    """
    found: dict[str, Any] = {}
    for item in _flat(metadata):
        constraint = _constraint(where, item)
        if twice := constraint.keys() & found.keys():
            raise TypeError(f"{where}: {min(twice)} is given twice")
        if constraint.keys() - _CONSTRAINTS_OF[kind]:
            raise TypeError(f"{where}: {item!r} does not fit the field's type{_HINTS.get(kind, '')}")
        found |= constraint
    for bound in ("minimum", "maximum"):
        if bound in found:
            _check_bound(where, kind, found[bound])
    return found


def value_problem(value: Any) -> str | None:
    """Why no record can hold a value, although pydantic takes it; of a list, one of its elements."""
    if isinstance(value, list):
        return next(filter(None, map(value_problem, value)), None)
    if type(value) is int and not INT64_MIN <= value <= INT64_MAX:
        return "integer does not fit 64 bits"
    if type(value) is str and _SURROGATE.search(value):
        return "unpaired surrogate"
    return None


def has_values(kind: str, low: float | None, low_exclusive: bool, high: float | None, high_exclusive: bool) -> bool:
    """Whether any value of type ``kind`` is within the bounds.

    >>> has_values("long", 5, True, 6, True), has_values("double", 5, True, 6, True)
    (False, True)
    """
    if kind == "long":
        least = INT64_MIN if low is None else int(low) + low_exclusive
        most = INT64_MAX if high is None else int(high) - high_exclusive
        return max(least, INT64_MIN) <= min(most, INT64_MAX)
    # An int is compared exactly, and need not be a double.
    least_double, most_double = -sys.float_info.max, sys.float_info.max
    if low is not None:
        least_double = float(low)
        if least_double < low or (low_exclusive and least_double == low):
            least_double = math.nextafter(least_double, math.inf)
    if high is not None:
        most_double = float(high)
        if most_double > high or (high_exclusive and most_double == high):
            most_double = math.nextafter(most_double, -math.inf)
    return least_double <= most_double and math.isfinite(least_double) and math.isfinite(most_double)


def _flat(metadata: Iterable[Any]) -> Iterator[Any]:
    for item in metadata:
        if isinstance(item, annotated_types.GroupedMetadata):  # StringConstraints, Interval, Len
            yield from _flat(item)
        else:
            yield item


def _constraint(where: str, item: Any) -> dict[str, Any]:
    found: dict[str, Any] | None = None
    match item:
        case annotated_types.Ge(ge=value):
            found = {"minimum": _bound(where, value)}
        case annotated_types.Gt(gt=value):
            found = {"minimum": _bound(where, value), "minimum_exclusive": True}
        case annotated_types.Le(le=value):
            found = {"maximum": _bound(where, value)}
        case annotated_types.Lt(lt=value):
            found = {"maximum": _bound(where, value), "maximum_exclusive": True}
        case annotated_types.MinLen(min_length=value):
            found = {"min_length": _length(where, value)}
        case annotated_types.MaxLen(max_length=value):
            found = {"max_length": _length(where, value)}
        case Strict(strict=True) | AllowInfNan(allow_inf_nan=False):
            found = {}
        case _ if isinstance(item, _GENERAL):
            found = _pattern(where, {name: value for name, value in vars(item).items() if value is not None})
    if found is None:
        raise TypeError(
            f"{where}: {item!r} is not supported in a contract; use ge, gt, le, lt, min_length, max_length, "
            "pattern (as text) or Literal of strings"
        )
    return found


def _pattern(where: str, settings: dict[str, Any]) -> dict[str, Any] | None:
    if settings.keys() != {"pattern"} or not isinstance(settings["pattern"], str):
        return None
    try:
        check_pattern(settings["pattern"])
    except ValueError as error:
        raise TypeError(f"{where}: pattern {settings['pattern']!r} is not supported: {error}") from None
    return settings


def _bound(where: str, value: Any) -> int | float:
    if type(value) is int or (type(value) is float and math.isfinite(value)):
        return value
    raise TypeError(f"{where}: a bound is a finite int or float, not {value!r}")


def _check_bound(where: str, kind: str, value: float) -> None:
    if kind == "long" and not (value == int(value) and INT64_MIN <= value <= INT64_MAX):
        raise TypeError(f"{where}: the bound of an int is a whole number of 64 bits, not {value!r}")
    if kind == "double" and abs(value) > sys.float_info.max:
        raise TypeError(f"{where}: the bound of a float must fit a double")


def _length(where: str, value: Any) -> int:
    if type(value) is not int or not 0 <= value <= _GREATEST_LENGTH:
        raise TypeError(f"{where}: a length is a whole number from 0 to {_GREATEST_LENGTH}, not {value!r}")
    return value
