"""The messages of an example's input topics, in the order in which a producer sends them."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from schemas.avro import contract_schema
from schemas.codec import Encoder, Reason
from schemas.contract import Contract

# An update is an event of a source that triggers no record.
_DAY_MS = 86_400_000
Fact = TypeVar("Fact")
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


Arriving = tuple[int, int, Message]
"""A message with its time of arrival, epoch ms, and a number that orders equal times."""


def in_order_of_arrival(
    days: Iterable[Sequence[Fact]],
    start_ms: int,
    deliver: Callable[[Fact, int], Iterable[Arriving]],
    limit: int | None = None,
) -> Iterator[Message]:
    """The messages of what happens day by day, in order of arrival.

    Args:
        days: What happens on each day in order of time, without end.
        start_ms: When the first day begins.
        deliver: Gives the messages of what happened, and gets its number, from 1; none arrives before it happened.
        limit: How much of what happens is delivered; None: all of it, without end.
    """
    waiting: list[Arriving] = []
    number = 0
    for day, today in enumerate(days, start=1):
        for fact in today[: None if limit is None else limit - number]:
            number += 1
            waiting += deliver(fact, number)
        if number == limit:
            break
        # What arrives after midnight waits: what happens the next day may arrive before it.
        waiting.sort()
        arrived = bisect_left(waiting, (start_ms + day * _DAY_MS,))
        yield from (message for _, _, message in waiting[:arrived])
        del waiting[:arrived]
    yield from (message for _, _, message in sorted(waiting))


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
