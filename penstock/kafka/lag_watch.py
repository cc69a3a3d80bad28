"""A service's own lag, for its metrics and health: in records, and as the age of the oldest unprocessed record.

A separate thread with its own Kafka clients measures it, so that a stuck service still reports its lag. Offsets alone
cannot show that a service is caught up, because transactions leave markers that no consumer receives. If the end is
beyond the service's position, the watch therefore reads the first record in between; if there is none, the lag is 0.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Self

from confluent_kafka import OFFSET_BEGINNING, KafkaException
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from penstock.kafka.access import KafkaAccess
from penstock.kafka.lag import Lag, Partition, PartitionLag, Waiting, lags
from penstock.kafka.names import group_of
from penstock.telemetry import ProgressTracker

_log = logging.getLogger(__name__)

# One measurement costs three small requests; graphs and KEDA's scalers read the lag every 15 s or less often.
INTERVAL_S = 5.0
_STOP_S = 2.0


def deleted(positions: Mapping[Partition, int], earliest: Mapping[Partition, int]) -> dict[Partition, int]:
    """How many of each partition's waiting records Kafka has deleted; a service without a position waits for none.

    Args:
        positions: The offset of the next record to process; OFFSET_BEGINNING if none was processed yet.
        earliest: The first offsets that the topics still have.
    """
    return {p: max(0, earliest[p] - at) if at >= 0 else 0 for p, at in positions.items() if p in earliest}


class LagWatch(Collector):
    """Watches the lag of one process; as a context manager it measures the lag and exports the metrics.

    Args:
        kafka: How to reach Kafka.
        pipeline: The pipeline's name.
        part: The component: ``scorer``, ``sink-redis``, ``drift``; it gives the consumer group its name.
        progress: Receives progress and the number of waiting records.
        registry: Exports the metrics.
        interval_s: Seconds between measurements.
    """

    def __init__(
        self,
        kafka: KafkaAccess,
        pipeline: str,
        part: str,
        progress: ProgressTracker,
        *,
        registry: CollectorRegistry = REGISTRY,
        interval_s: float = INTERVAL_S,
    ) -> None:
        self._kafka = kafka
        self._labels = [pipeline, part]
        self._group = group_of(pipeline, part)
        self._progress = progress
        self._registry = registry
        self._interval_s = interval_s
        self._lock = threading.Lock()
        self._positions: dict[Partition, int | None] = {}
        self._lags: dict[Partition, PartitionLag] = {}
        self._deleted: dict[Partition, int] = {}
        self._nothing_between: dict[Partition, tuple[int, int]] = {}
        self._updated_s = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lag", daemon=True)

    # Called by the service, from its own thread.

    def started(self) -> None:
        """The service takes records from now on."""
        self._progress.started()

    def assigned(self, partitions: Iterable[Partition]) -> None:
        """The service goes on with these, from the group's committed offsets."""
        with self._lock:
            self._positions.update(dict.fromkeys(partitions))

    def revoked(self, partitions: Iterable[Partition]) -> None:
        """Partitions that now belong to another member of the group."""
        with self._lock:
            for partition in partitions:
                self._positions.pop(partition, None)
                self._lags.pop(partition, None)
                self._deleted.pop(partition, None)

    def done(self, offsets: Mapping[Partition, int]) -> None:
        """All records before these offsets are done: acknowledged by a store, or committed."""
        with self._lock:
            self._positions.update({p: at for p, at in offsets.items() if p in self._positions})
        self._progress.consumed()

    # Metrics for operators.

    def collect(self) -> Iterator[Metric]:
        """The metrics, at each scrape by Prometheus."""
        now_ms, labels = time.time_ns() // 1_000_000, ["pipeline", "part"]
        records = GaugeMetricFamily(
            "penstock_consumer_lag_records", "Records that wait to be processed", labels=[*labels, "topic", "partition"]
        )
        seconds = GaugeMetricFamily(
            "penstock_consumer_lag_seconds",
            "Age of the oldest waiting record, by its Kafka timestamp; 0 when caught up",
            labels=[*labels, "topic", "partition"],
        )
        gone = GaugeMetricFamily(
            "penstock_consumer_lag_deleted_records",
            "Records that waited to be processed, and that Kafka has deleted",
            labels=[*labels, "topic", "partition"],
        )
        updated = GaugeMetricFamily(
            "penstock_consumer_lag_updated_timestamp_seconds", "Time of the last measured lag", labels=labels
        )
        healthy = GaugeMetricFamily("penstock_service_healthy", "1 if /healthz returns 200", labels=labels)
        with self._lock:
            found, positions, updated_s = dict(self._lags), dict(self._positions), self._updated_s
            lost = dict(self._deleted)
        for partition, lag in sorted(found.items()):
            where = [*self._labels, partition[0], str(partition[1])]
            records.add_metric(where, lag.records)
            seconds.add_metric(where, lag.age_s(positions.get(partition), now_ms))
            gone.add_metric(where, lost.get(partition, 0))
        updated.add_metric(self._labels, updated_s)
        healthy.add_metric(self._labels, float(self._progress.health().ok))
        return iter((records, seconds, gone, updated, healthy))

    def __enter__(self) -> Self:
        self._registry.register(self)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        # The thread may be in a call to an unreachable broker; a stopping service does not wait longer for it.
        self._thread.join(_STOP_S)
        self._registry.unregister(self)

    def _run(self) -> None:
        failures, has_measured = 0, False
        with Lag(self._kafka) as lag:
            while not self._stop.is_set():
                try:
                    self._measure(lag)
                    failures, has_measured = 0, True
                except (KafkaException, TimeoutError, KeyError) as error:
                    self._progress.behind(None)
                    failures += 1
                    self._tell(error, failures, has_measured=has_measured)
                self._stop.wait(self._interval_s)

    def _tell(self, error: Exception, failures: int, *, has_measured: bool) -> None:
        """Log a lag that could not be measured, once: while a service starts that is usual, and no fault."""
        if not has_measured and failures == 1:
            _log.info("Kafka does not tell the lag yet, as usual at the start; it is asked again soon: %s", error)
        elif failures == (1 if has_measured else 2):
            _log.warning("the lag cannot be measured; its metrics stay as they are, the service goes on: %s", error)

    def _measure(self, lag: Lag) -> None:
        with self._lock:
            owned = dict(self._positions)
        topics = {topic for topic, _ in owned}
        ends = {(topic, number): end for topic in topics for number, end in lag.end_offsets(topic).items()}
        earliest = {(topic, number): at for topic in topics for number, at in lag.earliest_offsets(topic).items()}
        unknown = {topic for (topic, _), at in owned.items() if at is None}
        committed = {(t, number): at for t in unknown for number, at in lag.committed_offsets(self._group, t).items()}
        positions = {p: committed.get(p, OFFSET_BEGINNING) if at is None else at for p, at in owned.items()}

        def first_waiting(asked: Mapping[Partition, int]) -> dict[Partition, Waiting | None]:
            # Skip ranges of offsets that were found to hold no records in the last measurement.
            news = {p: at for p, at in asked.items() if self._nothing_between.get(p) != (at, ends[p])}
            return {**dict.fromkeys(asked.keys() - news.keys()), **lag.first_waiting(self._group, news)}

        found = lags(positions, ends, first_waiting, time.time_ns() // 1_000_000)
        if missing := positions.keys() - found.keys():
            raise TimeoutError(f"no answer about {sorted(missing)}")
        self._nothing_between = {p: (positions[p], ends[p]) for p, lag_ in found.items() if lag_.first is None}
        with self._lock:
            self._lags = {p: lag_ for p, lag_ in found.items() if p in self._positions}
            self._deleted = {p: n for p, n in deleted(positions, earliest).items() if p in self._positions}
            self._updated_s = time.time()
            behind = sum(lag_.records for lag_ in self._lags.values())
        self._progress.behind(behind)
