"""Finds a moment at which a killed job must repeat itself, so that a test of that needs no luck."""

from __future__ import annotations

from penstock.kafka.lag import Lag
from penstock.settings import Settings
from streams.definitions.pipeline import Pipeline
from streams.flink.rest import Flink


class KillPoint:
    """Tells whether a pipeline's job has published records since its last checkpoint, and writes no new one yet.

    That is so just after a checkpoint was completed: the job waits as long as the interval before it begins the next.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._name, self._topic = f"penstock-{pipeline.name}", pipeline.features_topic
        self._settings = Settings()
        self._completed = self._records = -1

    def is_reached(self) -> bool:
        """Look once; call it again, every few milliseconds, until it is true."""
        with Flink(self._settings.flink.rest) as flink, Lag(self._settings.kafka.access) as lag:
            (running,) = (job for job in flink.jobs(self._name) if job.is_active)
            completed = flink.with_details(running).checkpoints
            records = sum(lag.end_offsets(self._topic).values())
            if completed != self._completed:
                is_new = self._completed >= 0
                self._completed, self._records = completed, records if is_new else -1
                return False
            if self._records < 0 or records <= self._records:
                return False
            return flink.with_details(running).checkpoints == completed
