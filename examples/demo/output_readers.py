"""Reads a pipeline's predictions and drift alerts during the demo, and measures latency."""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaException, Message

from penstock.kafka.access import QUIET, KafkaAccess
from schemas.history import record_decoder

# How many are kept: for the screen, and latencies for its percentiles.
_HIGH_SCORES = 5
_ALERTS = 4
_RECENT = 2_000
# Of one call to the client: so many records, and so long a wait for the first.
_BATCH = 500
_POLL_S = 0.1


@dataclass(frozen=True)
class HighScore:
    """A prediction with the positive decision, for the screen."""

    score: float
    entity: str


@dataclass(frozen=True)
class ShownAlert:
    """A drift alert, for the screen: a monitor's expected and current value, and the detector."""

    monitor: str
    detector: str
    expected: float
    current: float


class AlertReader:
    """Reads ``drift.<pipeline>`` at each :meth:`poll`: ``count`` is the number of alerts, ``latest`` the last few."""

    def __init__(self, kafka: KafkaAccess, topic: str) -> None:
        self.count = 0
        self.latest: deque[ShownAlert] = deque(maxlen=_ALERTS)
        self._decoder = record_decoder("drift_alert")
        self._consumer = Consumer(reader_settings(kafka))
        self._consumer.subscribe([topic])

    def poll(self) -> None:
        """Read the alerts that have arrived; does not wait."""
        for alert in map(self._decoder.decode, values_of(self._consumer.consume(_BATCH, 0.0))):
            self.count += 1
            shown = (alert[name] for name in ("monitor", "detector", "reference", "current"))
            self.latest.append(ShownAlert(*shown))

    def close(self) -> None:
        """Disconnect."""
        self._consumer.close()


class PredictionReader:
    """Reads ``predictions.<pipeline>`` in a thread of its own.

    ``count`` is the number of predictions read. A latency is the time from the raw event's Kafka timestamp to the
    arrival of the prediction here, in ms: ``latencies_ms`` holds those that arrived while ``measuring`` was set,
    ``recent_ms`` the latest ones. ``high_scores`` holds the last few predictions with the decision ``positive``.
    ``last_arrival`` is in seconds of the monotonic clock. ``under`` counts the predictions under rollout policies, by
    policy and version of the model, and ``entities`` has their entities.
    """

    def __init__(self, kafka: KafkaAccess, topic: str, positive: str) -> None:
        self._positive = positive
        self.count = 0
        self.measuring = False
        self.latencies_ms: list[float] = []
        self.recent_ms: deque[float] = deque(maxlen=_RECENT)
        self.high_scores: deque[HighScore] = deque(maxlen=_HIGH_SCORES)
        self.last_arrival = 0.0
        self.under: Counter[tuple[str, int]] = Counter()
        self.entities: defaultdict[tuple[str, int], set[str]] = defaultdict(set)
        self._arrivals: deque[tuple[float, float]] = deque()
        self._decoder = record_decoder("prediction")
        self._stop = threading.Event()
        self._consumer = Consumer(reader_settings(kafka))
        self._consumer.subscribe([topic])
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def arrivals(self) -> list[tuple[float, float]]:
        """The arrivals since the last call: the time (seconds, monotonic) and the latency (ms) of each."""
        return [self._arrivals.popleft() for _ in range(len(self._arrivals))]

    def stop(self) -> None:
        """Stop reading."""
        self._stop.set()
        self._thread.join()
        self._consumer.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            # Not one call for a batch: it would hold the first one back until the batch is full or its time is up.
            first = self._consumer.poll(_POLL_S)
            arrived = [] if first is None else [first, *self._consumer.consume(_BATCH, 0)]
            now = time.time()
            for prediction in map(self._decoder.decode, values_of(arrived)):
                self._record(prediction, now)

    def _record(self, prediction: dict[str, Any], now: float) -> None:
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
            self.high_scores.append(HighScore(score, str(prediction["entity"])))
        if prediction["rollout"] is not None:
            served = prediction["rollout"]["policy"], int(prediction["model_version"])
            self.under[served] += 1
            self.entities[served].add(str(prediction["entity"]))


def reader_settings(kafka: KafkaAccess) -> dict[str, str | int | bool]:
    """Consumer settings: reads all committed records, in a new group, and commits no offsets."""
    return {
        **kafka.client(),
        "group.id": f"penstock-demo-{uuid.uuid4()}",
        "isolation.level": "read_committed",
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        **QUIET,
    }


def values_of(messages: list[Message]) -> Iterator[bytes]:
    """The values of records.

    Raises:
        KafkaException: if the client says that it cannot go on.
    """
    for message in messages:
        error = message.error()
        if error is None:
            yield message.value() or b""
        elif error.fatal():
            raise KafkaException(error)
