"""Finds a moment at which a killed job must repeat itself, so that a test of that needs no luck."""

from __future__ import annotations

import time
from collections.abc import Callable

from confluent_kafka import KafkaException

from penstock.errors import PenstockError
from penstock.kafka.lag import Lag
from penstock.kafka.names import group_of
from streams.definitions.pipeline import Pipeline


class KillPoint:
    """Tells whether a pipeline's job has published records since its last checkpoint, and writes no new one yet.

    The job commits its offsets when a checkpoint is complete. It then waits as long as the checkpoints' interval before
    it begins the next.

    Args:
        pipeline: The pipeline.
        lag: Its offsets.
        published: The number of records so far; by default of all on the features topic, those of timers too.
    """

    def __init__(self, pipeline: Pipeline, lag: Lag, published: Callable[[], int] | None = None) -> None:
        self._pipeline, self._lag = pipeline, lag
        self._published = published or (lambda: sum(lag.end_offsets(pipeline.features_topic).values()))
        self._committed: dict[int, int] | None = None
        self._records: int | None = None

    def is_reached(self) -> bool:
        """Look once; call it again, every few milliseconds, until it is true. A broker that is late is asked again."""
        try:
            return self._look()
        except (KafkaException, PenstockError):
            return False

    def _look(self) -> bool:
        committed = self._offsets()
        records = self._published()
        if committed != self._committed:
            # The first look does not show how long ago the checkpoint was.
            self._records = None if self._committed is None else records
            self._committed = committed
            return False
        return self._records is not None and records > self._records and self._offsets() == committed

    def is_reached_within(self, seconds: float) -> bool:
        """Look until it is true, or the time is over."""
        deadline = time.monotonic() + seconds
        while not (reached := self.is_reached()) and time.monotonic() < deadline:
            time.sleep(0.02)
        return reached

    def is_reached_before_a_checkpoint(self, seconds: float) -> bool:
        """Look until it is true, a checkpoint is complete, or the time is over.

        After a checkpoint, records that are produced at once make it true long before the next one.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            before = self._committed
            if self.is_reached():
                return True
            if before is not None and self._committed != before:
                return False
            time.sleep(0.02)
        return False

    def _offsets(self) -> dict[int, int]:
        return self._lag.committed_offsets(group_of(self._pipeline.name, "features"), self._pipeline.source.topic)
