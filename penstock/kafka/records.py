"""Kafka records as plain values, for consumers and producers."""

from __future__ import annotations

from typing import NamedTuple

# What Kafka adds to a record in a batch of its own (61 and 21 bytes at most), and to a header.
_RECORD_BYTES, _HEADER_BYTES = 128, 10

MAX_RECORD_BYTES = 64 * 1024 * 1024
"""Producers refuse longer records, whatever their topic takes. The longest that the job publishes have half of it."""

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

    @property
    def bytes(self) -> int:
        """No less than what Kafka counts against ``max.message.bytes``."""
        headers = sum(len(name.encode()) + len(value or b"") + _HEADER_BYTES for name, value in self.headers)
        return _RECORD_BYTES + len(self.key or b"") + len(self.value or b"") + headers
