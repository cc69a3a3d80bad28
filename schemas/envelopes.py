"""Envelopes: what a platform writes around an event. A source declares them: ``Source(envelope=Debezium(...))``.

A contract's fields are those of the event within. :class:`InEnvelope` reaches what stands around it::

    operation: Annotated[Literal["c", "u", "d"], InEnvelope("op")]
    event_id: Annotated[str, EVENT_ID, InEnvelope("source_and_id")]

The job's kernel has the same rules (``Envelope.java``). Refusals never quote a value.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, field_validator

from schemas.constraints import INT64_MAX, INT64_MIN
from schemas.contract import Contract, ContractField, Role, contract_fields
from schemas.written import ARRAY, At, Form

ENVELOPE = "$envelope"
"""The first name of places that are in the envelope, not in the event."""
SOURCE_AND_ID = "source_and_id"
"""Both attributes, joined by a blank: a CloudEvent's identity. No attribute can have this name itself."""
CONTENT_TYPE = "content-type"
STRUCTURED = "application/cloudevents+json"

Operation = Literal["insert", "update", "delete", "snapshot"]
Headers = Iterable[tuple[str, bytes | None]]

OPERATIONS: dict[str, Operation] = {"c": "insert", "u": "update", "d": "delete", "r": "snapshot"}
# Of no row: a table was emptied, or a message was written to the log.
_OF_NO_ROW = ("t", "m")
_ROWS = ("before", "after")
_CLOUDEVENTS = "application/cloudevents"
_ATTRIBUTE = re.compile("[a-z0-9]{1,64}")
_ATTRIBUTE_HEADER = re.compile(f"ce_{_ATTRIBUTE.pattern}")
_REQUIRED = ("id", "source", "type")
_VERSION = "1.0"
_TEXT_FORMS = ("iso8601", "date", "uuid", "bytes", "decimal")


@dataclass(frozen=True)
class InEnvelope(At):
    """Where the value is in the envelope, as :class:`~schemas.written.At` says it of the event.

    Of Debezium: ``op``, ``ts_ms``, ``source.lsn``, ``transaction.id``, ``before.amount``. Of CloudEvents: an attribute,
    as ``type``, or ``source_and_id``, which identifies the event. Attributes are text.
    """

    @property
    def names(self) -> tuple[str, ...]:
        """The names on the way."""
        return ENVELOPE, *super().names


class _Envelope(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Debezium(_Envelope):
    """The change of a table's row, as Debezium's connectors write it: with or without ``schema`` and ``payload``.

    The event is the row: ``after`` or, of a delete, ``before``. Changes of other operations than these, and tombstones,
    are counted and ignored.

    Args:
        operations: Which changes are events, of ``insert``, ``update``, ``delete`` and ``snapshot`` (a row that was
            there before the connector came).
    """

    kind: Literal["debezium"] = "debezium"
    operations: tuple[Operation, ...] = ("insert", "update")

    @field_validator("operations")
    @classmethod
    def _in_one_order(cls, operations: tuple[Operation, ...]) -> tuple[Operation, ...]:
        if not operations:
            raise ValueError("operations names no change, so no record would be an event")
        return tuple(name for name in OPERATIONS.values() if name in operations)


class CloudEvents(_Envelope):
    """CloudEvents 1.0, structured (JSON) and binary; each record says by its ``content-type`` header which it is.

    The event is the data. It is an object, in JSON or, in ``data_base64`` and in binary mode, in any encoding.
    """

    kind: Literal["cloudevents"] = "cloudevents"


Envelope = Annotated[Debezium | CloudEvents, Field(discriminator="kind")]


class NotInEnvelope(ValueError):  # noqa: N818 - describes the record
    """The record does not have the envelope that its source declares."""


@dataclass(frozen=True)
class Ignored:
    """A record that is no event and no fault either, such as a change that the source does not declare."""


class Opened(NamedTuple):
    """An event out of its envelope.

    Attributes:
        document: The event's fields, and those of the envelope under :data:`ENVELOPE`.
        schema: The parsed schema of the value, of which ``document`` is the part at ``way``; None for JSON.
        way: The names on the way to the event; those to the envelope are all but the last.
    """

    document: dict[str, Any]
    schema: Any
    way: tuple[str, ...]

    def place(self, field: ContractField) -> tuple[str, ...]:
        """Where a field's value is in what ``schema`` describes; nowhere, if it is in no value."""
        if field.place[0] != ENVELOPE:
            return (*self.way, *field.way)
        return (*self.way[:-1], *field.way[1:]) if self.way else field.way


def may_lack_value(envelope: Debezium | CloudEvents | None, headers: Headers) -> bool:
    """Whether a record without a value is no fault: a tombstone of Debezium, or a CloudEvent without data."""
    if isinstance(envelope, CloudEvents):
        return any(name == "ce_specversion" for name, _ in headers)
    return envelope is not None


def open_value(
    value: bytes | None,
    headers: Headers,
    envelope: Debezium | CloudEvents,
    read: Callable[[bytes], tuple[dict[str, Any], Any]],
    read_json: Callable[[bytes], dict[str, Any]],
) -> Opened | Ignored:
    """The event in a record.

    Args:
        value: The record's value.
        headers: Its headers.
        envelope: What its source declares.
        read: Reads a value in any encoding: the document, and its parsed schema (None for JSON).
        read_json: Reads JSON.

    Raises:
        NotInEnvelope: if it is not in the envelope.
    """
    if isinstance(envelope, Debezium):
        return Ignored() if value is None else _open_change(*read(value), envelope)
    return _open_cloud_event(value, list(headers), read, read_json)


def _open_change(document: dict[str, Any], schema: Any, envelope: Debezium) -> Opened | Ignored:
    way: tuple[str, ...] = ()
    change = document
    if isinstance(document.get("payload"), dict):
        change, way = document["payload"], ("payload",)
    code = change.get("op")
    if type(code) is not str:
        raise NotInEnvelope("not a change of Debezium: it has no op")
    if code in _OF_NO_ROW:
        return Ignored()
    if code not in OPERATIONS:
        raise NotInEnvelope("not a change of Debezium: op is none of c, u, d, r, t, m")
    if OPERATIONS[code] not in envelope.operations:
        return Ignored()
    side = "before" if code == "d" else "after"
    row = change.get(side)
    if not isinstance(row, dict):
        raise NotInEnvelope(f"a change of Debezium without the row: {side} is not an object")
    return Opened({**row, ENVELOPE: change}, schema, (*way, side))


def _open_cloud_event(
    value: bytes | None,
    headers: list[tuple[str, bytes | None]],
    read: Callable[[bytes], tuple[dict[str, Any], Any]],
    read_json: Callable[[bytes], dict[str, Any]],
) -> Opened:
    given = _attribute_headers(headers)
    media_type = given.get("datacontenttype", "").partition(";")[0].strip(" \t").lower()
    if media_type.startswith(_CLOUDEVENTS):
        if media_type != STRUCTURED:
            raise NotInEnvelope(f"an event format that is not supported: send {STRUCTURED}, or binary mode")
        return open_structured(read_json(value or b""), read)
    check_attributes(given, "the header ce_")
    document, schema = ({}, None) if value is None else read(value)
    return Opened({**document, ENVELOPE: _with_identity(given)}, schema, ())


def _attribute_headers(headers: list[tuple[str, bytes | None]]) -> dict[str, str]:
    """The attributes in headers; the content type is that of the data."""
    found: dict[str, str] = {}
    seen = set()
    for name, value in headers:
        if name != CONTENT_TYPE and (name == "ce_datacontenttype" or not _ATTRIBUTE_HEADER.fullmatch(name)):
            continue
        if name in seen:
            raise NotInEnvelope(f"the header {name} is there twice")
        seen.add(name)
        if value is not None:
            try:
                found["datacontenttype" if name == CONTENT_TYPE else name[3:]] = value.decode()
            except UnicodeDecodeError:
                raise NotInEnvelope(f"the header {name} is not UTF-8") from None
    return found


def open_structured(document: dict[str, Any], read: Callable[[bytes], tuple[dict[str, Any], Any]]) -> Opened:
    """The event in a CloudEvent in structured mode; ``read`` reads its ``data_base64``.

    Raises:
        NotInEnvelope: if it is none.
    """
    check_attributes(document, "")
    attributes = {name: _text(value) for name, value in document.items() if value is not None}
    data, encoded = document.get("data"), document.get("data_base64")
    schema = None
    if encoded is not None:
        if data is not None:
            raise NotInEnvelope("a CloudEvent with data and data_base64")
        data, schema = read(_decoded(encoded))
    elif data is None:
        data = {}
    elif not isinstance(data, dict):
        raise NotInEnvelope("the data of the CloudEvent is not an object")
    return Opened({**data, ENVELOPE: _with_identity(attributes)}, schema, ())


def check_attributes(attributes: Mapping[str, Any], prefix: str) -> None:
    """Check the attributes that each CloudEvent has; ``prefix`` is how errors name them.

    Raises:
        NotInEnvelope: if one is missing or cannot be.
    """
    version = attributes.get("specversion")
    if version is None:
        raise NotInEnvelope(
            f"not a CloudEvent: {prefix}specversion is missing"
            + (f"; in structured mode, the header content-type is {STRUCTURED}" if prefix else "")
        )
    if version != _VERSION:
        raise NotInEnvelope(f"a CloudEvent of a version that is not supported: {prefix}specversion is not {_VERSION}")
    for name in _REQUIRED:
        if type(attributes.get(name)) is not str or not attributes[name]:
            raise NotInEnvelope(f"not a CloudEvent: {prefix}{name} is missing, empty or not a text")
    if " " in attributes["source"]:
        raise NotInEnvelope(f"not a CloudEvent: {prefix}source is not a URI reference, as it has a blank")


def _text(value: Any) -> Any:
    """An attribute's text, as binary mode has it; what no attribute can be stays as it is, and no column takes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if type(value) is int and INT64_MIN <= value <= INT64_MAX else value


def _with_identity(attributes: dict[str, Any]) -> dict[str, Any]:
    return attributes | {SOURCE_AND_ID: f"{attributes['source']} {attributes['id']}"}


def _decoded(encoded: Any) -> bytes:
    try:
        decoded = base64.b64decode(encoded, validate=True) if type(encoded) is str else None
    except (binascii.Error, ValueError):
        decoded = None
    if decoded is None or base64.b64encode(decoded).decode() != encoded:
        raise NotInEnvelope("the data_base64 of the CloudEvent is not base64 with padding")
    return decoded


def in_envelope(contract: type[Contract]) -> tuple[ContractField, ...]:
    """The fields of a contract that are not in the event itself, but around it."""
    return tuple(field for field in contract_fields(contract) if field.place[0] == ENVELOPE)


def check_envelope(envelope: Debezium | CloudEvents | None, contract: type[Contract]) -> None:
    """Check that a contract can be read out of an envelope.

    Raises:
        ValueError: if not; names the field, and what to use instead.
    """
    fields, around = contract_fields(contract), in_envelope(contract)
    if envelope is None and around:
        raise ValueError(
            f"{around[0].name} is in an envelope (InEnvelope), and none is declared; give envelope=Debezium(...) or "
            "envelope=CloudEvents()"
        )
    for field in around:
        if isinstance(envelope, CloudEvents):
            _check_attribute(field)
    if isinstance(envelope, Debezium):
        _check_rows(fields, around)


def _check_attribute(field: ContractField) -> None:
    name = ".".join(field.place[1:])
    if name in ("data", "data_base64") or (name != SOURCE_AND_ID and not _ATTRIBUTE.fullmatch(name)):
        raise ValueError(
            f"{field.name}: no CloudEvent has the attribute {name!r}; a name has only letters a to z and digits, and "
            "what is in the data needs no InEnvelope"
        )
    if field.is_list:
        raise ValueError(f"{field.name}: an attribute of a CloudEvent is text, never an array")
    if field.written not in _TEXT_FORMS and (field.written is not None or field.type != "string"):
        raise ValueError(
            f"{field.name}: an attribute of a CloudEvent is text; make the column a str or, with ISO8601 or AsDecimal, "
            "a time or a number"
        )


def _check_rows(fields: Iterable[ContractField], around: Iterable[ContractField]) -> None:
    """Check that a value of a row that is also reached by InEnvelope is read in one form: the kernel reads it once."""
    for field in around:
        place = field.place[1:]
        within_op = place[0] == "op" and (len(place) > 1 or field.is_list)
        if place[0] == "payload" or within_op or place in [(row,) for row in _ROWS]:
            raise ValueError(
                f"{field.name}: a change of Debezium has no value at {'.'.join(place)}; it has op, ts_ms, "
                "source.ts_ms, before.<column>, after.<column> and others, whether or not it is within a payload"
            )
        for other in fields:
            if place[0] not in _ROWS or other.place[0] == ENVELOPE:
                continue
            if not _can_both_be_read(field, field.way[1:], other, (place[0], *other.way)):
                raise ValueError(f"{field.name} and {other.name} read one value in two forms; use one of the two")


def _can_both_be_read(one: ContractField, way: Sequence[str], other: ContractField, other_way: Sequence[str]) -> bool:
    """Whether the ways lead to different values, or both fields read the one value alike."""
    if way == other_way:
        return _form(one) == _form(other)
    differing = next((pair for pair in zip(way, other_way, strict=False) if pair[0] != pair[1]), None)
    return differing is not None and ARRAY not in differing


def _form(field: ContractField) -> tuple[Form | None, bool]:
    return field.written, Role.EVENT_TIME in field.roles
