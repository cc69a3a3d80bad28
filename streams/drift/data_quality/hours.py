"""Counts the events of each hour of event time, and says when an hour is complete. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from pydantic import BaseModel, ConfigDict

HOUR_MS = 3_600_000
# Events may come so much after those that ended their hour.
_GRACE_MS = 600_000
# A longer time without an event is a new beginning, such as a replay of another year.
_NEW_BEGINNING_MS = 7 * 24 * HOUR_MS


class HoursState(BaseModel):
    """What is counted, as it is saved. ``next_hour`` is the first hour that is not complete, since the epoch."""

    model_config = ConfigDict(extra="forbid")

    next_hour: int | None = None
    counts: dict[int, int] = {}
    newest: dict[int, int] = {}


class Hours:
    """The hours of one topic, over its partitions."""

    def __init__(self, partitions: int, state: HoursState | None = None) -> None:
        self.partitions = partitions
        self.state = HoursState() if state is None else state.model_copy(deep=True)

    @property
    def newest_ms(self) -> int:
        """The latest event time, epoch ms; 0 before the first event."""
        return max(self.state.newest.values(), default=0)

    def observe(self, partition: int, event_time: int) -> None:
        """Count an event; one of an hour that is complete already changes nothing."""
        state, hour = self.state, event_time // HOUR_MS
        if state.next_hour is None or event_time - self.newest_ms > _NEW_BEGINNING_MS:
            # The first hour is not seen from its beginning.
            state.next_hour, state.counts, state.newest = hour + 1, {}, {}
        if hour >= state.next_hour:
            state.counts[hour] = state.counts.get(hour, 0) + 1
        state.newest[partition] = max(state.newest.get(partition, event_time), event_time)

    def completed(self, at_end: Collection[int]) -> Iterator[tuple[int, int]]:
        """The hours that are complete now, with their events, each once.

        Args:
            at_end: The partitions of which everything was read: nobody waits for them.
        """
        state = self.state
        if state.next_hour is None:
            return
        waiting = [number for number in range(self.partitions) if number not in at_end]
        if any(number not in state.newest for number in waiting):
            return
        reached = min((state.newest[number] for number in waiting), default=self.newest_ms)
        end = (reached - _GRACE_MS) // HOUR_MS
        while state.next_hour < end:
            hour = state.next_hour
            state.next_hour = hour + 1
            yield hour, state.counts.pop(hour, 0)
