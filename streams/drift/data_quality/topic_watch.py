"""Watches the raw records of one topic against its reference: events in, findings out, with a state that can be saved.

A finding is given when a check goes beyond its limit, once, until it is back: on all partitions on which it was beyond,
half of the way back to what is usual. Pure: no I/O; the clock is an argument.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from penstock.errors import PenstockError
from streams.drift.data_quality import wording
from streams.drift.data_quality.hours import HOUR_MS, Hours, HoursState
from streams.drift.data_quality.partition_counts import MALFORMED, BlockEnd, PartitionCounts, PartitionState, key_of
from streams.drift.data_quality.quality_reference import Kind, Limit, TopicReference
from streams.drift.data_quality.raw_events import RawEvent, WatchedTopic

# A source is live while its events are no older than that when they come; a replay that stops is no silent source.
_LIVE_MS = 3_600_000
_SILENCE, _VOLUME = key_of("", "silence"), key_of("", "volume")


class Finding(NamedTuple):
    """What is unusual.

    ``offset`` is that of the first record of which it is known. ``event_time`` is the latest of the topic (epoch ms).
    ``current`` and ``reference`` are shares, numbers of different values, events in an hour, or milliseconds of
    silence; ``statistic`` is what went beyond ``threshold``.
    """

    topic: str
    partition: int
    offset: int
    column: str
    kind: Kind
    producer: str
    statistic: float
    threshold: float
    reference: float
    current: float
    event_time: int
    message: str

    @property
    def monitor(self) -> str:
        """What it is about: the column, or the topic as a whole."""
        return self.column or self.topic

    @property
    def finding_id(self) -> str:
        """The same for the same finding."""
        name = f"{self.monitor}:{self.kind}" + (f":{self.producer}" if self.producer else "")
        return f"{self.topic}-{self.partition}-{self.offset}:{name}"


class Last(BaseModel):
    """The record of a topic with the latest event time; times are epoch ms."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    partition: int
    offset: int
    timestamp: int
    event_time: int

    @property
    def is_live(self) -> bool:
        """Whether its event time followed the clock."""
        return self.timestamp >= 0 and abs(self.timestamp - self.event_time) <= _LIVE_MS


class TopicState(BaseModel):
    """A topic's state, less that of its partitions.

    ``over`` has the partitions on which a check of a producer is beyond its limit, by ``producer|column:kind``;
    ``since`` has the offset at which a window went beyond it, by ``partition|producer|column:kind``. ``day`` has the
    latest complete hours, at most 24, with their events. ``last`` is the record with the latest event time, and
    ``follows_clock`` whether one was ever as new as the clock.
    """

    model_config = ConfigDict(extra="forbid")

    hours: HoursState = HoursState()
    over: dict[str, list[int]] = {}
    since: dict[str, int] = {}
    day: list[tuple[int, int]] = []
    last: Last | None = None
    follows_clock: bool = False
    observed: int = 0


class TopicWatch:
    """Watches one topic.

    Args:
        topic: The topic.
        reference: What is usual.
        window: Records in a window.
        partitions: The number of its partitions.
    """

    def __init__(self, topic: WatchedTopic, reference: TopicReference, window: int, partitions: int) -> None:
        self._topic, self.reference, self._window = topic, reference, window
        self._shares, self._distinct = dict[str, Limit](), dict[str, Limit]()
        for limit in reference.limits:
            limits = self._distinct if limit.kind == "distinct" else self._shares
            limits[key_of(limit.column, limit.kind)] = limit
        self._hours = Hours(partitions)
        self._state = TopicState()
        self._counts: dict[int, PartitionCounts] = {}
        self.changed: set[int] = set()
        """The partitions whose state is another one since it was last taken."""

    @property
    def newest_ms(self) -> int:
        """The latest event time, epoch ms; 0 before the first event."""
        return self._hours.newest_ms

    @property
    def observed(self) -> int:
        """How many records were watched."""
        return self._state.observed

    @property
    def over(self) -> Mapping[str, Collection[int]]:
        """The checks that are beyond their limits; see :class:`TopicState`."""
        return self._state.over

    def observe(self, event: RawEvent) -> list[Finding]:
        """Count a record; one of the time that was learnt from is left out."""
        if event.event_time is not None and event.event_time <= self.reference.until_ms:
            return []
        state, number = self._state, event.partition
        state.observed += 1
        self.changed.add(number)
        if event.event_time is not None:
            self._hours.observe(number, event.event_time)
            if state.last is None or event.event_time >= state.last.event_time:
                place = {"partition": number, "offset": event.offset}
                state.last = Last(**place, timestamp=event.timestamp, event_time=event.event_time)
                state.over.pop(f"|{_SILENCE}", None)
        if number not in self._counts:
            self._counts[number] = self._new_counts()
        end = self._counts[number].observe(event)
        return [] if end is None else self._judged(number, end, event.offset)

    def advance(self, at_end: Collection[int], now_ms: int | None) -> list[Finding]:
        """Look at the hours that are complete, and at the clock.

        Args:
            at_end: The partitions of which everything was read.
            now_ms: The time, epoch ms; None where only events tell it.
        """
        found = [
            finding
            for hour, events in self._hours.completed(at_end)
            if (finding := self._judged_hour(hour, events)) is not None
        ]
        if now_ms is not None and len(at_end) >= self._hours.partitions:
            found += self._judged_silence(now_ms)
        return found

    def _new_counts(self) -> PartitionCounts:
        return PartitionCounts(self._topic.columns, self._topic.has_ids, self.reference.usual, self._window)

    def _judged(self, number: int, end: BlockEnd, offset: int) -> list[Finding]:
        self._end_of_gone(number)
        found = []
        for key, limit in self._shares.items():
            if key in end.counts or self._is_over(key, number, end.producer):
                found += self._judged_share(number, end, limit, key)
        for name, distinct in end.distinct.items():
            distinct_limit = self._distinct.get(key_of(name, "distinct"))
            # Values that are missing or new are another finding's.
            others = (key_of(name, "null"), key_of(name, "category"), MALFORMED)
            if distinct_limit is not None and not any(self._is_over(key, number, end.producer) for key in others):
                # A column of nulls has no value, which counts as one, as in the profile.
                found += self._judged_distinct(number, end, distinct_limit, max(distinct, 1.0), offset)
        if end.is_complete:
            self._forget_since(number, end.producer)
        return found

    def _end_of_gone(self, number: int) -> None:
        """End what is beyond its limit of producers that write no more: of them, nothing comes that would be usual."""
        counts = self._counts[number]
        for name in list(self._state.over):
            producer, _, key = name.rpartition("|")
            if (key in self._shares or key in self._distinct) and counts.is_gone(producer):
                self._go_back(key, number, producer)
        for place in list(self._state.since):
            partition, _, producer = place.rpartition("|")[0].partition("|")
            if int(partition) == number and counts.is_gone(producer):
                self._forget_since(number, producer)

    def _forget_since(self, number: int, producer: str) -> None:
        # A producer's name may have the separator, a check's has not.
        whose = f"{number}|{producer}"
        self._state.since = {k: at for k, at in self._state.since.items() if k.rpartition("|")[0] != whose}

    def _judged_share(self, number: int, end: BlockEnd, limit: Limit, key: str) -> list[Finding]:
        count, in_block = end.counts.get(key, 0), end.in_block.get(key, 0)
        place = f"{number}|{end.producer}|{key}"
        if in_block > limit.high * end.block:
            self._state.since.setdefault(place, end.first[key])
        # A share of the whole window, also before it is complete: what is beyond the limit stays beyond it.
        if count > limit.high * self._window:
            if not self._go_over(key, number, end.producer):
                return []
            # Of what came after the first one: a fault seldom begins with a block.
            after = end.block - end.before.get(key, 0) - 1
            share = max(count / end.records, (in_block - 1) / after if after > 0 else 0.0)
            message = wording.of_share(self.reference, limit, share, end.producer, end.new.get(limit.column))
            offset = self._state.since.get(place, end.first.get(key, 0))
            return [self._finding(number, offset, limit, end.producer, count / self._window, share, message)]
        if end.is_complete and count <= (limit.expected + limit.high) / 2 * self._window:
            self._go_back(key, number, end.producer)
        return []

    def _judged_distinct(self, number: int, end: BlockEnd, limit: Limit, distinct: float, offset: int) -> list[Finding]:
        key = key_of(limit.column, "distinct")
        if limit.low <= distinct <= limit.high:
            if (limit.low * limit.expected) ** 0.5 <= distinct <= (limit.high * limit.expected) ** 0.5:
                self._go_back(key, number, end.producer)
            return []
        if not self._go_over(key, number, end.producer):
            return []
        message = wording.of_distinct(limit, distinct, self._window, end.producer)
        return [self._finding(number, offset, limit, end.producer, distinct, distinct, message)]

    def _judged_hour(self, hour: int, events: int) -> Finding | None:
        """Judge an hour by itself and with the 23 before it: a part that is missing shows sooner or later."""
        volume, last, state = self.reference.volume, self._state.last, self._state
        state.day = [*state.day[-23:], (hour, events)]
        judged = [(volume.deviation(state.day[-1:]), volume.hour, state.day[-1:])]
        if len(state.day) == 24:
            judged.append((volume.deviation(state.day), volume.day, state.day))
        unusual = [one for one in judged if abs(one[0]) > one[1]]
        if not unusual:
            if all(abs(deviation) <= limit / 2 for deviation, limit, _ in judged):
                self._go_back(_VOLUME, 0, "")
            return None
        if last is None or not self._go_over(_VOLUME, 0, ""):
            return None
        deviation, limit, hours = unusual[0]
        expected, found = sum(volume.expected_at(one) for one, _ in hours), sum(count for _, count in hours)
        message = wording.of_hours(self._topic.topic, (hour + 1) * HOUR_MS, len(hours), found, expected)
        return self._of_topic(last, "volume", deviation, limit, expected, float(found), message)

    def _judged_silence(self, now_ms: int) -> list[Finding]:
        last, volume, state = self._state.last, self.reference.volume, self._state
        if last is None or not last.is_live:
            return []
        # A replay may have the timestamps of then: a source that never was up to date is not silent.
        state.follows_clock = state.follows_clock or abs(now_ms - last.timestamp) <= _LIVE_MS
        if not state.follows_clock:
            return []
        missed = volume.missed(last.timestamp, now_ms)
        if missed <= volume.silence or not self._go_over(_SILENCE, 0, ""):
            return []
        silent = now_ms - last.timestamp
        message = wording.of_silence(self._topic.topic, silent, missed)
        return [self._of_topic(last, "silence", missed, volume.silence, 0.0, float(silent), message)]

    def _of_topic(
        self, last: Last, kind: Kind, statistic: float, threshold: float, reference: float, current: float, message: str
    ) -> Finding:
        place = self._topic.topic, last.partition, last.offset
        return Finding(*place, "", kind, "", statistic, threshold, reference, current, self.newest_ms, message)

    def _finding(
        self, number: int, offset: int, limit: Limit, producer: str, statistic: float, current: float, message: str
    ) -> Finding:
        threshold = limit.low if limit.kind == "distinct" and current < limit.low else limit.high
        return Finding(
            self._topic.topic,
            number,
            offset,
            limit.column,
            limit.kind,
            producer,
            statistic,
            threshold,
            limit.expected,
            current,
            self.newest_ms,
            message,
        )

    def _is_over(self, key: str, number: int, producer: str) -> bool:
        return number in self._state.over.get(f"{producer}|{key}", ())

    def _go_over(self, key: str, number: int, producer: str) -> bool:
        """Note that a check is beyond its limit; whether it was on no partition before."""
        numbers = self._state.over.setdefault(f"{producer}|{key}", [])
        is_first = not numbers
        if number not in numbers:
            numbers.append(number)
        return is_first

    def _go_back(self, key: str, number: int, producer: str) -> None:
        name = f"{producer}|{key}"
        if number in self._state.over.get(name, ()):
            self._state.over[name].remove(number)
            if not self._state.over[name]:
                del self._state.over[name]

    def state(self) -> TopicState:
        """The topic's state; with those of the partitions it continues exactly from here."""
        return self._state.model_copy(update={"hours": self._hours.state}, deep=True)

    def partition_states(self, numbers: Collection[int]) -> dict[int, PartitionState]:
        """The states of some partitions."""
        return {number: self._counts[number].state() for number in numbers if number in self._counts}

    def restore(self, state: TopicState, partitions: Mapping[int, PartitionState]) -> None:
        """Go on from what was saved.

        Raises:
            PenstockError: if it does not fit.
        """
        self._state = state.model_copy(deep=True)
        self._hours = Hours(self._hours.partitions, state.hours)
        try:
            for number, saved in partitions.items():
                self._counts[number] = self._new_counts()
                self._counts[number].restore(saved)
        except (KeyError, ValueError, ValidationError) as error:
            raise PenstockError(
                f"what was counted of {self._topic.topic} cannot be read: {error}",
                where=self._topic.topic,
                safe="all published alerts",
                next="penstock data-quality profile PIPELINE, which begins anew",
            ) from error
