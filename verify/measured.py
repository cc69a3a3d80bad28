"""Client-side measurements for the verifier: taken during the run, used after it."""

from __future__ import annotations

from pydantic import BaseModel


class Measured(BaseModel):
    """Measurements of one run.

    ``events_per_s``: valid events from raw to committed prediction during the burst. ``latencies_ms``: from an event's
    Kafka timestamp to the arrival of its committed prediction, live traffic only. ``trained_until_ms``: event time up
    to which the model was trained; its quality is judged on later events. ``drift_from_ms``: event time from which the
    generated data drifts, None without drift; alerts before it are false alarms.
    """

    events_per_s: float
    latencies_ms: list[float]
    trained_until_ms: int
    drift_from_ms: int | None = None
    rollouts_from_ms: int | None = None

    def is_judged(self, event_time: int) -> bool:
        """Whether the model's quality is judged on events of this time, epoch ms."""
        end = self.rollouts_from_ms
        return self.trained_until_ms < event_time and (end is None or event_time < end)
