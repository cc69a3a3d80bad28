"""Compiled Protobuf files of these tests, made without a compiler."""

from __future__ import annotations

from typing import Any

from google.protobuf import timestamp_pb2, wrappers_pb2
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet

TYPES = {
    name: getattr(FieldDescriptorProto, f"TYPE_{name.upper()}")
    for name in (
        *("double", "float", "int64", "uint64", "int32", "fixed64", "fixed32", "bool", "string", "bytes"),
        *("uint32", "sfixed32", "sfixed64", "sint32", "sint64"),
    )
}


def message(name: str, *fields: Any, **more: Any) -> DescriptorProto:
    """A message. A field is its name and type (a scalar's, or the full name of a message), and settings."""
    made = DescriptorProto(name=name, **more)
    for number, (field, kind, *settings) in enumerate(fields, 1):
        given: dict[str, Any] = {"label": FieldDescriptorProto.LABEL_OPTIONAL} | (settings[0] if settings else {})
        if kind in TYPES:
            given["type"] = TYPES[kind]
        else:
            given.setdefault("type", FieldDescriptorProto.TYPE_MESSAGE)
            given["type_name"] = kind
        if given.get("proto3_optional"):
            given["oneof_index"] = len(made.oneof_decl)
            made.oneof_decl.add(name=f"_{field}")
        made.field.add(name=field, number=number, **given)
    return made


def file(*messages: DescriptorProto, syntax: str = "proto3", **more: Any) -> FileDescriptorProto:
    """A file of package ``shop`` with these messages."""
    imports = ["google/protobuf/timestamp.proto", "google/protobuf/wrappers.proto"]
    return FileDescriptorProto(
        **{"name": "events.proto", "package": "shop", "syntax": syntax, "dependency": imports, **more},
        message_type=messages,
    )


def compiled(*files: FileDescriptorProto) -> bytes:
    """What a compiler writes for the files: with what they import."""
    known = [FileDescriptorProto.FromString(one.DESCRIPTOR.serialized_pb) for one in (timestamp_pb2, wrappers_pb2)]
    content: bytes = FileDescriptorSet(file=[*known, *files]).SerializeToString()
    return content


ENUM = {"type": FieldDescriptorProto.TYPE_ENUM}
REPEATED = {"label": FieldDescriptorProto.LABEL_REPEATED}
OPTIONAL = {"proto3_optional": True}
PAYMENT = message(
    "Payment",
    ("id", "string"),
    ("paid_at", ".google.protobuf.Timestamp"),
    ("card", ".shop.Payment.Card"),
    ("amount", "double"),
    ("points", "int32", OPTIONAL),
    ("channel", ".shop.Channel", ENUM),
    ("fee", ".google.protobuf.Int64Value"),
    ("token", "bytes"),
    ("flag", "bool"),
    ("total", "uint64"),
    ("tags", "string", REPEATED),
    ("labels", ".shop.Payment.LabelsEntry", REPEATED),
    ("again", ".shop.Payment"),
    nested_type=[
        message("Card", ("number", "string"), ("since", "sint64")),
        message("LabelsEntry", ("key", "string"), ("value", "string"), options={"map_entry": True}),
    ],
)
CHANNELS: dict[str, Any] = {
    "name": "Channel",
    "value": [{"name": "UNKNOWN", "number": 0}, {"name": "CHIP", "number": 1}],
}
PAYMENTS = file(PAYMENT, enum_type=[CHANNELS])
