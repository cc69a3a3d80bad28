"""What an example hands to a producer: the messages of its input topics, in the order in which they are to be sent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from schemas.avro import contract_schema
from schemas.codec import Encoder, Reason
from schemas.contract import Contract

Kind = Literal["event", "duplicate", "malformed", "label"]


@dataclass(frozen=True, slots=True)
class Message:
    """One Kafka record to be.

    ``event_time_ms`` is when it happens in the world of the example: for a label, when it becomes known; for a
    malformed event, when the event that it was made from happened. ``expected`` is the reason for which a malformed
    event must become a dead letter; it is None for all others.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    event_time_ms: int | None
    kind: Kind
    expected: Reason | None = None


class EventFormats:
    """Writes the events of one contract in both forms that an input topic takes.

    It does not check them: that is the pipeline's work, and the malformed ones come this way too.
    """

    def __init__(self, contract: type[Contract]) -> None:
        self._avro = Encoder(contract_schema(contract))
        self._json = json.JSONEncoder(separators=(",", ":"))

    def avro(self, event: Mapping[str, Any]) -> bytes:
        """The event in Avro single-object encoding."""
        return self._avro.encode(event)

    def json(self, event: Mapping[str, Any]) -> bytes:
        """The event as JSON; Python's NaN is written as the token ``NaN``, as careless producers do."""
        return self._json.encode(event).encode()
