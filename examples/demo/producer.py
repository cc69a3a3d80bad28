"""The demo's Kafka producer, which sends messages as fast as possible or at a given rate."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable

from confluent_kafka import KafkaError, Producer
from confluent_kafka import Message as Delivered

from examples.messages import Message
from penstock.errors import PenstockError
from penstock.kafka.access import QUIET, KafkaAccess

_CHECK_EVERY = 200


class DemoProducer:
    """Produces messages and counts them by kind; ``event_times`` is the event-time range of the valid events (ms)."""

    def __init__(self, kafka: KafkaAccess) -> None:
        self.counts: Counter[str] = Counter()
        self.event_times: tuple[int, int] | None = None
        self._failed: KafkaError | None = None
        self._producer = Producer(
            {
                **kafka.client(),
                "enable.idempotence": True,
                "linger.ms": 2,
                "partitioner": "murmur2_random",
                "queue.buffering.max.messages": 200_000,
                **QUIET,
            }
        )

    def produce(self, messages: Iterable[Message], *, per_second: float | None, tick: Callable[[], None]) -> None:
        """Produce all messages, at ``per_second`` if given, and return when Kafka has acknowledged the last.

        ``tick`` is called every few hundred messages, and may raise to stop.

        Raises:
            PenstockError: if Kafka refuses a message.
        """
        started = time.monotonic()
        for number, message in enumerate(messages):
            if per_second is not None:
                self._wait_until(started + number / per_second)
            self._send(message)
            self.counts[message.kind] += 1
            if message.kind == "event" and message.event_time_ms is not None:
                first, last = self.event_times or (message.event_time_ms, message.event_time_ms)
                self.event_times = min(first, message.event_time_ms), max(last, message.event_time_ms)
            if number % _CHECK_EVERY == 0:
                self._check()
                tick()
        self._producer.flush()
        self._check()

    def _wait_until(self, due: float) -> None:
        self._producer.poll(0)
        while (left := due - time.monotonic()) > 0:
            self._producer.poll(min(left, 0.05))

    def _send(self, message: Message) -> None:
        while True:
            try:
                self._producer.produce(message.topic, key=message.key, value=message.value, on_delivery=self._delivered)
            except BufferError:
                self._producer.poll(0.1)
            else:
                self._producer.poll(0)
                return

    def _delivered(self, error: KafkaError | None, _: Delivered) -> None:
        self._failed = self._failed or error

    def _check(self) -> None:
        if self._failed is not None:
            raise PenstockError(f"Kafka refused a message: {self._failed.str()}")
