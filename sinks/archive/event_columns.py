"""The decoded columns of raw events and labels: the fields of their contract, by the rules of the job."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from penstock.kafka.reading import Record
from schemas.codec import Decoder, Registry, Rejection, decode_event, decode_label, hashed
from schemas.committed import writer_schemas
from schemas.contract import Contract, ContractField, Pii, contract_fields
from schemas.envelopes import CloudEvents, Debezium, Ignored
from sinks.archive.columns import IGNORED, column_name, fitting

_TYPES = {"string": pa.string(), "long": pa.int64(), "double": pa.float64(), "boolean": pa.bool_()}


class EventColumns:
    """The fields of a contract, as the job publishes them: personal fields are hashed, or null.

    ``_error`` says of a refused event what its dead letter says, and of a record that is no event that it is none.

    Args:
        contract: The contract.
        schemas: The folder of the committed schemas.
        registry: Finds the schemas of Confluent-framed values; without one such values are refused.
        pii_key: With which personal fields are hashed; empty if there are none.
        limits: The longest value in bytes, and how far an event may be ahead of its Kafka timestamp, in ms; None for
            labels, which have no limits.
        envelope: What stands around the events.
    """

    def __init__(
        self,
        contract: type[Contract],
        schemas: Path,
        registry: Registry | None,
        pii_key: bytes,
        limits: tuple[int, int] | None,
        envelope: Debezium | CloudEvents | None = None,
    ) -> None:
        self._contract = contract
        self._writers = Decoder(*writer_schemas(contract, schemas))
        self._registry = registry
        self._limits, self._envelope = limits, envelope
        self._key = pii_key
        self._fields = contract_fields(contract)
        self.id = f"{contract.contract_name}@{contract.contract_version}"
        self.schema = pa.schema([(column_name(field.name), _type(field)) for field in self._fields])

    def decode(self, records: Sequence[Record]) -> tuple[list[pa.Array], list[str | None]]:
        """As :meth:`sinks.archive.columns.ValueColumns.decode`."""
        return fitting([self._event(record) for record in records], self.schema, self._columns)

    def _event(self, record: Record) -> dict[str, Any] | str:
        found: Contract | Rejection | Ignored
        if self._limits is None:
            found = decode_label(record.value, self._contract, self._writers, self._registry)
        else:
            found = decode_event(
                record.value,
                self._contract,
                self._writers,
                kafka_timestamp_ms=record.timestamp,
                max_future_ms=self._limits[1],
                max_bytes=self._limits[0],
                registry=self._registry,
                headers=record.headers,
                envelope=self._envelope,
            )
        if isinstance(found, Ignored):
            return f"{IGNORED}: the source's envelope has no event here"
        return f"{found.reason}: {found.message}" if isinstance(found, Rejection) else vars(found)

    def _columns(self, events: Sequence[dict[str, Any]]) -> list[list[Any]]:
        columns = []
        for field in self._fields:
            values = [event[field.name] for event in events]
            if field.pii is Pii.DROP:
                values = [None] * len(events)
            elif field.pii is Pii.HASH:
                values = [hashed(value, self._key) for value in values]
            columns.append(values)
        return columns


def _type(field: ContractField) -> pa.DataType:
    kind = _TYPES[field.value_type]
    return pa.list_(kind) if field.is_list else kind


def has_hashed_fields(contract: type[Contract]) -> bool:
    """Whether the columns of a contract need the key of personal data."""
    return any(field.pii is Pii.HASH for field in contract_fields(contract))
