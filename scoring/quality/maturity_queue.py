"""Events that wait until their labels are final, and a while longer for corrections. Pure.

An event matures when the labels have reached its time plus the horizon. It is kept for a second horizon, so that a
label that arrives late, or in another order, still counts: what was counted is taken out and counted as it is now. Then
it is forgotten. So memory is bounded by two horizons of events.

Labels may come before their event. They wait as long: until labels and predictions are two horizons further.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from heapq import heapify, heappop, heappush
from typing import NamedTuple

from scoring.quality.events import Event, KnownLabel, Scored

# So many events mature, or are forgotten, at once at most: each is a record of the transaction that saves it.
_MOST_AT_ONCE = 20_000


class Moved(NamedTuple):
    """What became of events as time went on.

    Attributes:
        matured: Those that are mature now, in order of event time and id; not marked as such yet.
        forgotten: Those that are kept no longer.
    """

    matured: list[Event]
    forgotten: list[Event]


class MaturityQueue:
    """Keeps events by id.

    Args:
        horizon_ms: How long after its event a label may come.
        events: Those that were kept before.
        mature_ms: The time that labels have reached: events are mature that are a horizon older.
        forget_ms: The time that everything has reached: events are forgotten that are two horizons older.
    """

    def __init__(
        self,
        horizon_ms: int,
        events: Iterable[Event] = (),
        mature_ms: int | None = None,
        forget_ms: int | None = None,
    ) -> None:
        self._horizon_ms = horizon_ms
        self.events = {event.event_id: event for event in events}
        self.mature_ms, self.forget_ms = mature_ms, forget_ms
        self._maturing: list[tuple[int, str]] = []
        self._leaving: list[tuple[int, str]] = []
        for event in self.events.values():
            if event.time_ms is not None and not event.is_mature:
                self._maturing.append((event.time_ms + horizon_ms, event.event_id))
            self._leaving.append((self._leaves_at(event), event.event_id))
        heapify(self._maturing)
        heapify(self._leaving)

    def event_of(self, one: Scored | KnownLabel) -> Event | None:
        """The event that a prediction or label is of, perhaps a new one; None if such an event would be forgotten."""
        event = self.events.get(one.event_id)
        if event is None:
            time_ms = one.event_time_ms if isinstance(one, Scored) else one.known_at_ms
            if self.forget_ms is not None and time_ms + 2 * self._horizon_ms <= self.forget_ms:
                return None
            event = Event(one.event_id)
        return event

    def keep(self, event: Event) -> bool:
        """Keep a new or changed event; whether it is mature now, which it may be at once."""
        self.events[event.event_id] = event
        heappush(self._leaving, (self._leaves_at(event), event.event_id))
        if event.time_ms is None:
            return False
        matures_at = event.time_ms + self._horizon_ms
        is_mature = self.mature_ms is not None and matures_at <= self.mature_ms
        if not is_mature:
            heappush(self._maturing, (matures_at, event.event_id))
        return is_mature

    def advance(self, mature_ms: int | None, forget_ms: int | None) -> Moved:
        """Go on to these times, or only as far as some thousands of events do; they never go back."""
        matured, self.mature_ms = self._due(self._maturing, self.mature_ms, mature_ms, self._matures_at)
        if mature_ms is not None and forget_ms is not None and self.mature_ms is not None:
            forget_ms = forget_ms if self.mature_ms >= mature_ms else min(forget_ms, self.mature_ms)
        # Forgetting comes after maturing: what is forgotten has been counted.
        forgotten, self.forget_ms = self._due(self._leaving, self.forget_ms, forget_ms, self._leaves_at)
        for event in forgotten:
            del self.events[event.event_id]
        immature = [event for event in matured if not event.is_mature]
        return Moved(sorted(immature, key=lambda event: (event.time_ms or 0, event.event_id)), forgotten)

    def _due(
        self,
        heap: list[tuple[int, str]],
        former_ms: int | None,
        time_ms: int | None,
        due_at: Callable[[Event], int | None],
    ) -> tuple[list[Event], int | None]:
        """The events whose time has come, and the time up to which these are all."""
        time_ms = _later(former_ms, time_ms)
        found: dict[str, Event] = {}
        last = former_ms
        while time_ms is not None and heap and heap[0][0] <= time_ms:
            if len(found) >= _MOST_AT_ONCE and last is not None and heap[0][0] > last:
                return list(found.values()), last
            entered_ms, event_id = heappop(heap)
            last = _later(last, entered_ms)
            event = self.events.get(event_id)
            at = None if event is None else due_at(event)
            # A heap also has the former times of events that have changed: these are there at their present times, too.
            if event is not None and at is not None and last is not None and at <= last:
                found[event_id] = event
        return list(found.values()), time_ms

    def _matures_at(self, event: Event) -> int | None:
        return None if event.time_ms is None else event.time_ms + self._horizon_ms

    def _leaves_at(self, event: Event) -> int:
        since = max(one.known_at_ms for one in event.labels.values()) if event.time_ms is None else event.time_ms
        return since + 2 * self._horizon_ms


def _later(held: int | None, time_ms: int | None) -> int | None:
    return held if time_ms is None else time_ms if held is None else max(held, time_ms)
