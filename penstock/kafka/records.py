"""Kafka records as plain values, for consumers and producers."""

from __future__ import annotations

from typing import NamedTuple

Headers = list[tuple[str, bytes | None]]


class Consumed(NamedTuple):
    """A record as Kafka has it; ``str()`` gives ``topic[partition]@offset``."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.offset}"


class Produced(NamedTuple):
    """A record to be written; ``timestamp`` is epoch ms. ``origin`` names the consumed record that caused it."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp: int
    origin: str
