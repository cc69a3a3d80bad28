"""Messages as Kafka's client gives them."""

from __future__ import annotations

from confluent_kafka import KafkaError


class FakeMessage:
    """A record, or an error of the client at a place."""

    def __init__(
        self,
        topic: str,
        partition: int,
        offset: int,
        value: bytes | None = None,
        *,
        key: bytes | None = None,
        headers: list[tuple[str, bytes | None]] | None = None,
        timestamp_ms: int = 7,
        error: KafkaError | None = None,
    ) -> None:
        self._place = topic, partition, offset
        self._record = key, value, headers
        self._timestamp_ms = timestamp_ms
        self._error = error

    def topic(self) -> str:
        return self._place[0]

    def partition(self) -> int:
        return self._place[1]

    def offset(self) -> int:
        return self._place[2]

    def key(self) -> bytes | None:
        return self._record[0]

    def value(self) -> bytes | None:
        return self._record[1]

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        return self._record[2]

    def timestamp(self) -> tuple[int, int]:
        return 1, self._timestamp_ms

    def error(self) -> KafkaError | None:
        return self._error
