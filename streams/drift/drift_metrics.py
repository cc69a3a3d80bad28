"""The drift app's Prometheus metrics."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from streams.drift.drift_reference import DETECTORS, NEVER, DriftReference
from streams.drift.track import DriftAlert, Track

_SAVE_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 20.0)


class DriftMetrics:
    """The app's metrics in ``registry``."""

    def __init__(self, registry: CollectorRegistry, pipeline: str, reference: DriftReference) -> None:
        self._pipeline = pipeline
        self._records = Counter(
            "penstock_drift_records",
            "Records read: monitored, passed (known to training, counted before, of another version), dead_letter",
            ["pipeline", "topic", "outcome"],
            registry=registry,
        )
        self._alerts = Counter(
            "penstock_drift_alerts", "Alerts published", ["pipeline", "monitor", "detector"], registry=registry
        )
        self._statistic = Gauge(
            "penstock_drift_statistic",
            "Value of psi, kl and missing in the latest window",
            ["pipeline", "monitor", "detector", "partition"],
            registry=registry,
        )
        self._mean = Gauge(
            "penstock_drift_mean",
            "Mean of the values since the last change that ADWIN found",
            ["pipeline", "monitor", "partition"],
            registry=registry,
        )
        thresholds = Gauge(
            "penstock_drift_threshold",
            "Calibrated threshold of psi, kl and missing",
            ["pipeline", "monitor", "detector"],
            registry=registry,
        )
        refused = Gauge(
            "penstock_drift_refused",
            "1 for a detector that never fires, because the reference is too short for the budget of false alarms",
            ["pipeline", "monitor", "detector"],
            registry=registry,
        )
        self._saves = Counter(
            "penstock_drift_state_saves",
            "Saves of the detectors' state, by outcome",
            ["pipeline", "outcome"],
            registry=registry,
        )
        self._size = Gauge(
            "penstock_drift_state_bytes", "Size of the last saved state", ["pipeline"], registry=registry
        )
        self.save_seconds = Histogram(
            "penstock_drift_save_seconds", "Time to save the state", ["pipeline"], registry=registry, buckets=_SAVE_S
        ).labels(pipeline)
        self.gaps = Counter(
            "penstock_drift_gaps", "Gaps in the records, which were read again", ["pipeline"], registry=registry
        ).labels(pipeline)
        # Initialise at 0: rate() misses the first event of a series that only starts with it.
        for outcome in ("written", "failed"):
            self._saves.labels(pipeline, outcome)
        for monitor in reference.monitors:
            for detector in DETECTORS:
                self._alerts.labels(pipeline, monitor.name, detector)
                refused.labels(pipeline, monitor.name, detector).set(detector in monitor.refused)
            for detector, limit in monitor.thresholds.windowed().items():
                if limit < NEVER:
                    thresholds.labels(pipeline, monitor.name, detector).set(limit)

    def records(self, topic: str, outcome: str, number: int) -> None:
        """Count processed records."""
        if number:
            self._records.labels(self._pipeline, topic, outcome).inc(number)

    def saved(self, track: Track, alerts: list[DriftAlert], size: int) -> None:
        """Record a successful save of the track's state, of ``size`` bytes, with these alerts."""
        self._saves.labels(self._pipeline, "written").inc()
        self._size.labels(self._pipeline).set(size)
        for alert in alerts:
            self._alerts.labels(self._pipeline, alert.monitor, alert.crossing.detector).inc()
        partition = str(track.partition)
        for name, detectors in track.detectors.items():
            self._mean.labels(self._pipeline, name, partition).set(detectors.mean)
            for detector, value in detectors.statistics.items():
                self._statistic.labels(self._pipeline, name, detector, partition).set(value)

    def not_saved(self) -> None:
        """Count a save that failed or whose outcome is unknown."""
        self._saves.labels(self._pipeline, "failed").inc()

    def released(self, track: Track) -> None:
        """Remove the partition's series: another instance exports them now."""
        partition = str(track.partition)
        for name, detectors in track.detectors.items():
            self._mean.remove_by_labels({"monitor": name, "partition": partition})
            for detector in detectors.statistics:
                self._statistic.remove_by_labels({"monitor": name, "detector": detector, "partition": partition})
