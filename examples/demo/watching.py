"""The downstream side: reads predictions as they are committed, and measures what a consumer of them would see."""

from __future__ import annotations

import threading
import time
import uuid
from collections import deque
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaException

from penstock.kafka import QUIET, KafkaAccess
from schemas.codec import Decoder
from schemas.records import PREDICTION_SCHEMA

_HIGH_SCORES = 5
_RECENT = 2_000


@dataclass(frozen=True)
class HighScore:
    """A prediction worth showing."""

    score: float
    entity: str
    decision: str


class Downstream:
    """A consumer of ``predictions.<pipeline>`` in a thread of its own.

    ``count`` is the number of predictions read; ``latencies_ms`` holds, while ``measuring`` is set, the time of each
    from its raw event's Kafka timestamp to its arrival here; ``recent_ms`` the same of the latest, always. Predictions
    with the decision ``positive`` are kept in ``high_scores``, the latest few.
    """

    def __init__(self, kafka: KafkaAccess, topic: str, positive: str) -> None:
        self._positive = positive
        self.count = 0
        self.measuring = False
        self.latencies_ms: list[float] = []
        self.recent_ms: deque[float] = deque(maxlen=_RECENT)
        self.high_scores: deque[HighScore] = deque(maxlen=_HIGH_SCORES)
        self.last_arrival = 0.0
        self._arrivals: deque[tuple[float, float]] = deque()
        self._decoder = Decoder(PREDICTION_SCHEMA)
        self._stop = threading.Event()
        self._consumer = Consumer(
            {
                **kafka.client(),
                "group.id": f"penstock-demo-{uuid.uuid4()}",
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                # As a system that waits for a verdict would: take a record as soon as there is one.
                "fetch.wait.max.ms": 5,
                **QUIET,
            }
        )
        self._consumer.subscribe([topic])
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def arrivals(self) -> list[tuple[float, float]]:
        """Those since the last call: when (seconds, monotonic), and how long after the raw event (ms)."""
        return [self._arrivals.popleft() for _ in range(len(self._arrivals))]

    def stop(self) -> None:
        """Stop reading."""
        self._stop.set()
        self._thread.join()
        self._consumer.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            for message in self._consumer.consume(500, 0.01):
                error = message.error()
                if error is not None:
                    if error.fatal():
                        raise KafkaException(error)
                    continue
                value = message.value()
                assert value is not None
                self._take(self._decoder.decode(value), time.time())

    def _take(self, prediction: dict[str, object], now: float) -> None:
        source = prediction["source"]
        assert isinstance(source, dict)
        latency = now * 1_000 - source["timestamp"]
        self.count += 1
        self.last_arrival = time.monotonic()
        self._arrivals.append((self.last_arrival, latency))
        self.recent_ms.append(latency)
        if self.measuring:
            self.latencies_ms.append(latency)
        score = prediction["score"]
        assert isinstance(score, float)
        if prediction["decision"] == self._positive:
            self.high_scores.append(HighScore(score, str(prediction["entity"]), str(prediction["decision"])))
