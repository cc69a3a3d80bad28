"""The fields of a message in a compiled Protobuf file. Pure, but for the import of Protobuf's library."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import PurePath
from typing import Any

from penstock.errors import PenstockError
from schemas.imported.fields import (
    IS_LIST_IN_LIST,
    IS_RECURSIVE,
    Found,
    NoColumn,
    Place,
    Schema,
    SchemaField,
    in_array,
    is_in_list,
    map_of,
    without_default,
)
from schemas.kinds import ColumnType
from schemas.written import ARRAY, DEEPEST

_TIMESTAMP = ".google.protobuf.Timestamp"
# Of wrappers, the type of their value: a field of such a type is null or that value.
_WRAPPERS: Mapping[str, ColumnType] = {
    ".google.protobuf.StringValue": "string",
    ".google.protobuf.BoolValue": "boolean",
    ".google.protobuf.DoubleValue": "double",
    ".google.protobuf.FloatValue": "double",
    **dict.fromkeys((f".google.protobuf.{kind}Value" for kind in ("Int32", "Int64", "UInt32", "UInt64")), "long"),
}
_IMPLICIT, _LEGACY_REQUIRED = 2, 3


def compile_command(file: str) -> str:
    """How to compile a Protobuf file with all that it imports."""
    path = PurePath(file)
    way = "" if path.parent == PurePath() else f"-I {path.parent} "
    return f"protoc {way}--include_imports --descriptor_set_out={path.with_suffix('.pb')} {path}"


def read_protobuf_file(content: bytes, message: str | None, where: str) -> Schema:
    """The fields of a message.

    Args:
        content: A compiled file with all that it imports: a ``FileDescriptorSet``.
        message: The full name of the message; None: the only one of the last file.
        where: The file, for errors.

    Raises:
        PenstockError: if it is no such file, or has no such message.
    """
    from google.protobuf.descriptor_pb2 import FileDescriptorSet  # noqa: PLC0415 - few installations need it
    from google.protobuf.message import DecodeError  # noqa: PLC0415

    try:
        files = FileDescriptorSet.FromString(content).file
    except DecodeError as error:
        raise PenstockError(
            "the file is no compiled Protobuf file", where=where, next=compile_command("events.proto")
        ) from error
    messages = {name: (one, file) for file in files for name, one in _messages(_package(file), file.message_type)}
    enums = {name: found for file in files for name, found in _enums(file)}
    # A compiler writes the files in an order in which each is after those that it imports.
    top = [f"{_package(file)}.{one.name}"[1:] for file in files[-1:] for one in file.message_type]
    if message is None and len(top) == 1:
        message = top[0]
    if f".{message}" not in messages:
        names = ", ".join(top) or "none"
        raise PenstockError(
            f"the file has no message {message}" if message else "the file has several messages, or none",
            where=where,
            next=f'give message="...", one of: {names}',
        )
    reader = _Reader(messages, enums)
    return Schema(tuple(reader.fields(f".{message}", (), (), nullable=False)), where)


class _Reader:
    def __init__(self, messages: Mapping[str, Any], enums: Mapping[str, Any]) -> None:
        self._messages, self._enums = messages, enums

    def fields(self, name: str, way: Place, within: Place, *, nullable: bool) -> Found:
        """The fields of a message. ``within`` are the messages on the way."""
        message, file = self._messages[name]
        for field in message.field:
            place = (*way, field.name)
            nested, _ = self._messages.get(field.type_name, (None, None))
            if field.label != field.LABEL_REPEATED:
                found = self._field(place, field, file, is_within_null=nullable)
                yield from self._found(place, found, (*within, name), nullable=True)
            elif nested is not None and nested.options.map_entry:
                yield self._map(place, nested, file)
            elif is_in_list(place):
                yield NoColumn(place, IS_LIST_IN_LIST)
            else:
                array = SchemaField(place, "string", nullable=nullable, required=not nullable, is_list=True)
                yield from in_array(self._elements(place, field, file, (*within, name)), array)

    def _found(self, place: Place, found: SchemaField | str, within: Place, *, nullable: bool) -> Found:
        """The columns of what :meth:`_field` has found."""
        if isinstance(found, SchemaField):
            yield found
        elif found not in self._messages:
            yield NoColumn(place, found)
        elif found in within or len(place) >= DEEPEST:
            yield NoColumn(place, IS_RECURSIVE)
        else:
            yield from self.fields(found, place, within, nullable=nullable)

    def _elements(self, place: Place, field: Any, file: Any, within: Place) -> Found:
        """What is in an element of a repeated field: none is missing."""
        found = self._field(place, field, file, is_within_null=False)
        if isinstance(found, SchemaField):
            found = replace(found, nullable=False, required=True)
        elif found in self._messages:
            place = (*place[:-1], place[-1] + ARRAY)
        yield from self._found(place, found, within, nullable=False)

    def _map(self, place: Place, entry: Any, file: Any) -> NoColumn:
        key, value = entry.field
        found = self._field(place, value, file, is_within_null=True)
        return map_of(place, found if isinstance(found, SchemaField) and key.type == key.TYPE_STRING else None)

    def _field(self, place: Place, field: Any, file: Any, *, is_within_null: bool) -> SchemaField | str:
        """The field; or the name of its message, or why it can be no column."""
        nested, _ = self._messages.get(field.type_name, (None, None))
        optional = SchemaField(place, "string", nullable=True, required=False)
        if field.type in (field.TYPE_MESSAGE, field.TYPE_GROUP):
            if field.type_name == _TIMESTAMP:
                return replace(optional, type="long", form="iso8601")
            if field.type_name in _WRAPPERS:
                return replace(optional, type=_WRAPPERS[field.type_name])
            if field.type_name == ".google.protobuf.BytesValue":
                return replace(optional, form="bytes")
            missing = f"its type {field.type_name[1:]} is not in the file: {compile_command('events.proto')}"
            return missing if nested is None else str(field.type_name)
        return _with_presence(self._scalar(optional, field), field, _presence(field, file), is_within_null)

    def _scalar(self, found: SchemaField, field: Any) -> SchemaField:
        if field.type == field.TYPE_ENUM:
            enum = self._enums.get(field.type_name)
            return replace(found, values=tuple(value.name for value in enum.value) if enum is not None else ())
        if field.type == field.TYPE_BYTES:
            return replace(found, form="bytes")
        types: Mapping[int, ColumnType] = {
            field.TYPE_STRING: "string",
            field.TYPE_BOOL: "boolean",
            field.TYPE_DOUBLE: "double",
            field.TYPE_FLOAT: "double",
        }
        return replace(found, type=types.get(field.type, "long"))


def _presence(field: Any, file: Any) -> int:
    """Whether a field that is not written is missing (1), has the value 0 or the like (2), or is an error (3)."""
    if file.syntax == "editions":
        return int(field.options.features.field_presence or file.options.features.field_presence or 1)
    if file.syntax == "proto3":
        return 1 if field.proto3_optional or field.HasField("oneof_index") else _IMPLICIT
    return _LEGACY_REQUIRED if field.label == field.LABEL_REQUIRED else 1


def _with_presence(found: SchemaField, field: Any, presence: int, is_within_null: bool) -> SchemaField:
    if presence in (_IMPLICIT, _LEGACY_REQUIRED):
        return replace(found, nullable=is_within_null, required=not is_within_null)
    if not field.HasField("default_value"):
        return found
    if found.form is not None:
        return without_default(found)
    text = field.default_value
    default: Any = text
    if found.type == "long":
        default = int(text)
    elif found.type == "double":
        default = float(text)
    elif found.type == "boolean":
        default = text == "true"
    return replace(found, nullable=False, default=default)


def _messages(prefix: str, messages: Any) -> Iterator[tuple[str, Any]]:
    """All messages by their full names, which begin with a dot."""
    for message in messages:
        name = f"{prefix}.{message.name}"
        yield name, message
        yield from _messages(name, message.nested_type)


def _package(file: Any) -> str:
    return f".{file.package}" if file.package else ""


def _enums(file: Any) -> Iterator[tuple[str, Any]]:
    package = _package(file)
    yield from ((f"{package}.{enum.name}", enum) for enum in file.enum_type)
    for name, message in _messages(package, file.message_type):
        yield from ((f"{name}.{enum.name}", enum) for enum in message.enum_type)
