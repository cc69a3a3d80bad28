"""What a call says about the fields of a schema: their roles, names and types, and which of them count. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import Any, Required, TypedDict

from penstock.errors import PenstockError
from schemas.imported.fields import IS_MAP, NoColumn, Place, Schema, SchemaField
from schemas.written import ARRAY, AsDecimal, Written

Path = str | tuple[str, ...]
"""The way to a field: names joined by dots, or a tuple of names if one of them has a dot itself."""


class Choices(TypedDict, total=False):
    """What ``Contract.from_avro`` and the like are told. Fields are named by their paths in the event.

    Attributes:
        event_time: The event time.
        event_id: The id, if events have one.
        entities: Fields by which views may count.
        pii_hash: Personal texts that are hashed.
        pii_drop: Personal texts that are dropped.
        names: Names of columns; the others are derived: ``payload.cardId`` becomes ``payload_card_id``.
        only: The fields that become columns, or objects of them; all, if it is not given.
        leave_out: Fields, or objects of them, that become no columns.
        written: The form of a value, where the schema does not say it: ``{"created": SECONDS}``.
        types: The type of a column that may have several: ``float`` or ``str`` of a decimal, ``str`` or ``int`` of a
            date, ``int`` or ``float`` of an integer.
        keys: Keys of maps that become columns: ``labels.area``. The other keys of such a map become none.
        max_elements: The most elements of an array of which the schema does not say it; else 100.
        unchecked: Fields, or objects of them, of whose rules those do not count that no contract can have.
    """

    event_time: Required[Path]
    event_id: Path | None
    entities: Sequence[Path]
    pii_hash: Sequence[Path]
    pii_drop: Sequence[Path]
    names: Mapping[Path, str]
    only: Sequence[Path] | None
    leave_out: Sequence[Path]
    written: Mapping[Path, Written | AsDecimal]
    types: Mapping[Path, type]
    keys: Sequence[Path]
    max_elements: Mapping[Path, int]
    unchecked: Sequence[Path]


_MOST_SHOWN = 8
_MOST_EXAMPLES = 4


class Places:
    """Finds the fields of a schema by what a call names."""

    def __init__(self, schema: Schema) -> None:
        self._where = schema.where
        self._fields = {field.place: field.path for field in schema.fields}
        self._all = {
            field.place[:depth]: ".".join(field.place[:depth])
            for field in schema.fields
            for depth in range(1, len(field.place) + 1)
        }

    def field(self, option: str, path: Path) -> Place:
        """The place of a field.

        Raises:
            PenstockError: the schema has none of that path.
        """
        return self._found(option, path, self._fields)

    def fields(self, option: str, paths: Sequence[Path]) -> list[Place]:
        """The places of fields, by :meth:`field`."""
        return [self.field(option, path) for path in self._several(option, paths)]

    def within(self, option: str, paths: Sequence[Path]) -> list[Place]:
        """The places of fields or objects.

        Raises:
            PenstockError: the schema has none of such a path.
        """
        return [self._found(option, path, self._all) for path in self._several(option, paths)]

    def _several(self, option: str, paths: Sequence[Path]) -> Sequence[Path]:
        if isinstance(paths, str):
            raise PenstockError(f"{option} is one text", where=self._where, next=f'give a tuple: {option}=("{paths}",)')
        return paths

    def _found(self, option: str, path: Path, known: Mapping[Place, str]) -> Place:
        text, place = (path, tuple(path.split("."))) if isinstance(path, str) else (".".join(path), path)
        if place in known:
            return place
        # An array by its name alone, or a list with the sign of an array.
        *way, last = place
        for other in ((*way, last + ARRAY), (*way, last.removesuffix(ARRAY))):
            if other in known:
                return other
        if isinstance(path, str) and (like := next((one for one in known if known[one] == path), None)):
            return like  # one of its names has a dot
        if place in self._all:
            what, near = (
                f"{option} names {text}, which is an object",
                [known[p] for p in known if p[: len(place)] == place],
            )
        else:
            what = f"{option} names {text}, which the schema does not have"
            near = get_close_matches(text, known.values())
        examples = list(dict.fromkeys([*near, *known.values()]))[:_MOST_EXAMPLES]
        raise PenstockError(
            what, where=self._where, next=f"{option} is the path of a field, such as {', '.join(examples)}"
        )


def with_keys(schema: Schema, keys: Sequence[Path]) -> Schema:
    """The schema with the named keys of its maps in place of these maps.

    Raises:
        PenstockError: it has no such map.
    """
    if isinstance(keys, str):
        raise PenstockError("keys is one text", where=schema.where, next=f'give a tuple: keys=("{keys}",)')
    named: dict[Place, list[SchemaField]] = {}
    maps = {field.place: field for field in schema.fields if isinstance(field, NoColumn) and field.why == IS_MAP}
    for key in keys:
        text = key if isinstance(key, str) else ".".join(key)
        found = next((one for one in maps.values() if text.startswith(f"{one.path}.")), None)
        if found is None or found.key is None:
            known = ", ".join(one.path for one in maps.values() if one.key is not None) or "none"
            raise PenstockError(
                f"keys names {text}, which is not the key of a map with values for a column",
                where=schema.where,
                next=f"a key is the path of a map and a name in it; such maps: {known}",
            )
        named.setdefault(found.place, []).append(replace(found.key, place=(*found.place, text[len(found.path) + 1 :])))
    fields = [one for field in schema.fields for one in named.get(field.place, [field])]
    return replace(schema, fields=tuple(fields))


def chosen(schema: Schema, places: Places, choices: Mapping[str, Any]) -> list[SchemaField]:
    """The fields that become columns.

    Raises:
        PenstockError: no column can hold one of them, or no contract can have one of its rules.
    """
    only = None if choices.get("only") is None else places.within("only", choices["only"])
    left_out = places.within("leave_out", choices.get("leave_out", ()))
    unchecked = places.within("unchecked", choices.get("unchecked", ()))
    kept = [
        field
        for field in schema.fields
        if not _is_within(field.place, left_out) and (only is None or _is_within(field.place, only))
    ]
    if not_columns := [field for field in kept if isinstance(field, NoColumn)]:
        found = _listed(f"{field.path} ({field.why})" for field in not_columns)
        raise PenstockError(
            f"no column can hold {found}",
            where=schema.where,
            next=f"add leave_out={_code(not_columns)} to the call; or only=(...) with the fields that you need",
        )
    fields = [field for field in kept if isinstance(field, SchemaField)]
    if unfit := [field for field in fields if field.unfit and not _is_within(field.place, unchecked)]:
        found = _listed(f"{field.path} ({', '.join(field.unfit)})" for field in unfit)
        raise PenstockError(
            f"no contract can have the rules of {found}",
            where=schema.where,
            next=f"add unchecked={_code(unfit)} to the call, which gives up these rules; or leave_out=(...)",
        )
    return fields


def _is_within(place: Place, objects: Iterable[Place]) -> bool:
    return any(place[: len(one)] == one for one in objects)


def _listed(items: Iterable[str]) -> str:
    found = [*items]
    more = len(found) - _MOST_SHOWN
    return ", ".join(found[:_MOST_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _code(fields: Iterable[SchemaField | NoColumn]) -> str:
    """A tuple of the paths, as code: a name with a dot needs a tuple of names."""
    paths = [repr(field.place) if any("." in name for name in field.place) else f'"{field.path}"' for field in fields]
    return f"({', '.join(paths)}{',' if len(paths) == 1 else ''})"
