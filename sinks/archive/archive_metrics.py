"""The metrics of an archive, beside those of every sink; docs/reference/metrics.md explains them to operators."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import Counter

from sinks.sink_metrics import SinkMetrics

_BYTES = Counter("penstock_archive_bytes", "Bytes of the files that were archived", ["pipeline", "topic"])
_UNDECODED = Counter(
    "penstock_archive_undecoded_records", "Archived records whose value could not be decoded", ["pipeline", "topic"]
)


class ArchiveMetrics:
    """The metrics of one archive of a pipeline; each series exists from the start."""

    def __init__(self, pipeline: str, topics: Iterable[str]) -> None:
        topics = list(topics)
        self.sink = SinkMetrics(pipeline, "archive", topics)
        self._pipeline = pipeline
        for topic in topics:
            _BYTES.labels(pipeline, topic)
            _UNDECODED.labels(pipeline, topic)

    def count(self, topic: str, records: int, undecoded: int, size: int) -> None:
        """Count an archived batch: its records, those of them that were not decoded, and the bytes of its files."""
        self.sink.count_records(topic, "written", records)
        _UNDECODED.labels(self._pipeline, topic).inc(undecoded)
        _BYTES.labels(self._pipeline, topic).inc(size)
