"""Compatibility rules: can readers of one contract version read the events of another?

Pure functions that return each problem as a :class:`Break`. The structural rules are Avro's schema resolution: fields
by name, promotion of long to double, unions with null, defaults. Penstock readers also validate, so a tighter
constraint breaks a reader of old data just as a missing field does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from schemas.contract import Compatibility, ContractField, Role
from schemas.event_time import EARLIEST_MS
from schemas.written import ARRAY

Fields = Sequence[ContractField]


@dataclass(frozen=True)
class Break:
    """One reason why a reader may refuse a writer's events: the field, and what is wrong with it."""

    field: str
    what: str

    def __str__(self) -> str:
        return f"{self.field}: {self.what}"


def breaks(compatibility: Compatibility, *, old: Fields, new: Fields) -> list[Break]:
    """Return what a change from ``old`` to ``new`` breaks, given the contract's declared compatibility.

    BACKWARD: readers of the new version can read events of the old. FORWARD: readers of the old version can read
    events of the new. FULL: both. NONE: no promise. Under all but NONE, the event id and the event time must stay in
    the same fields: a consumer that joins or orders by them would otherwise read another field. And personal data must
    stay protected in the same way.
    """
    if compatibility == "NONE":
        return []
    found = [*_moved_roles(old, new), *_lost_protection(old, new)]
    if compatibility in ("BACKWARD", "FULL"):
        found += reader_breaks(reader=new, writer=old)
    if compatibility in ("FORWARD", "FULL"):
        found += reader_breaks(reader=old, writer=new)
    return list(dict.fromkeys(found))


def reader_breaks(*, reader: Fields, writer: Fields) -> list[Break]:
    """Return every reason why ``reader`` may refuse an event that is valid for ``writer``."""
    written = {field.way: field for field in writer}
    found: list[Break] = []
    for field in reader:
        if field.way in written:
            found += _field_breaks(field, written[field.way])
        elif other := next((way for way in written if _is_within(way, field.way)), None):
            found.append(Break(field.path, f"written as an object or within one that is a field ({'.'.join(other)})"))
        elif beside := [one for one in writer if one.each is not None and one.place == field.place]:
            found += _new_list_breaks(field, beside)
        elif field.required:
            found.append(Break(field.path, "required by readers, never written: give it a default"))
    return found


def _is_within(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]


def _new_list_breaks(reader: ContractField, beside: Fields) -> Iterator[Break]:
    """Of a list whose array is written for other lists: no element has its value, and a default never counts."""
    if not reader.nullable_elements:
        yield Break(reader.path, "elements never written with it, which readers refuse: allow null in an element")
    most = min(one.max_elements or 0 for one in beside)
    if (reader.max_elements or 0) < most:
        yield _longer(reader)
    if not reader.nullable and all(one.nullable for one in beside):
        yield Break(reader.path, "the array may be written as null, which readers refuse")
    if reader.required and not any(one.required for one in beside):
        yield Break(reader.path, "the array may be left out by writers, required by readers")


def _longer(reader: ContractField) -> Break:
    return Break(reader.path, f"readers require at most {reader.max_elements} elements, writers may write more")


def optional_changes(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[str]:
    """Yield each optional field that is gone or has another type; fields may be added.

    A view's hash does not have them, but such a change decides which events are valid.
    """
    for field, kind in old.items():
        if field not in new:
            yield f"optional field {field} is gone"
        elif new[field] != kind:
            yield f"optional field {field} was {kind}, is {new[field]}"


def _field_breaks(reader: ContractField, writer: ContractField) -> Iterator[Break]:
    was, now = (_form(field) for field in (writer, reader))
    if was != now and (was, now) not in (("long", "double"), ("long[]", "double[]")):
        yield Break(reader.path, f"written as {was}, read as {now}")
        return
    if writer.nullable and not reader.nullable:
        yield Break(reader.path, "may be written as null, which readers refuse")
    if not writer.required and reader.required:
        yield Break(reader.path, "may be left out by writers, required by readers")
    if writer.nullable_elements and not reader.nullable_elements:
        yield Break(reader.path, "elements may be written as null, which readers refuse")
    if (reader.max_elements or 0) < (writer.max_elements or 0):
        yield _longer(reader)
    yield from _number_breaks(reader, writer)
    yield from _text_breaks(reader, writer)


def _number_breaks(reader: ContractField, writer: ContractField) -> Iterator[Break]:
    reader, writer = _with_earliest(reader), _with_earliest(writer)
    if reader.minimum is not None and (
        writer.minimum is None
        or writer.minimum < reader.minimum
        or (writer.minimum == reader.minimum and reader.minimum_exclusive and not writer.minimum_exclusive)
    ):
        allowed = f"{'>' if reader.minimum_exclusive else '>='} {reader.minimum}"
        yield Break(reader.path, f"readers require {allowed}, writers may write less")
    if reader.maximum is not None and (
        writer.maximum is None
        or writer.maximum > reader.maximum
        or (writer.maximum == reader.maximum and reader.maximum_exclusive and not writer.maximum_exclusive)
    ):
        allowed = f"{'<' if reader.maximum_exclusive else '<='} {reader.maximum}"
        yield Break(reader.path, f"readers require {allowed}, writers may write more")


def _with_earliest(field: ContractField) -> ContractField:
    """The field; an event time without a bound has the default one."""
    if Role.EVENT_TIME in field.roles and field.minimum is None:
        return field.model_copy(update={"minimum": EARLIEST_MS})
    return field


def _text_breaks(reader: ContractField, writer: ContractField) -> Iterator[Break]:
    if reader.enum is not None and reader.otherwise is None:
        removed = sorted(set(writer.enum or ()) - set(reader.enum))
        if writer.enum is None or writer.otherwise is not None:
            yield Break(reader.path, f"readers require one of {', '.join(reader.enum)}, writers may write any text")
        elif removed:
            yield Break(reader.path, f"readers do not know the value {', '.join(removed)}")
    shortest, longest = _lengths(writer)
    if reader.min_length and shortest < reader.min_length:
        yield Break(reader.path, f"readers require at least {reader.min_length} characters, writers may write fewer")
    if reader.max_length is not None and (longest is None or longest > reader.max_length):
        yield Break(reader.path, f"readers require at most {reader.max_length} characters, writers may write more")
    # This does not decide whether one pattern's language contains another's: a pattern may only stay or go.
    if reader.pattern is not None and reader.pattern != writer.pattern:
        yield Break(reader.path, f"readers require the pattern {reader.pattern}, which writers do not guarantee")


def _form(field: ContractField) -> str:
    """What a field's value is, as it is written."""
    if field.written is None:
        return field.type
    form = field.written if field.scale is None else f"decimal({field.precision}, {field.scale})"
    return form + (ARRAY if field.is_list else "")


def _lengths(field: ContractField) -> tuple[int, int | None]:
    if field.enum is not None and field.otherwise is None:
        lengths = [len(value) for value in field.enum]
        return min(lengths), max(lengths)
    return field.min_length or 0, field.max_length


def _moved_roles(old: Fields, new: Fields) -> Iterator[Break]:
    for role in (Role.EVENT_ID, Role.EVENT_TIME):
        before = next((f.path for f in old if role in f.roles), None)
        after = next((f.path for f in new if role in f.roles), None)
        if before != after:
            yield Break(
                before or after or "", f"the {role.value} was {before or 'no field'}, and is now {after or 'no field'}"
            )


def _lost_protection(old: Fields, new: Fields) -> Iterator[Break]:
    for field in old:
        # What is written elsewhere now may still be what the column holds, and the other way round.
        for after in (one.pii for one in new if one.way == field.way or one.name == field.name):
            if field.pii is not None and after is not field.pii:
                what = "and is no longer" if after is None else f"and is now {after.value}"
                yield Break(field.path, f"was protected as personal data ({field.pii.value}), {what}")
