"""Contracts of events in envelopes, and the cases in ``envelope_cases.json`` as records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from penstock import (
    ENTITY,
    EVENT_ID,
    EVENT_TIME,
    ISO8601,
    MICROSECONDS,
    PII_HASH,
    AsDecimal,
    At,
    CloudEvents,
    Contract,
    Debezium,
    InEnvelope,
    Otherwise,
)


class OrderRow(Contract, name="order_row", version=1):
    """A row of a table of orders; the first part of envelope_cases.json tests this contract."""

    committed: Annotated[int, EVENT_TIME, InEnvelope("source.ts_ms")]
    operation: Annotated[Literal["c", "u", "d", "r"], InEnvelope("op")]
    lsn: Annotated[int | None, InEnvelope("source.lsn")] = None
    customer: Annotated[str, ENTITY, PII_HASH]
    total: Annotated[float, AsDecimal(scale=2)]
    total_before: Annotated[float | None, InEnvelope("before.total"), AsDecimal(scale=2)]
    city: Annotated[str, At("address.city")] = "none"
    placed: Annotated[int | None, MICROSECONDS] = None


class Paid(Contract, name="paid", version=1):
    """A payment in a CloudEvent; the second part of envelope_cases.json tests this contract."""

    event_id: Annotated[str, EVENT_ID, InEnvelope("source_and_id")]
    paid_at: Annotated[int, EVENT_TIME, InEnvelope("time"), ISO8601]
    kind: Annotated[Literal["paid", "refunded", "other"], InEnvelope("type"), Otherwise("other")]
    shard: Annotated[str | None, InEnvelope("shard")] = None
    media: Annotated[str | None, InEnvelope("datacontenttype")] = None
    card: Annotated[str | None, ENTITY, PII_HASH]
    amount: float
    note: Annotated[str, At("extra.note")] = "none"


CASES: dict[str, Any] = json.loads(Path(__file__).with_name("envelope_cases.json").read_text(encoding="utf-8"))
ENVELOPES: dict[str, Debezium | CloudEvents] = {
    "debezium": Debezium(operations=("insert", "update", "delete")),
    "cloudevents": CloudEvents(),
}
CONTRACTS: dict[str, type[Contract]] = {"debezium": OrderRow, "cloudevents": Paid}


class Case(NamedTuple):
    """A case of the file: a record in an envelope, and what it is."""

    kind: str
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    expected: dict[str, Any]

    @property
    def contract(self) -> type[Contract]:
        """The contract of its part."""
        return CONTRACTS[self.kind]

    @property
    def envelope(self) -> Debezium | CloudEvents:
        """The envelope of its part."""
        return ENVELOPES[self.kind]

    @property
    def writers(self) -> list[Any]:
        """The schemas of its part."""
        schemas: list[Any] = CASES[self.kind]["writer_schemas"]
        return schemas

    @property
    def event(self) -> dict[str, Any]:
        """The event that it should be."""
        base: dict[str, Any] = CASES[self.kind]["event"]
        return base | self.expected["event"]


def cases() -> dict[str, Case]:
    """All cases, by name."""
    return {f"{kind}: {case['name']}": _case(kind, case) for kind in ENVELOPES for case in CASES[kind]["cases"]}


def framed_cases() -> dict[str, Case]:
    """The cases with a schema of the registry, by name."""
    framed = CASES["framed"]
    return {f"{kind}: {case['name']}": _case(kind, case) for kind in ENVELOPES for case in framed[kind]}


def _case(kind: str, case: dict[str, Any]) -> Case:
    headers = tuple((name, _bytes(value)) for name, value in case.get("headers", ()))
    value = bytes.fromhex(case["hex"]) if "hex" in case else _bytes(case.get("text"))
    return Case(kind, value, headers, case)


def _bytes(value: str | dict[str, str] | None) -> bytes | None:
    if value is None:
        return None
    return bytes.fromhex(value["hex"]) if isinstance(value, dict) else value.encode()
