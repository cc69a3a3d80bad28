"""What an operator sees of a scorer on /metrics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Histogram

_STAGE_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)
_AGE_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 30.0, 300.0, 3600.0)
_ROWS = (1, 4, 16, 64, 256, 1024, 4096)


class Metrics:
    """The scorer's metrics in ``registry``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.scored = Counter(
            "penstock_scorer_scored", "Events scored and committed, by who answered", ["route"], registry=registry
        )
        self.skipped = Counter(
            "penstock_scorer_skipped",
            "Records passed over: emitted again, or by a timer",
            ["reason"],
            registry=registry,
        )
        self.dead_letters = Counter(
            "penstock_scorer_dead_letters", "Records that could not be scored", registry=registry
        )
        self.fallbacks = Counter(
            "penstock_scorer_triton_failures", "Calls that Triton failed or answered too late", registry=registry
        )
        self.aborts = Counter(
            "penstock_scorer_transaction_failures",
            "Transactions that were aborted, or whose outcome had to be asked for",
            ["outcome"],
            registry=registry,
        )
        self.batch = Histogram("penstock_scorer_batch_records", "Records per batch", registry=registry, buckets=_ROWS)
        self.age = Histogram(
            "penstock_scorer_event_age_seconds",
            "From the raw event's Kafka timestamp to its committed prediction; the oldest of each batch",
            registry=registry,
            buckets=_AGE_S,
        )
        self._stages = Histogram(
            "penstock_scorer_stage_seconds", "Time per batch and stage", ["stage"], registry=registry, buckets=_STAGE_S
        )

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Times one stage of a batch: decode, recall, infer, encode or commit."""
        begin = perf_counter()
        try:
            yield
        finally:
            self._stages.labels(name).observe(perf_counter() - begin)
