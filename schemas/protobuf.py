"""Reads Protobuf messages to events, for the columns of a contract. The job's kernel has the same rules.

``ProtobufDecoder.java`` is its reader. What a contract sees of a message:

- a field is at its name in the ``.proto`` file; a message, or a map of texts, is an object on the way
- an enum's value is its name, or its number as text if the schema has no name for it
- a field that is not written is missing, if its schema can tell that from 0, and else is 0, "" or false
- a repeated field is an array, so never missing: it is empty if it is not written
- a ``Timestamp`` is a time for the event time and columns with a marker of times; a wrapper is its value or null
- an array where a column is that is no list, or another message where a column is, is refused
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import (
    any_pb2,
    api_pb2,
    descriptor_pb2,
    descriptor_pool,
    duration_pb2,
    empty_pb2,
    field_mask_pb2,
    message_factory,
    source_context_pb2,
    struct_pb2,
    timestamp_pb2,
    type_pb2,
    wrappers_pb2,
)
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError

from schemas.codec import Messages, Undecodable
from schemas.contract import Contract, ContractField, Role, contract_fields
from schemas.conversions import LogicalType, Unreadable
from schemas.written import TIME_FORMS, avro_name

# What every compiler knows, and Protobuf's library for Java has; each after those that it imports.
_BUILT_IN = (
    any_pb2,
    source_context_pb2,
    type_pb2,
    api_pb2,
    descriptor_pb2,
    duration_pb2,
    empty_pb2,
    field_mask_pb2,
    struct_pb2,
    timestamp_pb2,
    wrappers_pb2,
)
# Has only options of fields, which say nothing of values; Confluent's tools import it.
ONLY_OPTIONS = "confluent/meta.proto"
_IS_MICROS: LogicalType = {"penstock.logicalType": "timestamp-micros"}
_WRAPPERS = {f"google.protobuf.{kind}Value" for kind in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32")}
_WRAPPERS |= {f"google.protobuf.{kind}Value" for kind in ("Bool", "String", "Bytes")}
# What no column, object or array can be.
_NO_VALUE: list[Any] = []
_NO_ARRAY: dict[str, Any] = {}
_LONGEST_INDEX = 5  # bytes of a 32-bit integer


@dataclass
class _Node:
    """A place in an event: that of a column, or of an array, or of an object."""

    column: ContractField | None = None
    inner: dict[str, _Node] = field(default_factory=dict)
    element: _Node | None = None

    def at(self, place: Sequence[str]) -> _Node:
        node = self
        for name in place:
            node = node.inner.setdefault(name, _Node())
        return node


def built_in_files() -> dict[str, Any]:
    """The files that a schema may import without bringing them, by their names."""
    files = [descriptor_pb2.FileDescriptorProto.FromString(one.DESCRIPTOR.serialized_pb) for one in _BUILT_IN]
    return {file.name: file for file in files}


class ProtobufSchema(Messages):
    """The messages of a file.

    Args:
        files: The file, as the last one, and what it imports, as ``FileDescriptorProto``, each after those that it
            imports. Built-in files may be missing; they are never those that are given.

    Raises:
        ValueError: if the file has no message.
        TypeError, KeyError: if they do not make up a schema (from Protobuf's library).
    """

    def __init__(self, files: Sequence[Any]) -> None:
        if not files[-1].message_type:
            raise ValueError("the file has no message")
        pool = descriptor_pool.DescriptorPool()
        built_in = built_in_files()
        for file in [*built_in.values(), *(file for file in files if file.name not in built_in)]:
            pool.AddSerializedFile(_without_options(file).SerializeToString())
        found = pool.FindFileByName(files[-1].name)
        self._top = [found.message_types_by_name[message.name] for message in files[-1].message_type]
        self._checked = {file.name for file in [*files, *built_in.values()] if file.syntax == "proto3"}
        self._trees: dict[type[Contract], _Node] = {}

    def framed(
        self, value: bytes, start: int, contract: type[Contract]
    ) -> tuple[dict[str, Any], dict[str, LogicalType]]:
        """The event in a value with Confluent's list of message indexes at ``start``; see :meth:`event`.

        Raises:
            Undecodable: if the bytes have no such message.
        """
        message, start = self._message_at(value, start)
        return self.event(message, value[start:], contract)

    def message(self, name: str) -> Descriptor:
        """The message of this full name.

        Raises:
            KeyError: there is none.
        """
        return next(one for one in self._top if one.full_name == name)

    def event(
        self, message: Descriptor, value: bytes, contract: type[Contract]
    ) -> tuple[dict[str, Any], dict[str, LogicalType]]:
        """The fields of a contract in a message, and the logical types of times, for ``row_of``.

        Raises:
            Undecodable: if the bytes are no such message.
        """
        found = message_factory.GetMessageClass(message)()
        try:
            found.ParseFromString(value)
        except DecodeError:
            raise Undecodable("the bytes are no message of the Protobuf schema") from None
        tree = self._trees.get(contract)
        if tree is None:
            tree = self._trees[contract] = _tree(contract)
        logical: dict[str, LogicalType] = {}
        return self._object(found, tree, logical), logical

    def _message_at(self, value: bytes, start: int) -> tuple[Descriptor, int]:
        """The message that a list of indexes at ``start`` names, and where the list ends."""
        count, start = _index(value, start)
        indexes = [0]
        if count:
            if count < 0 or count > len(value) - start:
                raise Undecodable("Confluent framing whose list of message indexes is longer than the value")
            indexes = []
            for _ in range(count):
                index, start = _index(value, start)
                indexes.append(index)
        messages, message = self._top, None
        for index in indexes:
            if not 0 <= index < len(messages):
                raise Undecodable("Confluent framing whose message index the schema does not have")
            message = messages[index]
            messages = list(message.nested_types)
        assert message is not None
        return message, start

    def _object(self, message: Any, node: _Node, logical: dict[str, LogicalType]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        names = message.DESCRIPTOR.fields_by_name
        for name, child in node.inner.items():
            of = names.get(name) or names.get(avro_name(name))
            if of is None or (of.has_presence and not message.HasField(of.name)):
                continue
            value = getattr(message, of.name)
            if not _is_repeated(of):
                found[name] = self._value(value, of, child, logical)
            elif child.element is not None:
                found[name] = _NO_ARRAY if _is_map(of) else self._elements(value, of, child.element, logical)
            elif child.column is None and _is_map(of):
                found[name] = self._entries(value, of, child, logical)
            else:
                found[name] = _NO_VALUE
        return found

    def _elements(self, values: Any, of: FieldDescriptor, element: _Node, logical: dict[str, LogicalType]) -> list[Any]:
        return [self._value(value, of, element, logical) for value in values]

    def _entries(self, value: Any, of: FieldDescriptor, node: _Node, logical: dict[str, LogicalType]) -> Any:
        """A map as an object."""
        types = of.message_type.fields_by_name
        if types["key"].type != FieldDescriptor.TYPE_STRING:
            return _NO_VALUE
        found: dict[str, Any] = {}
        for name, child in node.inner.items():
            key = name if name in value else avro_name(name)
            if key in value:
                found[name] = self._value(value[key], types["value"], child, logical)
        return found

    def _value(self, value: Any, of: FieldDescriptor, node: _Node, logical: dict[str, LogicalType]) -> Any:
        """A value that is no array."""
        if node.element is not None:
            return _NO_ARRAY
        if node.column is not None:
            return self._column(value, of, node.column, logical)
        return _NO_VALUE if of.message_type is None else self._object(value, node, logical)

    def _column(self, value: Any, of: FieldDescriptor, column: ContractField, logical: dict[str, LogicalType]) -> Any:
        if of.message_type is None:
            return self._scalar(value, of)
        name = of.message_type.full_name
        if name == "google.protobuf.Timestamp" and _is_time(column):
            logical[column.name] = _IS_MICROS
            return value.seconds * 1_000_000 + value.nanos // 1_000
        if name not in _WRAPPERS:
            return _NO_VALUE
        return self._scalar(value.value, of.message_type.fields_by_name["value"])

    def _scalar(self, value: Any, of: FieldDescriptor) -> Any:
        if of.enum_type is not None:
            known = of.enum_type.values_by_number.get(value)
            return str(value) if known is None else known.name
        # Of texts that the library does not check, that for Java replaces what is no text.
        if (of.type == FieldDescriptor.TYPE_STRING and of.file.name not in self._checked) and (
            isinstance(value, bytes) or "\ufffd" in value
        ):
            return Unreadable("is not UTF-8")
        return value


def _without_options(file: Any) -> Any:
    """The file without the import that says nothing of values."""
    kept = descriptor_pb2.FileDescriptorProto()
    kept.CopyFrom(file)
    names = [name for name in file.dependency if name != ONLY_OPTIONS]
    public = [file.dependency[index] for index in file.public_dependency]
    kept.dependency[:] = names
    kept.public_dependency[:] = [names.index(name) for name in public if name in names]
    kept.ClearField("weak_dependency")
    return kept


def _tree(contract: type[Contract]) -> _Node:
    """The columns at the places of their fields."""
    root = _Node()
    for column in contract_fields(contract):
        node = root.at(column.place)
        if column.is_list:
            node.element = node.element or _Node()
            node = node.element.at(column.each or ())
        node.column = column
    return root


def _is_time(column: ContractField) -> bool:
    return Role.EVENT_TIME in column.roles or column.written in TIME_FORMS


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def _is_repeated(field: FieldDescriptor) -> bool:
    # Newer releases of the library have it as a property, and warn of the label.
    found = getattr(field, "is_repeated", None)
    return field.label == FieldDescriptor.LABEL_REPEATED if found is None else bool(found)


def _index(value: bytes, start: int) -> tuple[int, int]:
    """A zigzag integer of 32 bits, and where it ends."""
    number = 0
    for at in range(start, start + _LONGEST_INDEX):
        if at >= len(value):
            raise Undecodable("Confluent framing that ends within its list of message indexes")
        number |= (value[at] & 0x7F) << 7 * (at - start)
        if value[at] < 0x80:
            number &= 0xFFFFFFFF
            return (number >> 1) ^ -(number & 1), at + 1
    raise Undecodable("Confluent framing with a message index of more than 32 bits")


def files_of(files: Mapping[str, Any], last: Any) -> list[Any]:
    """All files that a file imports, at any depth, and itself, each after those that it imports."""
    found: dict[str, Any] = {}

    def add(file: Any) -> None:
        if file.name not in found:
            for name in file.dependency:
                if name in files:
                    add(files[name])
            found[file.name] = file

    add(last)
    return [*found.values()]
