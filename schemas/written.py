"""How producers write a field: its place in the event, and the form of its value. Declared in a field's ``Annotated``.

A field's annotation is the type of its column, which views use. What stands here says how to get there::

    bid_at: Annotated[int, EVENT_TIME, At("bid.time"), ISO8601]   # text with a zone, as epoch milliseconds
    price: Annotated[float, AsDecimal(scale=4)]                   # "12.5000", as a number
    exact: Annotated[str, At("fee"), AsDecimal(scale=2)]          # the same without rounding: "12.50"

A field without any is written under its own name, in the form of its column.

The way to a list goes through one array, and what is said of the form holds for each element::

    skus: Annotated[list[str], At("order.items[].sku")]           # one value for each item
    tags: Annotated[list[str], At("order.tags")]                  # an array of texts
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

ARRAY = "[]"
"""At the end of a name on the way to a list: the array there, of which each element is taken."""
Form = Literal["iso8601", "seconds", "microseconds", "nanoseconds", "date", "uuid", "bytes", "decimal"]
TIME_FORMS: tuple[Form, ...] = ("iso8601", "seconds", "microseconds", "nanoseconds")

# As the decimal128 of Arrow, DuckDB and Cassandra's clients.
MOST_DIGITS = 38
DEEPEST = 20  # names of At
# The types of columns that each form can have, the usual one first.
COLUMNS: dict[Form, tuple[str, ...]] = {
    **dict.fromkeys(TIME_FORMS, ("long",)),
    "date": ("string", "long"),
    "uuid": ("string",),
    "bytes": ("string",),
    "decimal": ("double", "string"),
}
_TYPE_NAMES = {"string": "str", "long": "int", "double": "float", "boolean": "bool"}


class Written(Enum):
    """The form of a value in the event; :class:`AsDecimal` is one with settings.

    ``ISO8601`` (text with a zone), ``SECONDS``, ``MICROSECONDS`` and ``NANOSECONDS`` are times; the column, an ``int``,
    has epoch milliseconds, rounded down. ``DATE`` is ``YYYY-MM-DD`` or days since 1970; the column has the text, or the
    days if it is an ``int``. ``UUID`` gives its text in lower case. ``BYTES`` gives base64.
    """

    ISO8601 = "iso8601"
    SECONDS = "seconds"
    MICROSECONDS = "microseconds"
    NANOSECONDS = "nanoseconds"
    DATE = "date"
    UUID = "uuid"
    BYTES = "bytes"


ISO8601, SECONDS = Written.ISO8601, Written.SECONDS
MICROSECONDS, NANOSECONDS = Written.MICROSECONDS, Written.NANOSECONDS
DATE, UUID, BYTES = Written.DATE, Written.UUID, Written.BYTES


@dataclass(frozen=True)
class AsDecimal:
    """A decimal number: text such as ``"-12.50"``, or Avro's ``decimal`` (bytes or fixed).

    A ``str`` column has the exact number with ``scale`` decimal places, a ``float`` column the nearest double.

    Args:
        scale: The decimal places. A value with more (that are not 0) is refused, never rounded.
        precision: The most digits, those after the point included.
    """

    scale: int
    precision: int = MOST_DIGITS


@dataclass(frozen=True)
class At:
    """Where the value is: ``At("payload.card.number")`` goes into objects (JSON), records and maps (Avro).

    If one of the objects on the way is missing or null, the field has its default, or else is null. The way to a list
    goes through one array: ``At("items[].sku")`` takes the ``sku`` of each item, ``At("tags")`` the elements.

    Args:
        path: Names joined by dots, or a tuple of names if one of them has a dot itself.
    """

    path: str | tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names on the way, from the event on."""
        return tuple(self.path.split(".")) if isinstance(self.path, str) else self.path


@dataclass(frozen=True)
class Otherwise:
    """What a field of ``Literal`` type is if the text is none of its values: ``Otherwise("other")``."""

    value: str


MARKERS = (Written, AsDecimal, At, Otherwise)


def settings_of(
    where: str, kind: str, enum: tuple[str, ...] | None, default: object, markers: Sequence[object]
) -> dict[str, Any]:
    """Return what the markers of a field say, as ``ContractField`` calls it.

    Args:
        where: The field, for errors.
        kind: The type of its column.
        enum: Its values, if it is a ``Literal``.
        default: Its default, or None.
        markers: Those of :data:`MARKERS` in its ``Annotated``.

    Raises:
        TypeError: if they contradict each other or the field.
    """
    found: dict[str, Any] = {}
    for marker in markers:
        match marker:
            case At():
                setting: dict[str, Any] = _way(where, marker, is_list=kind.endswith(ARRAY))
            case Otherwise(value=value):
                if enum is None or value not in enum:
                    raise TypeError(f"{where}: {marker!r} is for a Literal that has this value")
                setting = {"otherwise": value}
            case AsDecimal(scale=scale, precision=precision):
                if not (type(scale) is int and type(precision) is int and 0 <= scale <= precision <= MOST_DIGITS):
                    raise TypeError(f"{where}: {marker!r} needs 0 <= scale <= precision <= {MOST_DIGITS}")
                setting = {"written": "decimal", "scale": scale, "precision": precision}
            case Written():
                setting = {"written": marker.value}
            case _:
                raise TypeError(f"{where}: {marker!r} does not say how a value is written")
        if setting.keys() & found.keys():
            raise TypeError(f"{where}: two markers say {'where it is' if 'at' in setting else 'how it is written'}")
        found |= setting
    if (form := found.get("written")) is not None:
        _check_form(where, form, kind.removesuffix(ARRAY), enum, default)
    return found


def avro_name(name: str) -> str:
    """The name that an Avro field can have in place of ``name``.

    >>> avro_name("@timestamp"), avro_name("2nd-card"), avro_name("card")
    ('_timestamp', '_2nd_card', 'card')
    """
    found = re.sub("[^A-Za-z0-9_]", "_", name)
    return f"_{found}" if found[:1].isdigit() else found


def check_places(contract: str, places: dict[str, tuple[str, ...]]) -> None:
    """Check that no two fields have the same place, and that none lies within another, in JSON as in Avro.

    Args:
        contract: The contract, for errors.
        places: The way to each field; through an array it has :data:`ARRAY` after the array's name.

    Raises:
        TypeError: names the fields.
    """
    found: dict[tuple[str, ...], str] = {}
    for field, place in places.items():
        found_at = tuple(name if name == ARRAY else avro_name(name) for name in place)
        for other_place, other in found.items():
            common = next((n for n, (a, b) in enumerate(zip(found_at, other_place, strict=False)) if a != b), None)
            if common is None:
                raise TypeError(
                    f"contract {contract}: {field} is at {'.'.join(place).replace('.[]', ARRAY)}, and so is {other}; "
                    "a place in the event is one field's, and no object is a field itself"
                )
            if ARRAY in (found_at[common], other_place[common]):
                raise TypeError(
                    f"contract {contract}: {'.'.join(place[:common])} is an object for one of {field} and {other}, and "
                    "an array for the other"
                )
        found[found_at] = field


def _way(where: str, at: At, *, is_list: bool) -> dict[str, Any]:
    names = _names(where, at)
    if not is_list:
        return {"at": names}
    arrays = [depth for depth, name in enumerate(names) if name.endswith(ARRAY) and name != ARRAY]
    if len(arrays) > 1:
        raise TypeError(f"{where}: {at!r} goes through {len(arrays)} arrays; the way to a list goes through one")
    if not arrays:
        return {"at": names}
    (depth,) = arrays
    way = (*names[:depth], names[depth].removesuffix(ARRAY))
    return {"at": way, **({"each": names[depth + 1 :]} if names[depth + 1 :] else {})}


def _names(where: str, at: At) -> tuple[str, ...]:
    names = at.names
    if not 0 < len(names) <= DEEPEST or not all(isinstance(name, str) and name for name in names):
        raise TypeError(f"{where}: {at!r} must have 1 to {DEEPEST} names, none of them empty")
    return names


def _check_form(where: str, form: Form, kind: str, enum: tuple[str, ...] | None, default: object) -> None:
    if enum is not None or kind not in COLUMNS[form]:
        types = " or ".join(_TYPE_NAMES[column] for column in COLUMNS[form])
        more = ": the column has epoch milliseconds, however producers write the time" if form in TIME_FORMS else ""
        raise TypeError(f"{where}: the type of a field that is written as {form} is {types}{more}")
    if default is not None:
        raise TypeError(f"{where}: a field that is written as {form} can only have the default None")
