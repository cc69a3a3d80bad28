"""Keeps the histograms of a pipeline's quality: what they count is the sum over all events, whatever came first. Pure.

Each change of an event takes out how it counted before, and counts how it counts now: a prediction or label that comes,
a label that is corrected or withdrawn, an event that matures.
"""

from __future__ import annotations

from collections.abc import Iterable

from penstock.errors import PenstockError
from scoring.quality.events import LIVE, Event, KnownLabel, Scored
from scoring.quality.facts import QualityFacts
from scoring.quality.histograms import DAY_MS, Histogram, Key, Outcome
from scoring.quality.label_watch import LabelWatch, Matured
from scoring.quality.late_places import LatePlaces
from scoring.quality.maturity_queue import MaturityQueue
from scoring.quality.reading_clock import Reached

KEPT_MS = 90 * DAY_MS
"""Histograms of older days are dropped, once no event of theirs can change any more."""
_MOST_VALUES = 1_000


class Book:
    """All histograms, and the events that may still change them.

    Args:
        facts: The pipeline.
        histograms: Those that were kept before.
        events: Those that were kept before.
        reached: How far everything had come.
        late: How many predictions came after their events were forgotten.
        unmatched: How many events had labels and no prediction when they were forgotten.
        late_places: Which predictions came late.
        watch: The detectors on labels as they were kept before.

    Attributes:
        changed_keys: The keys of histograms that are not saved.
        changed_ids: The ids of events that are not saved, each with whether the saved state has a former one of it.
    """

    def __init__(
        self,
        facts: QualityFacts,
        histograms: dict[Key, Histogram] | None = None,
        events: Iterable[Event] = (),
        reached: Reached | None = None,
        *,
        late: int = 0,
        unmatched: int = 0,
        late_places: LatePlaces | None = None,
        watch: LabelWatch | None = None,
    ) -> None:
        reached = reached or Reached()
        self.facts = facts
        self.histograms = {} if histograms is None else histograms
        self.queue = MaturityQueue(facts.horizon_ms, events, reached.mature_ms, reached.forget_ms)
        self.late, self.unmatched = late, unmatched
        self.late_places = LatePlaces({}) if late_places is None else late_places
        self.watch = LabelWatch(facts.false_alarm_every) if watch is None else watch
        self.changed_keys: set[Key] = set()
        self.changed_ids: dict[str, bool] = {}
        self._values = {(key.group, key.value) for key in self.histograms}
        self._oldest_ms = self._oldest()

    def observe(self, predictions: Iterable[Scored], labels: Iterable[KnownLabel]) -> list[Matured]:
        """Take in what was read, in any order; returns what has matured by it at once.

        Raises:
            PenstockError: if a declared group has so many values that it is none.
        """
        matured: list[Matured] = []
        observed: tuple[Scored | KnownLabel, ...] = (*predictions, *labels)
        for one in observed:
            event = self.queue.event_of(one)
            if event is None:
                if isinstance(one, Scored):
                    self.late += 1
                    if one.place is not None:
                        self.late_places.add(*one.place)
                else:
                    self.unmatched += 1
                continue
            was_mature = event.is_mature
            # Labels of events that are not mature count nothing yet.
            counts = was_mature or isinstance(one, Scored)
            if counts:
                self._count(event, -1)
            if isinstance(one, Scored):
                event.add_prediction(one)
            else:
                event.add_label(one)
            event.is_mature = self.queue.keep(event)
            if counts:
                self._count(event, +1)
            found = self._matured(event)
            if found is not None and not was_mature:
                matured.append(found)
            self._watch(event, found)
            self._changed(event)
        return matured

    def reached(self, come: Reached) -> Reached:
        """Up to which times everything is counted, of what has come."""
        return come.model_copy(update={"mature_ms": self.queue.mature_ms, "forget_ms": self.queue.forget_ms})

    def advance(self, reached: Reached) -> list[Matured]:
        """Everything has come so far: returns what has matured by it, in order of event time and id.

        Of very many events some only, so that they can be saved: the others come with the next calls.
        """
        moved = self.queue.advance(reached.mature_ms, reached.forget_ms)
        matured: list[Matured] = []
        for event in moved.matured:
            event.is_mature = True
            self._count(event, +1, but="scored")  # that it has counted since it came
            found = self._matured(event)
            matured += [] if found is None else [found]
            self._watch(event, found)
            self._changed(event)
        for event in moved.forgotten:
            self.unmatched += event.time_ms is None
            self._changed(event)
            if not self.changed_ids[event.event_id]:
                del self.changed_ids[event.event_id]  # it came and went between two saves
        self._drop_old()
        return matured

    def saved(self) -> None:
        """All that has changed is saved."""
        for event_id in self.changed_ids:
            event = self.queue.events.get(event_id)
            if event is not None:
                event.is_stored = True
        self.changed_ids.clear()
        self.changed_keys.clear()
        self.watch.saved()

    def records(self) -> tuple[dict[bytes, bytes | None], dict[bytes, bytes | None]]:
        """What is not saved of histograms and of events, by key; None for what is gone."""
        histograms = {
            key.encode(): self.histograms[key].encode() if key in self.histograms else None
            for key in sorted(self.changed_keys)
        }
        events = self.queue.events
        waiting = {
            event_id.encode(): events[event_id].encode() if event_id in events else None
            for event_id in self.changed_ids
        }
        return histograms, waiting

    def _changed(self, event: Event) -> None:
        # An event that was forgotten may come again before that is saved.
        is_stored = self.changed_ids.get(event.event_id, False) or event.is_stored
        self.changed_ids[event.event_id] = is_stored

    def _count(self, event: Event, times: int, *, but: Outcome | None = None) -> None:
        for key, entry in event.counts(self.facts):
            if entry.outcome == but:
                continue
            if self._oldest_ms is not None and key.begin_ms < self._oldest_ms:
                continue
            histogram = self.histograms.get(key)
            if histogram is None:
                self._require_few(key)
                histogram = self.histograms[key] = Histogram()
            histogram.add(entry, times)
            if not histogram:
                del self.histograms[key]
            self.changed_keys.add(key)

    def _require_few(self, key: Key) -> None:
        self._values.add((key.group, key.value))
        if len(self._values) > _MOST_VALUES:
            raise PenstockError(
                f"the groups of model {self.facts.model} have more than {_MOST_VALUES:,} values, the last of "
                f"{key.group}: groups are columns of few values",
                safe="everything that was saved",
                next=f"take {key.group} out of Model(groups=...), then start it again: it counts anew",
            )

    def _matured(self, event: Event) -> Matured | None:
        """What is known of a mature event that was served."""
        live = event.predictions.get(LIVE)
        if live is None or not event.is_mature:
            return None
        entries = [entry for key, entry in event.counts(self.facts) if not key.group and key.arm == live.arm]
        source = live.rank[1], live.rank[2]
        return Matured(
            event.event_id,
            live.event_time_ms,
            live.version,
            live.arm,
            live.score,
            entries[1].outcome,
            source,
            live.topic,
        )

    def _watch(self, event: Event, now: Matured | None) -> None:
        if event.taken is not None:
            self.watch.changed(event.taken, event.event_id, now)
        elif now is not None:
            event.taken = self.watch.take(now)

    def _oldest(self) -> int | None:
        mature_ms = self.queue.mature_ms
        if mature_ms is None:
            return None
        return (mature_ms - KEPT_MS - 2 * self.facts.horizon_ms) // DAY_MS * DAY_MS

    def _drop_old(self) -> None:
        oldest_ms = self._oldest()
        if oldest_ms is None or oldest_ms == self._oldest_ms:
            return
        self._oldest_ms = oldest_ms
        for key in [key for key in self.histograms if key.begin_ms < oldest_ms]:
            del self.histograms[key]
            self.changed_keys.add(key)
