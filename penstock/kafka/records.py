"""Kafka records as plain values: what a consumer got, and what a producer is to write."""

from __future__ import annotations

from typing import NamedTuple

Headers = list[tuple[str, bytes | None]]


class Consumed(NamedTuple):
    """A record as it came from the features topic, verbatim."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.offset}"


class Produced(NamedTuple):
    """A record to be written; ``timestamp`` is epoch ms. ``origin`` is the consumed record that it answers."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp: int
    origin: str
