"""Encodes and decodes record values: Penstock's own records, and raw events from producers.

Penstock's records use Avro single-object encoding (``C3 01``, the schema's fingerprint, the Avro binary).
:class:`Encoder` and :class:`Decoder` parse their schemas once, so each record is cheap. A raw event may be JSON,
single-object Avro, or Avro, JSON or Protobuf in Confluent's framing. :func:`decode_event` decodes and validates it by
the same rules as the job's JVM kernel (listed in ``docs/concepts/contracts.md``); the kernel is tested against it.
"""

from __future__ import annotations

import io
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fastavro import schemaless_reader, schemaless_writer
from pydantic import ValidationError

from penstock.errors import PenstockError
from schemas.avro import fingerprint, parse_avro
from schemas.constraints import INT64_MAX
from schemas.contract import Contract, Pii, Role, contract_fields, pii_hash
from schemas.conversions import LogicalType, Unreadable
from schemas.documents import logical_types, row_of
from schemas.envelopes import CloudEvents, Debezium, Ignored, NotInEnvelope, Opened, may_lack_value, open_value
from schemas.event_time import latest_possible, looks_like
from schemas.framing import foreign_framing, id_in_header

MARKER = b"\xc3\x01"
HEADER_LENGTH = 10
CONFLUENT_MAGIC = b"\x00"
CONFLUENT_HEADER_LENGTH = 5
MAX_JSON_DEPTH = 100
MAX_NUMBER_DIGITS = 1_000
# As in the kernel, where Avro's library reserves the bytes that a text claims to have.
_MAX_AVRO_TEXT = 32 * 1024 * 1024

Reason = Literal[
    "penstock.Tombstone",
    "penstock.TooLarge",
    "penstock.Undecodable",
    "penstock.UnknownSchema",
    "penstock.InvalidField",
    "penstock.FutureEvent",
]
Registry = Callable[[int], Any]
"""Maps a schema id to the writer's schema: one parsed by :func:`schemas.avro.parse_avro`, :data:`JSON`, or a
:class:`Messages`; raises :class:`UnknownSchema`."""
JSON = object()
"""In place of a writer's schema: the value is JSON."""


class UnknownSchema(PenstockError):  # noqa: N818 - has the name of its dead-letter reason
    """The bytes name a schema that the reader does not know."""


class Undecodable(PenstockError):  # noqa: N818 - has the name of its dead-letter reason
    """The bytes do not have the encoding that they claim."""


@dataclass(frozen=True)
class Rejection:
    """Why an event becomes a dead letter. ``message`` may name a field but never quotes its value."""

    reason: Reason
    stage: Literal["decode", "validate"]
    message: str


class Messages(ABC):
    """A schema of messages that say themselves which they are: :class:`schemas.protobuf.ProtobufSchema`."""

    @abstractmethod
    def framed(
        self, value: bytes, start: int, contract: type[Contract]
    ) -> tuple[dict[str, Any], dict[str, LogicalType]]:
        """The fields of a contract in the message at ``start``, and the logical types of columns, for ``row_of``.

        Raises:
            Undecodable: if there is no such message.
        """


class Encoder:
    """Encodes records of one schema. Not thread-safe: it reuses its buffer."""

    def __init__(self, schema: Any) -> None:
        self.header = MARKER + fingerprint(schema)
        self._schema = parse_avro(schema)
        self._buffer = io.BytesIO()

    def encode(self, record: Mapping[str, Any]) -> bytes:
        """Return the record in single-object encoding; a field with a default may be missing.

        Raises:
            ValueError: if a field is missing (from fastavro).
            TypeError, OverflowError: if a value does not fit its field (from fastavro).
        """
        buffer = self._buffer
        buffer.seek(0)
        buffer.truncate()
        buffer.write(self.header)
        schemaless_writer(buffer, self._schema, record)
        return buffer.getvalue()


class Decoder:
    """Decodes records written with any of the given schemas, each with its own writer's schema."""

    def __init__(self, *schemas: Any) -> None:
        self._schemas = {fingerprint(schema): parse_avro(schema) for schema in schemas}

    def decode(self, value: bytes, where: str | None = None) -> dict[str, Any]:
        """Return the record in ``value``; errors show ``where``, such as ``topic[partition]@offset``.

        Raises:
            Undecodable: if ``value`` is not single-object encoding, is truncated, or has bytes after the record.
            UnknownSchema: if it was written with a schema that this decoder does not have.
        """
        return read_avro(value, HEADER_LENGTH, self.schema_of(value, where), where)

    def schema_of(self, value: bytes, where: str | None = None) -> Any:
        """Return the parsed writer's schema of ``value``; raises the errors of :meth:`decode`."""
        if value[:2] != MARKER or len(value) < HEADER_LENGTH:
            raise Undecodable(
                "not Avro single-object encoding: it must begin with C3 01 and a fingerprint", where=where
            )
        schema = self._schemas.get(value[2:HEADER_LENGTH])
        if schema is None:
            known = ", ".join(sorted(key.hex() for key in self._schemas)) or "none"
            raise UnknownSchema(
                f"no known schema has the fingerprint {value[2:HEADER_LENGTH].hex()} (known: {known})", where=where
            )
        return schema


def decode_event(
    value: bytes | None,
    contract: type[Contract],
    writers: Decoder,
    *,
    kafka_timestamp_ms: int,
    max_future_ms: int,
    max_bytes: int,
    clock_ms: int | None = None,
    registry: Registry | None = None,
    headers: Iterable[tuple[str, bytes | None]] = (),
    envelope: Debezium | CloudEvents | None = None,
    reserved_ids: Sequence[str] = (),
) -> Contract | Rejection | Ignored:
    """Decode and validate a raw record's value: return the event, or why it is refused, or that it is none.

    Pure apart from ``registry``.

    Args:
        value: The record's value; None is a tombstone.
        contract: The contract that the event must fit.
        writers: Has every schema that producers may have used: all committed versions of the contract.
        kafka_timestamp_ms: The record's Kafka timestamp; negative if it has none.
        max_future_ms: How far the event time may be ahead of the Kafka timestamp, and of ``clock_ms``.
        max_bytes: The longest value that is decoded.
        clock_ms: The time now, where a live job decides; a replay decides by Kafka's timestamps alone.
        registry: Finds the schema of a Confluent-framed value; without one such values are refused.
        headers: The record's headers. A refusal says if the schema's id is in one.
        envelope: What its source declares; without one, no record is :class:`~schemas.envelopes.Ignored`.
        reserved_ids: What its id must not begin with, because the ids of another source's events do.

    Raises:
        PenstockError: only if the registry cannot be reached; the event is then neither valid nor refused.
    """
    headers = list(headers)
    if value is None and not may_lack_value(envelope, headers):
        return Rejection("penstock.Tombstone", "decode", "the record has no value")
    if value is not None and len(value) > max_bytes:
        return Rejection("penstock.TooLarge", "decode", f"{len(value)} bytes, more than the {max_bytes} allowed")
    try:
        row = decode_row(value, contract, writers, registry, envelope, headers)
    except UnknownSchema as error:
        return Rejection("penstock.UnknownSchema", "decode", error.what + id_in_header(headers))
    except Undecodable as error:
        return Rejection("penstock.Undecodable", "decode", error.what + id_in_header(headers))
    if isinstance(row, Ignored):
        return row
    return _validate(row, contract, latest_possible(max_future_ms, clock_ms, kafka_timestamp_ms), reserved_ids)


def id_problem(event: Contract, contract: type[Contract], reserved: Sequence[str]) -> str | None:
    """What is wrong with the id of an event that must not begin with some texts; None if nothing is."""
    for field in contract_fields(contract) if reserved else ():
        if Role.EVENT_ID in field.roles:
            prefix = next((one for one in reserved if getattr(event, field.name).startswith(one)), None)
            return prefix and f"{field.path}: begins with {prefix}, as the ids of another source do"
    return None


def decode_label(
    value: bytes | None, contract: type[Contract], writers: Decoder, registry: Registry | None = None
) -> Contract | Rejection:
    """Decode a label as :func:`decode_event` decodes an event, of any size, and without the clock guard.

    A replayed label's time is unrelated to its Kafka timestamp.

    Raises:
        PenstockError: only if the registry cannot be reached.
    """
    label = decode_event(
        value, contract, writers, kafka_timestamp_ms=-1, max_future_ms=0, max_bytes=INT64_MAX, registry=registry
    )
    assert not isinstance(label, Ignored)  # labels have no envelope
    return label


def event_row(event: Contract, contract: type[Contract], pii_key: bytes) -> dict[str, Any]:
    """Return the event's columns with personal values hashed (keyed) or null, as they may leave the job."""
    row: dict[str, Any] = {}
    for field in contract_fields(contract):
        value = getattr(event, field.name)
        if field.pii is Pii.DROP:
            value = None
        elif field.pii is Pii.HASH:
            value = hashed(value, pii_key)
        row[field.name] = value
    return row


def hashed(value: Any, pii_key: bytes) -> Any:
    """A personal text as its hash, of a list each element; null stays null."""
    if isinstance(value, list):
        return [pii_hash(pii_key, element) for element in value]
    return None if value is None else pii_hash(pii_key, value)


_logical: dict[tuple[int, type[Contract], tuple[str, ...]], tuple[Any, dict[str, LogicalType]]] = {}
# Schemas are few; this only bounds what a process that makes them without end keeps.
_MOST_LOGICAL = 1_000


def decode_row(
    value: bytes | None,
    contract: type[Contract],
    writers: Decoder,
    registry: Registry | None = None,
    envelope: Debezium | CloudEvents | None = None,
    headers: Iterable[tuple[str, bytes | None]] = (),
) -> dict[str, Any] | Ignored:
    """The contract's columns in a raw event, by the rules of :func:`decode_event`, not validated yet.

    Raises:
        Undecodable, UnknownSchema: if the bytes cannot be read.
        PenstockError: if the registry cannot be reached.
    """
    if envelope is None:
        return _row(Opened(*_decode(value or b"", contract, writers, registry), ()), contract)

    def read(inner: bytes) -> tuple[dict[str, Any], Any]:
        document, schema = _decode(inner, contract, writers, registry)
        if isinstance(schema, _MessageTypes) and isinstance(envelope, Debezium):
            raise Undecodable("a change of Debezium in Protobuf; JSON and Avro are read")
        return document, schema

    try:
        opened = open_value(value, headers, envelope, read, _read_json)
    except NotInEnvelope as error:
        raise Undecodable(str(error)) from None
    return opened if isinstance(opened, Ignored) else _row(opened, contract)


@dataclass(frozen=True)
class _MessageTypes:
    """In place of a schema, of what was a message: the logical types of the columns that it has."""

    types: dict[str, LogicalType]


def _decode(
    value: bytes, contract: type[Contract], writers: Decoder, registry: Registry | None
) -> tuple[dict[str, Any], Any]:
    """The event as it is written, or the contract's fields of a message, and the parsed schema; None for JSON."""
    schema, start = _writer(value, writers, registry)
    if schema is JSON:
        return _read_json(value[start:]), None
    if isinstance(schema, Messages):
        document, types = schema.framed(value, start, contract)
        return document, _MessageTypes(types)
    return _with_short_texts(read_avro(value, start, schema, None), value), schema


def _row(event: Opened, contract: type[Contract]) -> dict[str, Any]:
    schema = event.schema
    if schema is None:
        return row_of(event.document, contract)
    if isinstance(schema, _MessageTypes):
        return row_of(event.document, contract, schema.types)
    # The schema is kept with its types, so its id is no other schema's.
    known = _logical.get((id(schema), contract, event.way))
    if known is None:
        if len(_logical) >= _MOST_LOGICAL:
            _logical.clear()
        types = logical_types(schema, contract, event.place)
        known = _logical[id(schema), contract, event.way] = schema, types
    return row_of(event.document, contract, known[1])


def _writer(value: bytes, writers: Decoder, registry: Registry | None) -> tuple[Any, int]:
    """The schema with which a value is written, and where what follows its header begins."""
    if value[:2] == MARKER:
        return writers.schema_of(value), HEADER_LENGTH
    if foreign := foreign_framing(value):
        raise Undecodable(foreign)
    if value[:1] != CONFLUENT_MAGIC:
        return JSON, 0
    if registry is None:
        raise Undecodable("it looks like Confluent framing, but no schema registry is configured")
    if len(value) < CONFLUENT_HEADER_LENGTH:
        raise Undecodable("Confluent framing without its schema id")
    return registry(int.from_bytes(value[1:CONFLUENT_HEADER_LENGTH], "big")), CONFLUENT_HEADER_LENGTH


def _with_short_texts(row: dict[str, Any], value: bytes) -> dict[str, Any]:
    """The row, if no text or bytes in it, ignored or not, is longer than the kernel reads."""
    rest: list[Any] = [row] if len(value) > _MAX_AVRO_TEXT else []
    while rest:
        item = rest.pop()
        if isinstance(item, dict):
            rest += [*item, *item.values()]
        elif isinstance(item, list):
            rest += item
        elif len(item.encode() if isinstance(item, str) else item if isinstance(item, bytes) else b"") > _MAX_AVRO_TEXT:
            raise Undecodable(f"an Avro text or bytes of more than {_MAX_AVRO_TEXT} bytes")
    return row


def _validate(
    row: dict[str, Any], contract: type[Contract], latest_ms: int | None, reserved_ids: Sequence[str]
) -> Contract | Rejection:
    try:
        event = contract.model_validate(row)
    except ValidationError as error:
        return Rejection("penstock.InvalidField", "validate", first_problem(error, contract, row))
    if problem := id_problem(event, contract, reserved_ids):
        return Rejection("penstock.InvalidField", "validate", problem)
    field = next((field for field in contract_fields(contract) if Role.EVENT_TIME in field.roles), None)
    if field is None:
        return event
    time = getattr(event, field.name)
    if latest_ms is not None and time > latest_ms:
        message = f"{field.path}: further ahead of the record's Kafka timestamp or the clock than the source allows"
        message += looks_like(time) if field.written is None else ""
        return Rejection("penstock.FutureEvent", "validate", message)
    return event


def read_avro(value: bytes, start: int, writer: Any, where: str | None, reader: Any = None) -> dict[str, Any]:
    """Return the record that begins at byte ``start``, resolved from the writer's to the reader's parsed schema.

    Without ``reader``, the record keeps the writer's form.

    Raises:
        Undecodable: if the bytes are not such a record.
    """
    buffer = io.BytesIO(value)
    buffer.seek(start)
    try:
        record = schemaless_reader(buffer, writer, reader)
    except Exception as error:  # noqa: BLE001 - garbage may raise anything, and its message may quote the value
        raise Undecodable(f"the Avro bytes do not fit their schema ({type(error).__name__})", where=where) from None
    if buffer.tell() != len(value):
        raise Undecodable(f"{len(value) - buffer.tell()} bytes follow the Avro record", where=where)
    if not isinstance(record, dict):
        raise Undecodable("the Avro schema is not that of a record", where=where)
    return record


def _read_json(value: bytes) -> dict[str, Any]:
    try:
        # json.loads on bytes would also accept UTF-16, UTF-32 and a byte order mark.
        text = value.decode("utf-8")
        document = _JSON.decode(text)
    except UnicodeDecodeError as error:
        raise Undecodable(f"not UTF-8 (byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise Undecodable(f"not JSON (character {error.pos})") from None
    except RecursionError:
        raise Undecodable(f"JSON nested deeper than {MAX_JSON_DEPTH}") from None
    if not isinstance(document, dict):
        raise Undecodable("the JSON document is not an object")
    if text.count("{") + text.count("[") > MAX_JSON_DEPTH:
        _check_nesting(text)
    return document


def _check_nesting(text: str) -> None:
    """As :func:`check_depth`, of JSON's text: of a name that repeats, a document has lost all values but the last."""
    depth = 0
    for part in _NESTING.findall(text):
        if part in "{[":
            depth += 1
            if depth > MAX_JSON_DEPTH:
                raise Undecodable(f"JSON nested deeper than {MAX_JSON_DEPTH}")
        elif part in "}]":
            depth -= 1


def check_depth(document: Any) -> None:
    """Check that objects and arrays nest no deeper than ``MAX_JSON_DEPTH``.

    Raises:
        Undecodable: if they do.
    """
    level = [document]
    for _ in range(MAX_JSON_DEPTH):
        level = [
            child
            for item in level
            for child in (item.values() if isinstance(item, dict) else item)
            if isinstance(child, dict | list)
        ]
        if not level:
            return
    raise Undecodable(f"JSON nested deeper than {MAX_JSON_DEPTH}")


def _parse_integer(token: str) -> int:
    _check_digits(token)
    return int(token)


def _parse_float(token: str) -> float:
    _check_digits(token)
    return float(token)


def _check_digits(token: str) -> None:
    if len(token) > MAX_NUMBER_DIGITS and sum(map(str.isdigit, token)) > MAX_NUMBER_DIGITS:
        raise Undecodable(f"a number of more than {MAX_NUMBER_DIGITS} digits")


def _refuse_constant(token: str) -> float:
    raise Undecodable(f"{token} is not JSON")


# Texts, in which brackets mean nothing, and brackets.
_NESTING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]]')
_JSON = json.JSONDecoder(parse_int=_parse_integer, parse_float=_parse_float, parse_constant=_refuse_constant)


def first_problem(error: ValidationError, contract: type[Contract], row: Mapping[str, Any]) -> str:
    """Return the path of the first invalid field and its rule, without the input.

    Errors of model validators name their field themselves; an element of a list has no path of its own.
    """
    first = error.errors(include_url=False, include_input=False)[0]
    message = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return message
    field = next(field for field in contract_fields(contract) if field.name == first["loc"][0])
    value = row.get(field.name)
    return f"{field.path}: {value.problem if isinstance(value, Unreadable) else message}"
