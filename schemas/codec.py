"""Reading and writing values: Penstock's own records, and raw events as producers sent them.

Penstock's records use Avro single-object encoding (``C3 01``, the schema's fingerprint, the Avro binary);
:class:`Encoder` and :class:`Decoder` parse their schemas once and are then cheap per record. A raw event may be JSON,
single-object Avro or Confluent-framed Avro: :func:`decode_event` says what it is or why it is refused, by exactly the
rules of the job's JVM kernel (``docs/concepts/contracts.md`` lists them), of which it is the oracle.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from fastavro import schemaless_reader, schemaless_writer
from pydantic import ValidationError

from penstock.errors import PenstockError
from schemas.avro import fingerprint, parsed
from schemas.contract import Contract, Pii, Role, contract_fields, field_with_role, pii_hash

MARKER = b"\xc3\x01"
HEADER_LENGTH = 10
CONFLUENT_MAGIC = b"\x00"
CONFLUENT_HEADER_LENGTH = 5
MAX_JSON_DEPTH = 100
MAX_NUMBER_DIGITS = 1_000

Reason = Literal[
    "penstock.Tombstone",
    "penstock.TooLarge",
    "penstock.Undecodable",
    "penstock.UnknownSchema",
    "penstock.InvalidField",
    "penstock.FutureEvent",
]
Registry = Callable[[int], Any]
"""Schema id -> the writer's schema, made ready by :func:`schemas.avro.parsed`; raises :class:`UnknownSchema`."""


class UnknownSchema(PenstockError):  # noqa: N818 - named as the reason it becomes
    """The bytes name a schema that the reader does not know."""


class Undecodable(PenstockError):  # noqa: N818 - named as the reason it becomes
    """The bytes are not what they claim to be."""


@dataclass(frozen=True)
class Rejection:
    """Why an event is a dead letter. ``message`` names the field, never a value of it."""

    reason: Reason
    stage: Literal["decode", "validate"]
    message: str


class Encoder:
    """Writes records of one schema. Not to be shared between threads: it reuses its buffer."""

    def __init__(self, schema: Any) -> None:
        self.header = MARKER + fingerprint(schema)
        self._schema = parsed(schema)
        self._buffer = io.BytesIO()

    def encode(self, record: Mapping[str, Any]) -> bytes:
        """The record as single-object bytes; a field with a default may be left out.

        Raises:
            ValueError: from fastavro, if a field is missing (as TypeError, OverflowError: if one does not fit).
        """
        buffer = self._buffer
        buffer.seek(0)
        buffer.truncate()
        buffer.write(self.header)
        schemaless_writer(buffer, self._schema, record)
        return buffer.getvalue()


class Decoder:
    """Reads records written with any of the given schemas, each with the schema it was written with."""

    def __init__(self, *schemas: Any) -> None:
        self._schemas = {fingerprint(schema): parsed(schema) for schema in schemas}

    def decode(self, value: bytes, where: str | None = None) -> dict[str, Any]:
        """The record in ``value``; ``where`` (such as ``topic[partition]@offset``) goes into the error.

        Raises:
            Undecodable: if ``value`` is not single-object encoding, ends early or goes on after the record.
            UnknownSchema: if it was written with a schema that this decoder was not given.
        """
        return read_avro(value, HEADER_LENGTH, self.schema_of(value, where), where)

    def schema_of(self, value: bytes, where: str | None = None) -> Any:
        """The schema that ``value`` was written with, parsed; raises as :meth:`decode`, if it does not name one."""
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
    registry: Registry | None = None,
) -> Contract | Rejection:
    """The event in the value of a raw record, or why it is refused; a function of its arguments alone.

    Args:
        value: The record's value; None is a tombstone.
        contract: What the event must be.
        writers: Knows every schema that producers may have written with (all committed versions of the contract).
        kafka_timestamp_ms: The record's Kafka timestamp, against which the clock guard holds the event time.
        max_future_ms: How far the event time may be ahead of it.
        max_bytes: A longer value is refused unread.
        registry: Finds the schema of a Confluent-framed value; without one such values are refused.

    Raises:
        PenstockError: only if the registry cannot be asked: that is no fault of the event.
    """
    if value is None:
        return Rejection("penstock.Tombstone", "decode", "the record has no value")
    if len(value) > max_bytes:
        return Rejection("penstock.TooLarge", "decode", f"{len(value)} bytes, more than the {max_bytes} allowed")
    try:
        row = _decode(value, writers, registry)
    except UnknownSchema as error:
        return Rejection("penstock.UnknownSchema", "decode", error.what)
    except Undecodable as error:
        return Rejection("penstock.Undecodable", "decode", error.what)
    # A record without a timestamp (-1) has nothing to hold its event time against.
    return _validate(row, contract, None if kafka_timestamp_ms < 0 else kafka_timestamp_ms + max_future_ms)


def columns(event: Contract, contract: type[Contract], pii_key: bytes) -> dict[str, Any]:
    """The event as a row, once personal values are hashed (keyed) or dropped (null): all that may leave the job."""
    row: dict[str, Any] = {}
    for field in contract_fields(contract):
        value = getattr(event, field.name)
        if field.pii is Pii.DROP:
            value = None
        elif field.pii is Pii.HASH and value is not None:
            value = pii_hash(pii_key, value)
        row[field.name] = value
    return row


def _decode(value: bytes, writers: Decoder, registry: Registry | None) -> dict[str, Any]:
    if value[:2] == MARKER:
        return writers.decode(value)
    if value[:1] == CONFLUENT_MAGIC:
        if registry is None:
            raise Undecodable("it looks like Confluent framing, but no schema registry is configured")
        if len(value) < CONFLUENT_HEADER_LENGTH:
            raise Undecodable("Confluent framing without its schema id")
        schema = registry(int.from_bytes(value[1:CONFLUENT_HEADER_LENGTH], "big"))
        return read_avro(value, CONFLUENT_HEADER_LENGTH, schema, None)
    return _read_json(value)


def _validate(row: dict[str, Any], contract: type[Contract], latest_ms: int | None) -> Contract | Rejection:
    try:
        event = contract.model_validate(row)
    except ValidationError as error:
        return Rejection("penstock.InvalidField", "validate", _first_problem(error))
    event_time = field_with_role(contract, Role.EVENT_TIME)
    assert event_time is not None  # the contract's own check
    if latest_ms is not None and getattr(event, event_time) > latest_ms:
        message = f"{event_time}: further ahead of the record's Kafka timestamp than the source allows"
        return Rejection("penstock.FutureEvent", "validate", message)
    return event


def read_avro(value: bytes, start: int, writer: Any, where: str | None, reader: Any = None) -> dict[str, Any]:
    """The record from ``start`` on, written with one parsed schema and given by another (default: the same).

    Raises:
        Undecodable: if the bytes are no such record.
    """
    buffer = io.BytesIO(value)
    buffer.seek(start)
    try:
        record = schemaless_reader(buffer, writer, reader)
    except Exception as error:  # noqa: BLE001 - garbage may raise anything, and its text may quote the value
        raise Undecodable(f"the Avro bytes do not fit their schema ({type(error).__name__})", where=where) from None
    if buffer.tell() != len(value):
        raise Undecodable(f"{len(value) - buffer.tell()} bytes follow the Avro record", where=where)
    if not isinstance(record, dict):
        raise Undecodable("the Avro schema is not that of a record", where=where)
    return record


def _read_json(value: bytes) -> dict[str, Any]:
    try:
        # Decoded first: json.loads would guess UTF-16 and -32, and take a byte order mark.
        document = _JSON.decode(value.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise Undecodable(f"not UTF-8 (byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise Undecodable(f"not JSON (character {error.pos})") from None
    except RecursionError:
        raise Undecodable(f"JSON nested deeper than {MAX_JSON_DEPTH}") from None
    if not isinstance(document, dict):
        raise Undecodable("the JSON document is not an object")
    _check_depth(document)
    return document


def _check_depth(document: Any) -> None:
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


def _integer(token: str) -> int:
    _check_digits(token)
    return int(token)


def _float(token: str) -> float:
    _check_digits(token)
    return float(token)


def _check_digits(token: str) -> None:
    if len(token) > MAX_NUMBER_DIGITS and sum(map(str.isdigit, token)) > MAX_NUMBER_DIGITS:
        raise Undecodable(f"a number of more than {MAX_NUMBER_DIGITS} digits")


def _constant(token: str) -> float:
    raise Undecodable(f"{token} is not JSON")


_JSON = json.JSONDecoder(parse_int=_integer, parse_float=_float, parse_constant=_constant)


def _first_problem(error: ValidationError) -> str:
    """Field and rule of the first problem, without the input; model-wide rules name their field themselves."""
    first = error.errors(include_url=False, include_input=False)[0]
    message = first["msg"].removeprefix("Value error, ")
    return ": ".join([*(str(part) for part in first["loc"]), message])
