"""The messages of an example's input topics, in the order in which a producer sends them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from schemas.avro import contract_schema
from schemas.codec import Encoder, Reason
from schemas.contract import Contract

# An update is an event of a source that triggers no record.
Kind = Literal["event", "update", "duplicate", "malformed", "label"]


@dataclass(frozen=True, slots=True)
class Message:
    """One Kafka record to send.

    ``event_time_ms`` is its event time, epoch ms: for a label, when it becomes known; for a malformed event, the time
    of the event that it was made from. ``expected`` is the dead-letter reason of a malformed event, else None.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    event_time_ms: int | None
    kind: Kind
    expected: Reason | None = None


class EventFormats:
    """Encodes the events of one contract in both formats that an input topic accepts.

    It does not validate events, so that it can also encode malformed ones.
    """

    def __init__(self, contract: type[Contract]) -> None:
        self._avro = Encoder(contract_schema(contract))
        self._json = json.JSONEncoder(separators=(",", ":"))

    def avro(self, event: Mapping[str, Any]) -> bytes:
        """The event in Avro single-object encoding."""
        return self._avro.encode(event)

    def json(self, event: Mapping[str, Any]) -> bytes:
        """The event as JSON. NaN becomes the token ``NaN``, which is not valid JSON but is what some producers send."""
        return self._json.encode(event).encode()
