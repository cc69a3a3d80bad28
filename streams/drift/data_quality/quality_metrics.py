"""The Prometheus metrics of data quality."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge

from penstock.kafka.end_watch import DOUBTS
from streams.drift.data_quality.quality_reference import KINDS
from streams.drift.data_quality.quality_watch import QualityAlert, QualityWatch

_TRANSACTIONS = ("written", "aborted", "unknown")


class DataQualityMetrics:
    """The metrics in ``registry``; ``topics`` are those that are read."""

    def __init__(self, registry: CollectorRegistry, pipeline: str, topics: Iterable[str]) -> None:
        self._pipeline, self._topics = pipeline, tuple(topics)

        def counter(name: str, meaning: str, *labels: str) -> Counter:
            return Counter(f"penstock_data_quality_{name}", meaning, ["pipeline", *labels], registry=registry)

        def gauge(name: str, meaning: str, *labels: str) -> Gauge:
            return Gauge(f"penstock_data_quality_{name}", meaning, ["pipeline", *labels], registry=registry)

        self._records = counter(
            "records", "Raw records read: watched, or known to the reference (passed)", "topic", "outcome"
        )
        self._alerts = counter("alerts", "Alerts published", "topic", "detector")
        self._over = gauge("over", "Checks that are beyond their limits now", "topic", "detector")
        self._newest = gauge("newest_event_timestamp_seconds", "The latest event time", "topic")
        self._refused = gauge("refused", "Checks that the reference cannot support", "topic")
        self._transactions = counter("transactions", "Transactions with the counts, by outcome", "outcome")
        self._bytes = gauge("state_bytes", "Size of what the last transaction saved").labels(pipeline)
        self._replaced = counter(
            "producers_replaced",
            "Producers replaced because the end of a transaction may have been sent twice, by what was noticed",
            "reason",
        )
        # Initialise at 0: rate() misses the first event of a series that only starts with it.
        for outcome in _TRANSACTIONS:
            self._transactions.labels(pipeline, outcome)
        for doubt in DOUBTS:
            self._replaced.labels(pipeline, doubt)
        for topic in self._topics:
            for outcome in ("watched", "passed"):
                self._records.labels(pipeline, topic, outcome)
            for kind in KINDS:
                self._alerts.labels(pipeline, topic, kind)

    def records(self, topic: str, watched: int, passed: int) -> None:
        """Count records that were read."""
        self._records.labels(self._pipeline, topic, "watched").inc(watched)
        self._records.labels(self._pipeline, topic, "passed").inc(passed)

    def saved(self, watch: QualityWatch, alerts: Iterable[QualityAlert], size: int) -> None:
        """What was saved, of ``size`` bytes."""
        self._transactions.labels(self._pipeline, "written").inc()
        self._bytes.set(size)
        for alert in alerts:
            self._alerts.labels(self._pipeline, alert.finding.topic, alert.finding.kind).inc()
        self.report(watch)

    def report(self, watch: QualityWatch) -> None:
        """What is so now."""
        for topic, one in watch.topics.items():
            kinds = [key.rpartition(":")[2] for key in one.over]
            for kind in KINDS:
                self._over.labels(self._pipeline, topic, kind).set(kinds.count(kind))
            if one.newest_ms:
                self._newest.labels(self._pipeline, topic).set(one.newest_ms / 1000)
            self._refused.labels(self._pipeline, topic).set(len(one.reference.refused))

    def not_saved(self, outcome: str) -> None:
        """Count a transaction that was ``aborted``, or whose outcome is ``unknown``."""
        self._transactions.labels(self._pipeline, outcome).inc()

    def replaced(self, doubt: str) -> None:
        """Count a producer that was replaced."""
        self._replaced.labels(self._pipeline, doubt).inc()
