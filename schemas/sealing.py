"""Puts an event into the envelope that its source declares: the inverse of :mod:`schemas.envelopes`, in JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.errors import PenstockError
from schemas.contract import Contract, Role, field_with_role
from schemas.envelopes import CONTENT_TYPE, ENVELOPE, SOURCE_AND_ID, STRUCTURED, CloudEvents, Debezium, in_envelope

_CODES = {"insert": "c", "update": "u", "delete": "d", "snapshot": "r"}
DEFAULT_SOURCE = "/penstock"
"""The ``source`` of a CloudEvent whose contract has no field for it."""


def headers_around(envelope: Debezium | CloudEvents | None) -> list[tuple[str, bytes]]:
    """The headers of the records of :func:`sealed`."""
    return [(CONTENT_TYPE, STRUCTURED.encode())] if isinstance(envelope, CloudEvents) else []


def sealed(
    document: Mapping[str, Any], envelope: Debezium | CloudEvents | None, kind: str, event_id: str | None
) -> dict[str, Any]:
    """The record's document around an event: a change without its schema, or a structured CloudEvent.

    Args:
        document: The event, and what its fields say of the envelope (:func:`schemas.documents.document_of`).
        envelope: The envelope.
        kind: The ``type`` of a CloudEvent whose contract has no field for it.
        event_id: The ``id`` of one whose contract has no field for that.
    """
    event = {name: value for name, value in document.items() if name != ENVELOPE}
    around = dict(document.get(ENVELOPE, {}))
    if envelope is None:
        return dict(document)
    if isinstance(envelope, Debezium):
        code = around.get("op", _CODES[envelope.operations[0]])
        side = "before" if code == "d" else "after"
        return {"before": None, "after": None, "op": code, **around, side: {**around.get(side, {}), **event}}
    if SOURCE_AND_ID in around:
        source, _, around["id"] = str(around.pop(SOURCE_AND_ID)).partition(" ")
        around["source"] = source
    attributes = {"specversion": "1.0", "id": event_id, "source": DEFAULT_SOURCE, "type": kind} | around
    return attributes | {"data": event}


def require_writable(contract: type[Contract], topic: str, envelope: Debezium | CloudEvents | None) -> None:
    """Check that events in this envelope can be sent.

    Raises:
        PenstockError: if not.
    """
    around = {field.path.partition(".")[2] for field in in_envelope(contract)}
    if isinstance(envelope, Debezium):
        raise PenstockError(
            "the events of this topic are changes of a table, which only Debezium writes",
            where=topic,
            safe="nothing was sent",
            next="change the table",
        )
    if envelope is None and around:
        raise PenstockError(
            f"contract {contract.contract_name} is of events in an envelope, and none is given",
            where=topic,
            safe="nothing was sent",
            next="give envelope=CloudEvents(), as the source has it",
        )
    if envelope is not None and not around & {"id", "source_and_id"} and not field_with_role(contract, Role.EVENT_ID):
        raise PenstockError(
            f"a CloudEvent has an id, and contract {contract.contract_name} has none",
            where=topic,
            safe="nothing was sent",
            next='add a field in a new version of the contract: Annotated[str, EVENT_ID, InEnvelope("source_and_id")]',
        )
