"""The Prometheus metrics of `penstock incidents watch --every`."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class WatchMetrics:
    """The metrics of one watch.

    Args:
        registry: The registry that exposes them.
        pipeline: The pipeline's name.
        every_s: The time between two looks.
        started_s: The time now, epoch s: until the first look it counts as the last one.
    """

    def __init__(self, registry: CollectorRegistry, pipeline: str, every_s: float, started_s: float) -> None:
        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"penstock_incidents_{name}", text, ["pipeline"], registry=registry).labels(pipeline)

        self._open = gauge("open", "Incidents that are open")
        self._looked = gauge("looked_timestamp_seconds", "When the last look ended that did not fail")
        self._looked.set(started_s)
        gauge("interval_seconds", "The time between two looks").set(every_s)
        looks = Counter("penstock_incidents_looks", "Looks by outcome", ["pipeline", "outcome"], registry=registry)
        self._done, self._failed = looks.labels(pipeline, "done"), looks.labels(pipeline, "failed")

    def looked(self, open_incidents: int, now_s: float) -> None:
        """Count a look."""
        self._done.inc()
        self._open.set(open_incidents)
        self._looked.set(now_s)

    def failed(self) -> None:
        """Count a look that failed: what is open is as it was, as far as is known."""
        self._failed.inc()
