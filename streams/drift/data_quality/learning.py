"""Learns what raw events are like from a good time: twice over the events, in bounded memory but for their times.

The first time gives ranges of numbers and the values of categories, the second one what windows hold against these.
Windows are counted by the same code as later. Pure.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from penstock.errors import PenstockError
from streams.drift.data_quality.hours import HOUR_MS
from streams.drift.data_quality.limits import (
    SAFETY_FACTOR,
    Budget,
    RefusedError,
    distinct_limits,
    rhythm_of,
    share_limit,
    silence_limit,
    volume_limits,
)
from streams.drift.data_quality.partition_counts import DUPLICATE, LATE, MALFORMED, PartitionCounts, Usual, key_of
from streams.drift.data_quality.quality_reference import Kind, Limit, QualityReference, TopicReference, Volume
from streams.drift.data_quality.raw_events import Column, RawEvent
from streams.drift.drift_reference import NEVER

# A value beyond what one record in so many has is unusual.
_RANGE_SHARE = 0.001
_NUMBERS_KEPT = 100_000
# A column of no more values, each of which came so often on average, is a category.
_MOST_CATEGORIES, _TIMES_EACH = 1_000, 20
# Event times follow the clock if half of them are no older than that at their Kafka timestamp.
_LIVE_MS = 3_600_000
_LEAST_LATE_MS = 60_000
_FEWEST_WINDOWS = 20
# So many partitions are listed in an error.
_MOST_NAMED = 8
# New categories are learnt from when those of the first half are known.
_KNOWN_AFTER = 0.5

Events = Callable[[], Iterable[RawEvent]]
"""Gives the events of a topic from their beginning, each time it is called."""


@dataclass(frozen=True)
class Watched:
    """What is to be learnt of a topic.

    ``start`` has the offset of the first event that is not learnt from, by partition.
    """

    topic: str
    columns: Collection[Column]
    has_ids: bool
    events: Events
    start: Mapping[int, int]


@dataclass
class _Series:
    """Shares or numbers of windows, with the times at which these were complete."""

    values: list[float] = field(default_factory=list)
    times: list[int] = field(default_factory=list)

    def add(self, value: float, time: int) -> None:
        self.values.append(value)
        self.times.append(time)

    def ordered(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        times = np.array(self.times, np.int64)
        order = np.argsort(times, kind="stable")
        return np.array(self.values, np.float64)[order], times[order]


@dataclass
class _Learnt:
    """What a topic's events were like."""

    of: Watched
    usual: Usual
    times: npt.NDArray[np.int64]
    events: int
    by_partition: Mapping[int, int]
    windows: dict[str, _Series]


def learn(pipeline: str, topics: Sequence[Watched], window: int, false_alarm_every: int, seed: int) -> QualityReference:
    """The reference of a pipeline's raw topics.

    Args:
        pipeline: The pipeline's name.
        topics: Its topics, with the events of the good time.
        window: Records in a window.
        false_alarm_every: Records per expected false incident, over all checks and topics.
        seed: Draws which numbers are kept where there are too many.

    Raises:
        PenstockError: if a source has too few events. Labels may come later.
    """
    learnt = [_learn(topic, window, np.random.default_rng([seed, number])) for number, topic in enumerate(topics)]
    for one in learnt:
        complete = len(one.windows.get(MALFORMED, _Series()).values)
        if one.of.columns and complete < _FEWEST_WINDOWS:
            raise _too_few(one, window, complete)
    checks = sum(len(one.windows) + 2 for one in learnt)
    return QualityReference(
        pipeline=pipeline,
        window=window,
        false_alarm_every=false_alarm_every,
        topics=tuple(
            _reference(one, window, false_alarm_every * checks * SAFETY_FACTOR) for one in learnt if one.events
        ),
    )


def _too_few(learnt: _Learnt, window: int, complete: int) -> PenstockError:
    by_partition = sorted(learnt.by_partition.items())
    listed = ", ".join(f"{number}: {events:,}" for number, events in by_partition[:_MOST_NAMED])
    more = f" and {len(by_partition) - _MOST_NAMED} more" if len(by_partition) > _MOST_NAMED else ""
    return PenstockError(
        f"{learnt.events:,} events are too few to learn from: at least {_FEWEST_WINDOWS * window:,} are needed, which "
        f"fill {_FEWEST_WINDOWS} windows of Monitors(window={window}); these fill {complete}, as each producer fills "
        f"windows of its own in each partition (events by partition: {listed or 'none'}{more})",
        where=learnt.of.topic,
        safe="the reference of before, if there is one",
        next="take a longer time, or a smaller Monitors(window=), of 100 or more",
    )


def _learn(topic: Watched, window: int, rng: np.random.Generator) -> _Learnt:
    census = _Census(topic.columns, rng)
    for event in topic.events():
        census.observe(event)
    usual = census.usual()
    learnt = _Learnt(
        topic, usual, np.sort(np.frombuffer(census.times, np.int64)), census.events, census.by_partition, {}
    )
    # As if no category was known: how often new ones come is learnt, too.
    unknown = Usual(usual.ranges, {name: frozenset() for name in usual.categories}, usual.late_ms)
    partitions: dict[int, tuple[PartitionCounts, int]] = {}
    for event in topic.events():
        counts, newest = partitions.get(event.partition) or (_counts(topic, unknown, window), 0)
        newest = max(newest, event.event_time or 0)
        partitions[event.partition] = counts, newest
        end = counts.observe(event)
        if end is None or not end.is_complete:
            continue
        is_late_enough = counts.observed >= _KNOWN_AFTER * census.by_partition[event.partition] + 2 * window
        for key in _shares_of(topic, usual):
            series = learnt.windows.setdefault(key, _Series())
            if is_late_enough or not key.endswith(":category"):
                series.add(end.counts.get(key, 0) / end.records, newest)
        for name, number in end.distinct.items():
            learnt.windows.setdefault(key_of(name, "distinct"), _Series()).add(number, newest)
    return learnt


def _counts(topic: Watched, usual: Usual, window: int) -> PartitionCounts:
    return PartitionCounts(topic.columns, topic.has_ids, usual, window)


def _shares_of(topic: Watched, usual: Usual) -> list[str]:
    keys = [MALFORMED]
    keys += [DUPLICATE] if topic.has_ids else []
    keys += [LATE] if usual.late_ms else []
    for column in topic.columns:
        keys += [key_of(column.name, "null"), key_of(column.name, "invalid")]
        keys += [key_of(column.name, "range")] if column.name in usual.ranges else []
        keys += [key_of(column.name, "category")] if column.name in usual.categories else []
    return keys


def _reference(learnt: _Learnt, window: int, records: float) -> TopicReference:
    times = learnt.times
    span = float(times[-1] - times[0]) if len(times) else 0.0
    budget = Budget(records, len(times) / span if span else 0.0)
    limits, refused = [], []
    for key, series in learnt.windows.items():
        column, _, kind = key.partition(":")
        try:
            limit = _limit(column, kind, *series.ordered(), window, budget)
            # Of a category, each value more is new, which has a check of its own.
            is_lower = kind == "distinct" and column in learnt.usual.categories
            limits.append(limit.model_copy(update={"high": NEVER}) if is_lower else limit)
        except RefusedError as error:
            refused.append(f"{column or learnt.of.topic} by {kind}: {error}")
    volume, problems = _volume(times, budget)
    refused += [f"{learnt.of.topic} by {problem}" for problem in problems]
    return TopicReference(
        topic=learnt.of.topic,
        events=learnt.events,
        from_ms=int(times[0]) if len(times) else 0,
        until_ms=int(times[-1]) if len(times) else 0,
        start=learnt.of.start,
        ranges=learnt.usual.ranges,
        categories={name: tuple(sorted(values)) for name, values in learnt.usual.categories.items()},
        late_ms=learnt.usual.late_ms,
        limits=tuple(limits),
        volume=volume,
        refused=tuple(refused),
    )


def _limit(
    column: str,
    kind: str,
    values: npt.NDArray[np.float64],
    times: npt.NDArray[np.int64],
    window: int,
    budget: Budget,
) -> Limit:
    checked: Kind = kind  # type: ignore[assignment]  # the model checks it
    if kind == "distinct":
        expected, low, high = distinct_limits(values, times, window, budget)
        return Limit(column=column, kind=checked, expected=expected, low=low, high=high)
    expected, high = share_limit(values, times, window, budget)
    return Limit(column=column, kind=checked, expected=expected, high=high)


def _volume(times: npt.NDArray[np.int64], budget: Budget) -> tuple[Volume, list[str]]:
    """How many events an hour has, and what is refused of it."""
    if not len(times) or times[-1] // HOUR_MS - times[0] // HOUR_MS < 2:
        return Volume(expected=(0.0,)), ["volume, silence: no hour is complete"]
    hours, refused = times // HOUR_MS, []
    counts = np.bincount(hours - hours[0])[1:-1].tolist()  # the first hour and the last are not seen as a whole
    complete = list(range(int(hours[0]) + 1, int(hours[-1])))
    volume = rhythm = rhythm_of(complete, counts)
    try:
        volume = volume_limits(rhythm, complete, counts, budget)
    except RefusedError as error:
        refused.append(f"volume: {error}")
    try:
        volume = volume.model_copy(update={"silence": silence_limit(rhythm, times, budget)})
    except RefusedError as error:
        refused.append(f"silence: {error}")
    return volume, refused


class _Census:
    """Takes in events once."""

    def __init__(self, columns: Collection[Column], rng: np.random.Generator) -> None:
        self._columns, self._rng = tuple(columns), rng
        self.events = 0
        self.by_partition: dict[int, int] = {}
        self.times, self._lags = array("q"), array("q")
        self._numbers: dict[str, list[float]] = {column.name: [] for column in columns if column.is_number}
        self._seen: dict[str, int] = dict.fromkeys(self._numbers, 0)
        self._texts: dict[str, dict[str, int]] = {column.name: {} for column in columns if column.may_be_category}

    def observe(self, event: RawEvent) -> None:
        self.events += 1
        self.by_partition[event.partition] = self.by_partition.get(event.partition, 0) + 1
        if event.event_time is not None:
            self.times.append(event.event_time)
            if event.timestamp >= 0:
                self._lags.append(event.timestamp - event.event_time)
        for column, value in zip(self._columns, event.values or (), strict=False):
            # NaN is no less than anything, and a number that no float holds says nothing of a range.
            if column.is_number and type(value) in (int, float) and abs(value) <= sys.float_info.max:
                self._keep(column.name, float(value))
            elif isinstance(value, str) and (texts := self._texts.get(column.name)) is not None:
                texts[value] = texts.get(value, 0) + 1
                if len(texts) > _MOST_CATEGORIES:
                    del self._texts[column.name]

    def _keep(self, name: str, value: float) -> None:
        """Keep a number, or not, so that each is as likely among the kept ones (Vitter, ACM TOMS 1985)."""
        numbers = self._numbers[name]
        self._seen[name] += 1
        if len(numbers) < _NUMBERS_KEPT:
            numbers.append(value)
        elif (place := int(self._rng.integers(self._seen[name]))) < _NUMBERS_KEPT:
            numbers[place] = value

    def usual(self) -> Usual:
        return Usual(
            ranges={name: _range(numbers) for name, numbers in self._numbers.items() if numbers},
            categories={
                name: frozenset(texts)
                for name, texts in self._texts.items()
                if texts and sum(texts.values()) >= _TIMES_EACH * len(texts)
            },
            late_ms=self._late_ms(),
        )

    def _late_ms(self) -> int:
        lags = np.frombuffer(self._lags, np.int64)
        if not len(lags) or abs(float(np.median(lags))) > _LIVE_MS:
            return 0
        return max(_LEAST_LATE_MS, round(2 * float(np.quantile(lags, 1 - _RANGE_SHARE))))


def _range(numbers: Sequence[float]) -> tuple[float, float]:
    # Of halves, whose difference is finite, too.
    low, high = 2 * np.quantile(np.asarray(numbers) / 2, [_RANGE_SHARE / 2, 1 - _RANGE_SHARE / 2])
    return float(low), float(high)
