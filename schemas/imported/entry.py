"""The methods of ``Contract`` that make a contract of a schema that a team has already."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, Unpack

from penstock.errors import PenstockError
from schemas.imported.avro import read_avro_schema
from schemas.imported.build import contract_from
from schemas.imported.choices import Choices
from schemas.imported.json_document import read_json_schema
from schemas.imported.protobuf_file import compile_command, read_protobuf_file
from schemas.kinds import Compatibility


class FromSchemas:
    """What the class of contracts has besides: each method returns a contract like one that is written as a class.

    Two calls with the same arguments make equal contracts: a schema is a part of the contract's version, and a change
    of it is found as a change of the class would be. A relative path is of the working directory: in a pipeline's file,
    give ``Path(__file__).with_name("order.avsc")``.

    All of them take the arguments of :class:`schemas.imported.choices.Choices` and these:

    Args:
        source: The schema, or its file.
        name: The name of the contract.
        version: Its version.
        compatibility: What a new version must be able to read.

    Raises:
        PenstockError: the schema cannot be read, no contract can have what is not left out, or the arguments do not fit
            the schema. It names the fields, and what to add to the call.
    """

    @classmethod
    def from_avro(
        cls,
        source: str | Path | Mapping[str, Any],
        *,
        name: str,
        version: int,
        compatibility: Compatibility = "BACKWARD",
        **choices: Unpack[Choices],
    ) -> type[Self]:
        """The contract of an Avro record: an ``.avsc`` file, or the schema as a mapping."""
        document, where = _document(source)
        schema = read_avro_schema(document, where)
        return _made(cls, schema, choices, name, version, compatibility)

    @classmethod
    def from_json_schema(
        cls,
        source: str | Path | Mapping[str, Any],
        *,
        name: str,
        version: int,
        compatibility: Compatibility = "BACKWARD",
        **choices: Unpack[Choices],
    ) -> type[Self]:
        """The contract of a JSON Schema: a file, or the schema as a mapping."""
        document, where = _document(source)
        schema = read_json_schema(document, where)
        return _made(cls, schema, choices, name, version, compatibility)

    @classmethod
    def from_protobuf(
        cls,
        source: str | Path | bytes,
        *,
        name: str,
        version: int,
        message: str | None = None,
        compatibility: Compatibility = "BACKWARD",
        **choices: Unpack[Choices],
    ) -> type[Self]:
        """The contract of a Protobuf message: a compiled file with all that it imports, or its bytes.

        It is compiled by ``protoc --include_imports --descriptor_set_out=events.pb events.proto``. ``message`` is the
        full name of the message, if the file has several.
        """
        where = "the schema in the call" if isinstance(source, bytes) else str(source)
        if where.endswith(".proto"):
            raise PenstockError("a .proto file is to be compiled first", where=where, next=compile_command(where))
        content = source if isinstance(source, bytes) else _read(source)
        schema = read_protobuf_file(content, message, where)
        return _made(cls, schema, choices, name, version, compatibility)


def _made(
    base: type[Any], schema: Any, choices: Choices, name: str, version: int, compatibility: Compatibility
) -> type[Any]:
    if unknown := sorted(choices.keys() - Choices.__annotations__.keys()):
        known = ", ".join(Choices.__annotations__)
        raise TypeError(f"{unknown[0]} is no argument of a contract from a schema; there are {known}")
    if choices.get("event_time") is None:
        raise TypeError("a contract from a schema needs event_time: the path of the field with the time of the event")
    return contract_from(base, schema, choices, name=name, version=version, compatibility=compatibility)


def _document(source: str | Path | Mapping[str, Any]) -> tuple[Any, str]:
    """The schema as JSON, and how errors name it."""
    if isinstance(source, Mapping):
        return dict(source), "the schema in the call"
    try:
        return json.loads(_read(source).decode("utf-8-sig")), str(source)
    except (ValueError, RecursionError) as error:
        raise PenstockError(f"the schema is not JSON: {error}", where=str(source)) from error


def _read(source: str | Path) -> bytes:
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise PenstockError(
            f"the schema cannot be read: {error.strerror}",
            where=str(Path(source).absolute()),
            next="in a pipeline's file, name it by Path(__file__).with_name(...)",
        ) from error
