"""The metrics of clients: one set for all clients of a process, with the pipeline as a label."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

# From a wait that nobody notices to one that no caller waits for.
_BUCKETS_S = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 60.0)


class ClientMetrics:
    """Counts of all clients that are given it.

    Args:
        registry: Where they are exported.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.answers = Counter(
            "penstock_client_answers_total",
            "Events answered, by who decided; the reason is empty if the model did.",
            ("pipeline", "source", "reason"),
            registry=registry,
        )
        self.wait = Histogram(
            "penstock_client_wait_seconds",
            "How long a call waited for its answer.",
            ("pipeline",),
            buckets=_BUCKETS_S,
            registry=registry,
        )
        self.prediction = Histogram(
            "penstock_client_prediction_seconds",
            "From asking for an event to its prediction, also if that came too late for the caller.",
            ("pipeline",),
            buckets=_BUCKETS_S,
            registry=registry,
        )
        self.late = Counter(
            "penstock_client_late_predictions_total",
            "Predictions that came after their event was answered by the fallback.",
            ("pipeline",),
            registry=registry,
        )
        self.refused = Counter(
            "penstock_client_refused_total",
            "Calls that got no answer, by reason.",
            ("pipeline", "reason"),
            registry=registry,
        )
        self.in_flight = Gauge(
            "penstock_client_in_flight",
            "Calls that wait, or events on their way to Kafka, whichever are more.",
            ("pipeline",),
            registry=registry,
        )
        self.unreadable = Counter(
            "penstock_client_unreadable_total",
            "Records of the topics of predictions and dead letters that were passed over.",
            ("pipeline",),
            registry=registry,
        )
