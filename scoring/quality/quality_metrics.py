"""The Prometheus metrics of the process that counts quality."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import isnan

from prometheus_client import CollectorRegistry, Counter, Gauge

from penstock.kafka.end_watch import DOUBTS
from scoring.quality.book import Book
from scoring.quality.histograms import DAY_MS, HOUR_MS
from scoring.quality.label_watch import LabelAlarm, Matured
from scoring.quality.reading_clock import Reached
from scoring.quality.report import report_of

RECENT_MS = 7 * DAY_MS
"""The measures are of the events of so long a time before the last that are mature."""
OUTCOMES = ("positive", "negative", "unknown")
_TRANSACTIONS = ("written", "aborted", "unknown")


class QualityMetrics:
    """The metrics of one process.

    Args:
        registry: The registry that exposes them.
        pipeline: The pipeline's name.
        topics: The topics that it reads.
        reference: The AUC of a version on the latest events of its training; None if it is not known.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        pipeline: str,
        topics: Sequence[str],
        reference: Callable[[str], float | None],
    ) -> None:
        self._pipeline, self._reference = pipeline, reference

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"penstock_quality_{name}", text, ["pipeline", *labels], registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"penstock_quality_{name}", text, ["pipeline", *labels], registry=registry)

        of = ("version", "arm", "measure")
        self._estimate = gauge("estimate", "A measure of the events that matured in the last 7 days", *of)
        self._low = gauge("low", "What the measure is at least, with 95 % confidence", *of)
        self._high = gauge("high", "What the measure is at most, with 95 % confidence", *of)
        self._expected = gauge(
            "expected", "What scores say of all events since then, if they are calibrated, before labels come", *of
        )
        self._of_training = gauge("reference_auc", "The AUC on the latest events of the training", "version")
        self._matured = counter("matured", "Served predictions whose labels became final, by outcome", "outcome")
        self._waiting = gauge("waiting", "Events whose labels may still come or change").labels(pipeline)
        self._histograms = gauge("histograms", "Histograms that are kept").labels(pipeline)
        self._late = gauge("late_predictions", "Predictions that came too late to count").labels(pipeline)
        self._unmatched = gauge("unmatched_labels", "Events with labels that have no prediction").labels(pipeline)
        self._reached = gauge(
            "reached_timestamp_seconds", "The time of the latest events whose labels are final"
        ).labels(pipeline)
        self._statistic = gauge(
            "label_statistic", "How surely labels disagree with scores, as a part of what is an alarm", "version"
        )
        self._alarms = counter("label_alarms", "Alarms that labels do not agree with scores, published", "version")
        self._odd = gauge("odd_labels", "Labels that the detector has seen otherwise than they were in the end")
        self._unreadable = counter("unreadable", "Records that could not be read, and were passed over", "topic")
        self._transactions = counter("transactions", "Transactions with the counts, by outcome", "outcome")
        self._replaced = counter(
            "producers_replaced",
            "Producers replaced because the end of a transaction may have been sent twice, by what was noticed",
            "reason",
        )
        # Initialise at 0: rate() misses the first event of a series that only starts with it.
        for family, values in (
            (self._matured, OUTCOMES),
            (self._unreadable, topics),
            (self._transactions, _TRANSACTIONS),
            (self._replaced, DOUBTS),
        ):
            for value in values:
                family.labels(pipeline, value)

    def report(self, book: Book, reached: Reached) -> None:
        """What the histograms say now."""
        self._waiting.set(len(book.queue.events))
        self._histograms.set(len(book.histograms))
        self._late.set(book.late)
        self._unmatched.set(book.unmatched)
        self._odd.labels(self._pipeline).set(len(book.watch.odd))
        for version, one in book.watch.content().items():
            self._statistic.labels(self._pipeline, version).set(one["part"])
            self._alarms.labels(self._pipeline, version)  # there before the first
        for family in (self._estimate, self._low, self._high, self._expected, self._of_training):
            family.clear()
        if reached.mature_ms is None:
            return
        last_ms = reached.mature_ms - book.facts.horizon_ms
        self._reached.set(last_ms / 1000)
        since_ms = (last_ms - RECENT_MS) // HOUR_MS * HOUR_MS
        for row in report_of(book.histograms, book.facts, reached, from_ms=since_ms).rows:
            place = self._pipeline, row.of["version"], row.of["arm"]
            for name, interval in row.measures.items():
                for family, value in zip((self._estimate, self._low, self._high), interval, strict=True):
                    if not isnan(value):
                        family.labels(*place, name).set(value)
            for name, interval in row.expected.items():
                if not isnan(interval.estimate):
                    self._expected.labels(*place, name).set(interval.estimate)
            reference = self._reference(row.of["version"])
            if reference is not None:
                self._of_training.labels(*place[:2]).set(reference)

    def matured(self, matured: Iterable[Matured]) -> None:
        """Count what has matured."""
        for one in matured:
            self._matured.labels(self._pipeline, one.outcome).inc()

    def alarmed(self, alarms: Iterable[LabelAlarm]) -> None:
        """Count the alarms that a transaction has written."""
        for one in alarms:
            self._alarms.labels(self._pipeline, one.at.version).inc()

    def unreadable(self, topic: str) -> None:
        """Count a record that was passed over."""
        self._unreadable.labels(self._pipeline, topic).inc()

    def transaction(self, outcome: str) -> None:
        """Count a transaction: ``written``, ``aborted`` or ``unknown``."""
        self._transactions.labels(self._pipeline, outcome).inc()

    def replaced(self, doubt: str) -> None:
        """Count a producer that was replaced."""
        self._replaced.labels(self._pipeline, doubt).inc()
