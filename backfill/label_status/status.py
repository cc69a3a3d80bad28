"""What has become of labels, from columns: counts, the arrival curve, and what has changed of late. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from backfill.label_status.reading import EventColumns, LabelColumns
from backfill.label_status.shares import Share, Verdict, difference, verdict
from backfill.label_status.sources import SourceCounts, first_known, source_counts
from scoring.label_maturity import Maturity
from streams.definitions.labels import Task

_MINUTE, _HOUR, _DAY = 60_000, 3_600_000, 86_400_000
_AGES = (
    *(n * _MINUTE for n in (1, 5, 15)),
    *(n * _HOUR for n in (1, 3, 6, 12)),
    *(n * _DAY for n in (1, 2, 3, 5, 7, 10, 14, 21, 30, 45, 60, 90, 120, 180, 365)),
)
_MOST_CLASSES = 10
# Without a horizon, an event counts as old when so many of the labels that ever came had come.
_NEARLY_ALL = 0.99
_NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True)
class EventCounts:
    """Events of the range: ``events`` = ``waiting`` + ``labelled`` + ``withdrawn`` + ``unlabelled``.

    Args:
        events: All of them.
        waiting: Younger than the horizon.
        labelled: With a label that counts.
        withdrawn: Whose label was taken back.
        unlabelled: Without any.
        hidden: Those of the last two whose outcome the decision hides.
    """

    events: int
    waiting: int
    labelled: int
    withdrawn: int
    unlabelled: int
    hidden: int


@dataclass(frozen=True)
class LabelCounts:
    """Labels of the events of the range, and those of no event.

    Args:
        read: All labels that could be read, of whatever event.
        refused: Records that are no label.
        without_event: Labels of an event that is not among the events that were read, in whatever range.
        corrections: Labels with another value than the one of their source before.
        withdrawals: Labels without a value.
        repeats: Labels with the value of the one of their source before.
        late: Labels that came after the horizon, and do not count.
        early: Labels that were known before their event.
    """

    read: int
    refused: int
    without_event: int
    corrections: int
    withdrawals: int
    repeats: int
    late: int
    early: int


@dataclass(frozen=True)
class Arrival:
    """The shares of old events that had a label by an age: of all, and of those with a label of each class."""

    age_ms: int
    labelled: float
    classes: Mapping[str, float]


@dataclass(frozen=True)
class Change:
    """A share in the last period beside the period before.

    Args:
        what: ``labelled``: of old events, those with a label. ``positive``: of these, the positive ones. ``in time``:
            of the labels of old events, those that had come by the age. ``early``: the events that had a label by the
            age, of the newest that are that old.
        age_ms: By which age of an event its labels count.
        before: In the period before.
        last: In the last one.
        low: The lower bound of the difference of the shares, at 99 %.
        high: The upper one.
        verdict: ``changed``: it is surely more than a fifth of what it was. ``same``: it is surely less.
    """

    what: str
    age_ms: int
    before: Share
    last: Share
    low: float
    high: float
    verdict: Verdict


@dataclass(frozen=True)
class LabelStatus:
    """What has become of labels.

    Args:
        reached_ms: The time that labels have reached; None without any.
        newest_event_ms: The time of the newest event.
        events: Of the range.
        labels: Of these.
        classes: How many events have each class now; of a regression ``value``.
        old_ms: How old an event must be to be in the arrival curve: the horizon, or when nearly all labels had come.
        old: How many events are that old.
        arrival: The curve.
        changes: The last period beside the one before.
        sources: What has come of each source, in their order.
    """

    reached_ms: int | None
    newest_event_ms: int | None
    events: EventCounts
    labels: LabelCounts
    classes: Mapping[str, int]
    old_ms: int | None
    old: int
    arrival: tuple[Arrival, ...]
    changes: tuple[Change, ...]
    sources: tuple[SourceCounts, ...]

    @property
    def is_changed(self) -> bool:
        """Whether anything has surely changed."""
        return any(change.verdict == "changed" for change in self.changes)


class Declared(NamedTuple):
    """What the status must know of the definition.

    Args:
        task: What labels are.
        maturity: When they are final.
        positive: The class whose probability is the score, of several.
    """

    task: Task
    maturity: Maturity
    positive: str | None = None


def label_status(
    events: EventColumns,
    labels: Sequence[LabelColumns],
    declared: Declared,
    range_ms: tuple[int, int],
    period_ms: int,
) -> LabelStatus:
    """The status of the events of a range of event time, from its begin until before its end.

    An event's label is the last one that was known when it was as old as the horizon, or without one the last of all;
    of several sources, that of the first which has one.

    Args:
        events: The events.
        labels: The labels of each source, in their order.
        declared: What labels are.
        range_ms: The range.
        period_ms: The length of the periods that are compared.
    """
    in_range = (events.times >= range_ms[0]) & (events.times < range_ms[1])
    horizon, classes = declared.maturity.horizon_ms, labels[0].classes
    joined = [_Joined.of(events, one.rows, horizon) for one in labels]
    chosen = _events(events, joined).only(in_range)
    old_ms = _old(chosen.first_age, horizon)
    clock = max((one.reached_ms for one in labels if one.reached_ms is not None), default=None)
    is_old = np.zeros(len(chosen.times), np.bool_)
    if clock is not None and old_ms is not None:
        is_old = chosen.times <= clock - old_ms
    is_final = is_old if horizon is not None else np.ones(len(is_old), np.bool_)
    return LabelStatus(
        reached_ms=clock,
        newest_event_ms=int(chosen.times.max()) if len(chosen.times) else None,
        events=_event_counts(chosen, is_final),
        labels=_label_counts(joined, labels, in_range, horizon),
        classes=_by_class(chosen.final[is_final], declared.task, classes),
        old_ms=old_ms,
        old=int(is_old.sum()),
        arrival=_arrival(chosen.only(is_old), old_ms, declared.task, classes),
        changes=_changes(chosen, clock, old_ms, period_ms, _is_positive(chosen.final, declared, classes)),
        sources=source_counts([one.final[in_range][is_final] for one in joined], labels),
    )


class _Events(NamedTuple):
    """Events of the range.

    Of each its time, its age at the first label that counts (``_NEVER``: none), its final value (NaN: none), whether it
    ever had a label that counts, and whether its decision hides the outcome.
    """

    times: NDArray[np.int64]
    first_age: NDArray[np.int64]
    final: NDArray[np.float64]
    was_said: NDArray[np.bool_]
    is_hidden: NDArray[np.bool_]

    @property
    def is_labelled(self) -> NDArray[np.bool_]:
        return ~np.isnan(self.final)

    def only(self, chosen: NDArray[np.bool_]) -> _Events:
        return _Events(
            self.times[chosen],
            self.first_age[chosen],
            self.final[chosen],
            self.was_said[chosen],
            self.is_hidden[chosen],
        )


class _Joined(NamedTuple):
    """Labels of a source joined to events.

    ``rows`` are those of an event, by event and rank, ``event`` its place, ``age`` how old it was; ``without`` counts
    the others. ``first_age``, ``final`` and ``was_said`` are as in :class:`_Events`, for all events.
    """

    rows: NDArray[Any]
    event: NDArray[np.int64]
    age: NDArray[np.int64]
    without: int
    first_age: NDArray[np.int64]
    final: NDArray[np.float64]
    was_said: NDArray[np.bool_]

    @classmethod
    def of(cls, events: EventColumns, rows: NDArray[Any], horizon: int | None) -> _Joined:
        rows = rows[np.lexsort([rows[name] for name in ("offset", "partition", "received", "time", "event")])]
        event = np.searchsorted(events.ids, rows["event"])
        has = event < len(events.ids)
        has[has] = events.ids[event[has]] == rows["event"][has]
        rows, event, without = rows[has], event[has].astype(np.int64), int((~has).sum())
        age = rows["time"] - events.times[event]
        counts = np.ones(len(rows), np.bool_) if horizon is None else age <= horizon
        final, first_age = np.full(len(events.ids), np.nan), np.full(len(events.ids), _NEVER)
        was_said = np.zeros(len(events.ids), np.bool_)
        was_said[event[counts]] = True
        # Of equal places the last assignment stays: the one with the greatest rank; and reversed, the first.
        final[event[counts]] = rows["value"][counts]
        says = counts & ~np.isnan(rows["value"])
        first_age[event[says][::-1]] = np.maximum(age[says][::-1], 0)
        first_age[np.isnan(final)] = _NEVER
        return cls(rows, event, age, without, first_age, final, was_said)


def _events(events: EventColumns, joined: Sequence[_Joined]) -> _Events:
    """The events with the labels of all sources."""
    first_age = np.min([one.first_age for one in joined], axis=0)
    was_said = np.any([one.was_said for one in joined], axis=0)
    return _Events(events.times, first_age, first_known([one.final for one in joined]), was_said, events.is_hidden)


def _old(first_age: NDArray[np.int64], horizon: int | None) -> int | None:
    if horizon is not None:
        return horizon
    ages = first_age[first_age < _NEVER]
    return int(np.quantile(ages, _NEARLY_ALL, method="higher")) if len(ages) else None


def _event_counts(chosen: _Events, is_final: NDArray[np.bool_]) -> EventCounts:
    without = is_final & ~chosen.is_labelled
    return EventCounts(
        events=len(chosen.times),
        waiting=int((~is_final).sum()),
        labelled=int((is_final & chosen.is_labelled).sum()),
        withdrawn=int((without & chosen.was_said).sum()),
        unlabelled=int((without & ~chosen.was_said).sum()),
        hidden=int((without & chosen.is_hidden).sum()),
    )


def _label_counts(
    joined: Sequence[_Joined], labels: Sequence[LabelColumns], in_range: NDArray[np.bool_], horizon: int | None
) -> LabelCounts:
    of_sources = [_counts_of(*one, in_range, horizon) for one in zip(joined, labels, strict=True)]
    return LabelCounts(*(sum(counts) for counts in zip(*map(astuple, of_sources), strict=True)))


def _counts_of(joined: _Joined, labels: LabelColumns, in_range: NDArray[np.bool_], horizon: int | None) -> LabelCounts:
    chosen = in_range[joined.event]
    value, event = joined.rows["value"], joined.event
    follows = np.zeros(len(value), np.bool_)
    follows[1:] = event[1:] == event[:-1]
    before = np.concatenate([[np.nan], value[:-1]])[: len(value)]
    says, said = ~np.isnan(value), follows & ~np.isnan(before)
    late = np.zeros(len(value), np.bool_) if horizon is None else joined.age > horizon
    return LabelCounts(
        read=len(labels.rows),
        refused=labels.refused,
        without_event=joined.without,
        corrections=int((chosen & says & said & (value != before)).sum()),
        withdrawals=int((chosen & ~says).sum()),
        repeats=int((chosen & says & said & (value == before)).sum()),
        late=int((chosen & late).sum()),
        early=int((chosen & (joined.age < 0)).sum()),
    )


def _by_class(final: NDArray[np.float64], task: Task, classes: Sequence[str]) -> dict[str, int]:
    """How many events have each class, the most frequent ones first."""
    values = final[~np.isnan(final)]
    if task == "regression":
        return {"value": len(values)} if len(values) else {}
    found, counts = np.unique(values, return_counts=True)
    names = {_name(value, task, classes): int(count) for value, count in zip(found, counts, strict=True)}
    return dict(sorted(names.items(), key=lambda one: (-one[1], one[0])))


def _name(value: float, task: Task, classes: Sequence[str]) -> str:
    if task == "multiclass":
        return classes[int(value)]
    return "positive" if value > 0 else "negative"


def _arrival(old: _Events, old_ms: int | None, task: Task, classes: Sequence[str]) -> tuple[Arrival, ...]:
    if old_ms is None or not old.is_labelled.any():
        return ()
    names = list(_by_class(old.final, task, classes))[:_MOST_CLASSES]
    of_class = (
        {"value": old.is_labelled}
        if task == "regression"
        else {
            name: old.final == value
            for value in np.unique(old.final[old.is_labelled]).tolist()
            if (name := _name(value, task, classes)) in names
        }
    )
    found = []
    for age in (*(age for age in _AGES if age < old_ms), old_ms):
        came = old.first_age <= age
        shares = {name: _rounded(came & of, of) for name, of in sorted(of_class.items())}
        found.append(Arrival(age, round(float(came.mean()), 6), shares))
    return tuple(found)


def _rounded(hits: NDArray[np.bool_], of: NDArray[np.bool_]) -> float:
    return round(int(hits.sum()) / int(of.sum()), 6)


def _is_positive(final: NDArray[np.float64], declared: Declared, classes: Sequence[str]) -> NDArray[np.bool_] | None:
    """Which events are positive; None where labels of the other class are not expected, or there are no classes."""
    if declared.task == "regression" or declared.maturity.absent == "negative":
        return None
    if declared.task == "binary":
        return np.asarray(final > 0, np.bool_)
    return np.asarray(final == (classes.index(declared.positive) if declared.positive in classes else -1), np.bool_)


def _changes(
    chosen: _Events,
    clock: int | None,
    old_ms: int | None,
    period_ms: int,
    is_positive: NDArray[np.bool_] | None,
) -> tuple[Change, ...]:
    """The last period beside the one before: of each only events that are equally old, so that both are complete."""
    if clock is None or old_ms is None:
        return ()

    def periods(age: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        end = clock - age
        last = (chosen.times > end - period_ms) & (chosen.times <= end)
        return (chosen.times > end - 2 * period_ms) & (chosen.times <= end - period_ms), last

    def change(what: str, age: int, oldness: int, hits: NDArray[np.bool_], of: NDArray[np.bool_]) -> Change:
        before, last = (Share(int((hits & of & period).sum()), int((of & period).sum())) for period in periods(oldness))
        low, high = difference(before, last)
        return Change(what, age, before, last, low, high, verdict(before, low, high))

    everything = np.ones(len(chosen.times), np.bool_)
    found = [change("labelled", old_ms, old_ms, chosen.is_labelled, everything)]
    if is_positive is not None:
        found.append(change("positive", old_ms, old_ms, is_positive, chosen.is_labelled))
    reference = chosen.first_age[periods(old_ms)[0] & chosen.is_labelled]
    if len(reference):
        # Half of the labels of the period before had come by then.
        middle = int(np.quantile(reference, 0.5, method="lower"))
        came = chosen.first_age <= middle
        found.append(change("in time", middle, old_ms, came, chosen.is_labelled))
        found.append(change("early", middle, middle, came, everything))
    return tuple(found)
