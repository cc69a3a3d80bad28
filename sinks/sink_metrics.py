"""The metrics of a sink; docs/reference/metrics.md explains them to operators."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import perf_counter

from prometheus_client import Counter, Gauge, Histogram

from penstock.telemetry import AGE_BUCKETS_S

_LABELS = ["pipeline", "sink"]
# From one entity in Redis to the longest that a store may take before the write counts as failed (Cassandra: 10 s).
_WRITE_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
# Up to a full batch: if batches are always full, the sink is the bottleneck.
_BATCH = (1, 3, 10, 30, 100, 300, 1_000, 1_999, 2_000)

_PAUSED = Gauge("penstock_sink_paused", "1 while the store accepts no records", _LABELS)
_STORE_ERRORS = Counter("penstock_sink_store_errors", "Writes that the store refused or lost", _LABELS)
_LOSSES = Counter(
    "penstock_sink_store_losses", "Partitions read again because the store lost acknowledged writes", _LABELS
)
_KAFKA_ERRORS = Counter("penstock_sink_kafka_errors", "Errors of Kafka that passed, or will", _LABELS)
_RECORDS = Counter("penstock_sink_records", "Records acknowledged, by outcome", [*_LABELS, "topic", "outcome"])
_BATCHES = Histogram("penstock_sink_batch_records", "Records per write", _LABELS, buckets=_BATCH)
_WRITES = Histogram("penstock_sink_write_seconds", "Time per write, failed writes included", _LABELS, buckets=_WRITE_S)
_AGE = Histogram(
    "penstock_sink_record_age_seconds",
    "Time from a record's Kafka timestamp to its acknowledgement by the store; the oldest record of each write",
    _LABELS,
    buckets=AGE_BUCKETS_S,
)


class SinkMetrics:
    """The metrics of one sink of a pipeline, which reads ``topics``; each series exists from the start."""

    def __init__(self, pipeline: str, sink: str, topics: Iterable[str]) -> None:
        self._labels = (pipeline, sink)
        for topic in topics:  # start at 0, because rate() misses the first event of a series that begins with it
            for outcome in ("written", "dead_letter"):
                _RECORDS.labels(pipeline, sink, topic, outcome)
        self.paused = _PAUSED.labels(pipeline, sink)
        self.store_errors = _STORE_ERRORS.labels(pipeline, sink)
        self.losses = _LOSSES.labels(pipeline, sink)
        self.kafka_errors = _KAFKA_ERRORS.labels(pipeline, sink)
        self._batches = _BATCHES.labels(pipeline, sink)
        self._writes = _WRITES.labels(pipeline, sink)
        self._age = _AGE.labels(pipeline, sink)

    def count_records(self, topic: str, outcome: str, records: int = 1) -> None:
        """Count processed records; the outcome is ``written`` or ``dead_letter``."""
        _RECORDS.labels(*self._labels, topic, outcome).inc(records)

    def start_write(self, records: int) -> Callable[[], None]:
        """Record the number of records of a write that begins; call the result when it ends, to record its duration."""
        self._batches.observe(records)
        begin = perf_counter()
        return lambda: self._writes.observe(perf_counter() - begin)

    def observe_age(self, oldest_ms: int, now_ms: int) -> None:
        """Observe the age of the oldest record of a write at its acknowledgement; both times are epoch ms."""
        self._age.observe(max(0, now_ms - oldest_ms) / 1000)
