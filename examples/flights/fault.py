"""A fault of a producer, for the demo: from some message on, delays are in seconds, and not in minutes.

The events stay valid, so no contract refuses them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from examples.flights.pipeline import FlightDue
from examples.messages import EventFormats, Message
from schemas.avro import contract_schema
from schemas.codec import Decoder

COLUMN = "dep_delay"
_SECONDS = 60


def in_seconds(messages: Iterable[Message], after: int) -> Iterator[Message]:
    """The messages, with the delays of events in seconds after the first ``after`` messages."""
    decoder, formats = Decoder(contract_schema(FlightDue)), EventFormats(FlightDue)
    for number, message in enumerate(messages):
        if number < after or message.kind != "event" or message.value is None:
            yield message
            continue
        event = decoder.decode(message.value)
        delay = event[COLUMN]
        event[COLUMN] = None if delay is None else delay * _SECONDS
        yield replace(message, value=formats.avro(event))
