"""Compares again and again, and shows the latest result as metrics.

A run that could not compare, because Kafka was away or nothing was kept, changes no result and raises no false alarm:
it is counted, and the time of the last comparison grows old.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge

from backfill.parity.check import Parity
from backfill.parity.report import conclusion, summary
from backfill.parity.values import Cause
from penstock.errors import PenstockError

_log = logging.getLogger(__name__)
OUTCOMES = ("compared", "nothing", "failed")


class ParityMetrics:
    """The metrics of a scheduled comparison.

    Args:
        registry: The registry that exposes them.
        pipeline: The pipeline's name.
        every_s: The time from the beginning of one run to the next.
        started_s: The time now, epoch s: until the first comparison it counts as the last one.
    """

    def __init__(self, registry: CollectorRegistry, pipeline: str, every_s: float, started_s: float) -> None:
        self._pipeline = pipeline

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"penstock_parity_{name}", text, ["pipeline", *labels], registry=registry)

        self._values = gauge("values", "Values that the last comparison compared").labels(pipeline)
        self._differences = gauge("differences", "Values that differed in it, by cause", "cause")
        self._not_compared = gauge("not_compared", "Values and records that it could not compare").labels(pipeline)
        self._checked = gauge("checked_timestamp_seconds", "When the last comparison ended").labels(pipeline)
        self._checked.set(started_s)
        gauge("interval_seconds", "The time between the beginnings of two runs").labels(pipeline).set(every_s)
        self._runs = Counter("penstock_parity_runs", "Runs by outcome", ["pipeline", "outcome"], registry=registry)
        for outcome in OUTCOMES:
            self._runs.labels(pipeline, outcome)
        for cause in Cause:
            self._differences.labels(pipeline, cause.value)

    def compared(self, parity: Parity, now_s: float) -> None:
        """Take a result; one in which nothing was compared is no result."""
        findings = parity.findings
        self._not_compared.set(sum(findings.not_compared.values()))
        if not findings.values:
            self._runs.labels(self._pipeline, "nothing").inc()
            return
        self._runs.labels(self._pipeline, "compared").inc()
        self._values.set(findings.values)
        for cause, count in findings.by_cause().items():
            self._differences.labels(self._pipeline, cause.value).set(count)
        self._checked.set(now_s)

    def failed(self) -> None:
        """Count a run that could not compare."""
        self._runs.labels(self._pipeline, "failed").inc()


def run_scheduled(
    compare: Callable[[int], Parity],
    metrics: ParityMetrics,
    every_s: float,
    stop: threading.Event,
    *,
    monotonic: Callable[[], float],
    now_s: Callable[[], float],
) -> None:
    """Compare every ``every_s`` seconds until ``stop`` is set; a run that takes longer is followed by the next at once.

    Args:
        compare: Makes the run with this number, from 0.
        metrics: Get the results.
        every_s: Seconds.
        stop: Ends the loop.
        monotonic: Monotonic seconds.
        now_s: Seconds since the epoch.
    """
    number = 0
    while not stop.is_set():
        due = monotonic() + every_s
        try:
            parity = compare(number)
        except PenstockError as error:
            metrics.failed()
            _log.warning("not compared: %s", str(error).replace("\n", ";"))
        else:
            metrics.compared(parity, now_s())
            level = logging.ERROR if parity.unexplained else logging.INFO
            _log.log(level, "%s: %s", summary(parity), conclusion(parity))
        number += 1
        stop.wait(max(0.0, due - monotonic()))
