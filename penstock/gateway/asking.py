"""What both forms of the gateway share: an event is read, and asked for, and a refusal has a kind and a reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, Protocol

from penstock.client.answers import Answer, EventConflict, EventRefused, Known, TooBusy
from penstock.telemetry import Health
from schemas.codec import Decoder, Rejection, decode_event
from schemas.contract import Contract
from schemas.envelopes import Ignored
from schemas.producer import InvalidEvent
from schemas.sealing import headers_around
from streams.definitions.sources import Source

_JSON_ONLY = Decoder()
_STOP_S = 5.0


class Asks(Protocol):
    """What the gateway needs of a :class:`penstock.client.Client`."""

    @property
    def source(self) -> Source:
        """Where its events go."""

    @property
    def is_alive(self) -> bool:
        """Whether it sends and reads."""

    async def ask_async(self, event: Contract, *, deadline_ms: float) -> Answer:
        """The answer to an event."""

    def lookup(self, event_id: str) -> Known | None:
        """What is known of an event."""


class Deadlines(NamedTuple):
    """Of a request that names none, and the longest that one may name, in milliseconds."""

    usual_ms: float
    most_ms: float

    @property
    def stop_s(self) -> float:
        """How long those who are being answered are waited for at a stop, in seconds: longer than any deadline."""
        return self.most_ms / 1000 + _STOP_S


class Refused(NamedTuple):
    """Why an event has no answer.

    Args:
        kind: Whether the event is at fault, its id is another event's, or too many are in flight.
        error: The reason, for programs.
        message: The reason, for people; it quotes no value.
        field: The field that is at fault, if it is one.
    """

    kind: Literal["invalid", "conflict", "busy"]
    error: str
    message: str
    field: str | None = None


STATUSES = {"invalid": 422, "conflict": 409, "busy": 503}
"""The HTTP status of each kind of refusal."""


def health_of(clients: Mapping[str, Asks]) -> Health:
    """Whether answers can come; any thread may ask."""
    ended = sorted(name for name, client in clients.items() if not client.is_alive)
    return Health(not ended, f"no answers any more for {', '.join(ended)}" if ended else "answering")


async def ask(client: Asks, body: bytes, deadline_ms: float) -> Answer | Refused:
    """The answer to an event that is given as JSON."""
    source = client.source
    event = decode_event(
        body,
        source.contract,
        _JSON_ONLY,
        # The job judges the event's time by Kafka's clock; here is none that counts.
        kafka_timestamp_ms=-1,
        max_future_ms=0,
        max_bytes=source.max_bytes,
        headers=headers_around(source.envelope),
        envelope=source.envelope,
    )
    assert not isinstance(event, Ignored)  # the client refuses a source of Debezium
    if isinstance(event, Rejection):
        field, _, message = event.message.partition(": ") if event.stage == "validate" else ("", "", event.message)
        return Refused("invalid", event.reason, message, field or None)
    try:
        return await client.ask_async(event, deadline_ms=deadline_ms)
    except TooBusy as error:
        return Refused("busy", "busy", error.what)
    except EventConflict as error:
        return Refused("conflict", "conflict", error.what, source.event_id)
    except EventRefused as error:
        return Refused("invalid", error.reason, error.what)
    except InvalidEvent as error:
        return Refused("invalid", "penstock.InvalidField", error.what)
