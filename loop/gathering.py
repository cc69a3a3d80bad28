"""Gathers what a diagnosis compares: the predictions and labels of the time before an incident, and since."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from backfill.labels import LabelReader
from backfill.topic_reading import Topics
from loop.sample import Column, Sample
from penstock.kafka.reading import Record
from schemas.codec import Registry
from schemas.history import decoded
from scoring.label_maturity import Maturity, reached
from scoring.training_set import LabelRow, by_event, label_of
from streams.definitions.labels import Labels
from streams.plan.project import Project

# Of each period, at most so many, evenly spread: labels of the latest events alone would never be final.
_MOST_NOW, _MOST_BEFORE = 20_000, 40_000
# The share of the reference, next to the first alarm, that is left out: a detector needs some events to be sure.
_GUARD = 0.2
# Kafka's timestamps may be behind event times by so much, and predictions come later than their events.
SLACK_MS = 10 * 60_000
# So many of the latest events say who scores now.
_LATEST = 500
_INPUT = np.dtype("<f4")

Place = tuple[str, int, int]
"""Topic, partition and offset of a raw event."""


class Inputs(NamedTuple):
    """The inputs of a version, in the order of its vectors; and those of them that are categories, as codes."""

    names: Sequence[str]
    categories: Container[str]

    def fit(self, one: Scored) -> bool:
        """Whether a prediction's vector has so many."""
        return len(one.vector) == len(self.names) * _INPUT.itemsize

    def columns(self, vectors: Sequence[bytes]) -> dict[str, Column]:
        """The inputs of vectors that fit, by name: numbers as float64 with NaN for null, categories as texts."""
        matrix = np.frombuffer(b"".join(vectors), _INPUT).reshape(-1, len(self.names)).astype(float)
        return {
            # A category is there as its code, of which only equality means something.
            name: _texts(matrix[:, number]) if name in self.categories else matrix[:, number]
            for number, name in enumerate(self.names)
        }


@dataclass(frozen=True)
class Periods:
    """The two periods of an incident.

    Attributes:
        before: The time before its first alarm.
        now: The time since.
        places: Where the raw event of each present event is.
        begin_ms: The first event time of the reference, epoch ms.
        well_ms: The last one, up to which all was well.
        is_final: Whether all labels of the present period are final, so that no more will be known; also where the
            pipeline has no labels.
    """

    before: Sample
    now: Sample
    places: list[Place]
    begin_ms: int
    well_ms: int
    is_final: bool


@dataclass(frozen=True)
class Gathered:
    """What predictions and labels say of an incident.

    Attributes:
        periods: Its two periods; None if one of them is empty.
        begin_ms: The event time of the first prediction of the span before the incident, by any version, epoch ms.
        end_ms: The event time that all but the latest 1 % of :data:`_LATEST` events have reached, epoch ms: a few
            events of a clock that is ahead do not move it.
        others: The share of the latest events that other versions have scored.
    """

    periods: Periods | None
    begin_ms: int
    end_ms: int
    others: float


@dataclass(frozen=True)
class Scored:
    """A prediction, as far as it is needed."""

    event_id: str
    event_time: int
    score: float
    version: str
    vector: bytes
    place: Place
    is_hidden: bool


class _Latest:
    """The latest predictions by event time, at most so many: the others are let go as more come."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: list[Scored] = []

    def add(self, one: Scored) -> None:
        self._held.append(one)
        if len(self._held) >= 2 * self._most:
            self._held = self.ordered()

    def ordered(self) -> list[Scored]:
        return sorted(self._held, key=lambda one: (one.event_time, one.place))[-self._most :]


class _Spread:
    """Predictions evenly spread over their period, at most so many: the same ones at each look, by their ids."""

    def __init__(self, most: int) -> None:
        self._most, self._one_of = most, 1
        self._held: list[Scored] = []

    def add(self, one: Scored) -> None:
        if not self._is_kept(one):
            return
        self._held.append(one)
        while len(self._held) > self._most:
            self._one_of *= 2
            self._held = [each for each in self._held if self._is_kept(each)]

    def ordered(self) -> list[Scored]:
        return sorted(self._held, key=lambda one: (one.event_time, one.place))

    def _is_kept(self, one: Scored) -> bool:
        # An id may have lone surrogates, as JSON may.
        return crc32(one.event_id.encode(errors="surrogatepass")) % self._one_of == 0


def gather(
    project: Project,
    topics: Topics,
    version: str,
    inputs: Inputs,
    since_ms: int,
    span_ms: int,
    registry: Registry | None = None,
    *,
    until_ms: int | None = None,
    over_ms: int | None = None,
    trained_to_ms: int | None = None,
) -> Gathered | None:
    """Read both periods, in memory for no more events than are compared; None if there is no prediction.

    Args:
        project: The pipeline.
        topics: Where topics are read.
        version: The version whose predictions count.
        inputs: Its inputs.
        since_ms: The event time of the first alarm, epoch ms.
        span_ms: How long before it the reference may begin, in ms of event time.
        registry: Finds the schemas of Confluent-framed labels.
        until_ms: Where the reference ends, if that is before the first alarm.
        over_ms: Where the incident ends, if it has: at the first alarm of the next one.
        trained_to_ms: The time of the last event that the version was trained on, if any: scores of events that a model
            knows are better than it is.

    Raises:
        PenstockError: if a topic cannot be read.
    """
    pipeline, end_ms = project.pipeline, since_ms if until_ms is None else min(since_ms, until_ms)
    start = topics.starts(pipeline.predictions_topic, end_ms - span_ms - SLACK_MS)
    present, earlier, latest = _Spread(_MOST_NOW), _Spread(_MOST_BEFORE), _Latest(_LATEST)
    begin_ms = max(end_ms - span_ms, 0 if trained_to_ms is None else trained_to_ms + 1)
    began_ms = None
    for one in predictions(project, topics.read(pipeline.predictions_topic, start=start)):
        latest.add(one)
        began_ms = one.event_time if began_ms is None else min(began_ms, one.event_time)
        if one.version == version and inputs.fit(one):
            if one.event_time >= since_ms:
                if over_ms is None or one.event_time < over_ms:
                    present.add(one)
            elif begin_ms <= one.event_time < end_ms:
                earlier.add(one)
    last, reference = latest.ordered(), earlier.ordered()
    if not last or began_ms is None:
        return None
    if began_ms >= begin_ms:  # there is nothing older than the reference, which then includes the beginning
        reference = _warm(project, reference, began_ms)
    return Gathered(
        periods=_periods(project, topics, registry, inputs, reference, present.ordered()),
        begin_ms=max(began_ms, end_ms - span_ms),
        end_ms=last[-1 - len(last) // 100].event_time,
        others=sum(one.version != version for one in last) / len(last),
    )


def _periods(
    project: Project,
    topics: Topics,
    registry: Registry | None,
    inputs: Inputs,
    earlier: list[Scored],
    now: list[Scored],
) -> Periods | None:
    before, labels = earlier[: len(earlier) - int(_GUARD * len(earlier))], project.pipeline.labels
    if not now or not before:
        return None
    wanted = {one.event_id for one in (*before, *now)}
    truths = _Truths(labels, project, topics, registry, wanted) if labels is not None else None
    return Periods(
        before=_sample(inputs, before, truths),
        now=_sample(inputs, now, truths),
        places=[one.place for one in now],
        begin_ms=before[0].event_time,
        well_ms=before[-1].event_time,
        is_final=truths is None or truths.is_final(now[-1].event_time),
    )


def _warm(project: Project, earlier: list[Scored], began_ms: int) -> list[Scored]:
    """Without the first longest window since predictions began, if most remain: windows were half empty then."""
    longest_ms = max((view.longest_window_ms or 0 for view in project.plan.views), default=0)
    remaining = [one for one in earlier if one.event_time >= began_ms + longest_ms]
    return remaining if 2 * len(remaining) > len(earlier) else earlier


def place_text(place: Place) -> str:
    """A place as everywhere: ``events.fraud[0]@17``."""
    topic, partition, offset = place
    return f"{topic}[{partition}]@{offset}"


def predictions(project: Project, records: Iterable[Record]) -> Iterator[Scored]:
    """The predictions in records; one that cannot be read says nothing of a shift."""
    labels = project.pipeline.labels
    hidden_by = None if labels is None else labels.hidden_by
    for found in decoded(records, "prediction"):
        if found["model"] != project.pipeline.model.name:
            continue
        source = found["source"]
        yield Scored(
            found["event_id"],
            found["event_time"],
            found["score"],
            found["model_version"],
            found["vector"],
            (source["topic"], source["partition"], source["offset"]),
            hidden_by is not None and found["decision"] == hidden_by,
        )


class _Truth(NamedTuple):
    """What is known of an event's label: 0 or 1, or a value; its delay in seconds; whether it is final, and due."""

    label: float = np.nan
    delay: float = np.nan
    is_mature: bool = False
    is_due: bool = False


class _Truths:
    """The labels of some events, as known now."""

    def __init__(
        self, labels: Labels, project: Project, topics: Topics, registry: Registry | None, wanted: Container[str]
    ) -> None:
        kept: list[LabelRow] = []

        def times() -> Iterator[tuple[int, int | None]]:
            for row in LabelReader(labels, project.schemas, registry).rows(topics.read):
                if row.event_id in wanted:
                    kept.append(row)
                yield row.known_at_ms, row.received_ms

        self.reached_ms = reached(times())
        self.by_event: Mapping[str, list[LabelRow]] = by_event(kept)
        self.positive = True if labels.positive is None else str(labels.positive)
        self.maturity = Maturity.of(labels)
        self.is_regression = labels.task == "regression"

    def is_final(self, event_time_ms: int) -> bool:
        """Whether the label of an event of this time is final; never without a horizon."""
        horizon = self.maturity.horizon_ms
        return horizon is not None and self.reached_ms is not None and event_time_ms + horizon <= self.reached_ms

    def of(self, one: Scored) -> _Truth:
        """The label of an event, as far as it is known."""
        horizon = self.maturity.horizon_ms
        rows = self.by_event.get(one.event_id, ())
        value = label_of(rows, one.event_time, horizon)
        if one.is_hidden:
            return _Truth()
        is_due = self.is_final(one.event_time)
        is_final = value is not None if horizon is None else is_due
        if value is None:
            is_negative = is_final and self.maturity.absent == "negative"
            label = 0.0 if is_negative else np.nan
            return _Truth(label, is_mature=is_final and self.maturity.absent != "excluded", is_due=is_due)
        label = float(value if self.is_regression else value == self.positive)
        # Without a horizon later labels may still come, so how late labels are is cut off, and says nothing.
        delay = np.nan if horizon is None else (min(row.known_at_ms for row in rows) - one.event_time) / 1_000
        return _Truth(label, delay, is_mature=is_final, is_due=is_due)


def _sample(inputs: Inputs, scored: list[Scored], truths: _Truths | None) -> Sample:
    known = [_Truth() if truths is None else truths.of(one) for one in scored]
    labels, delays, mature, due = zip(*known, strict=True)
    return Sample(
        columns=inputs.columns([one.vector for one in scored]),
        scores=np.array([one.score for one in scored]),
        labels=np.array(labels, float),
        delays=np.array(delays, float),
        mature=np.array(mature, bool),
        due=np.array(due, bool),
        is_regression=truths is not None and truths.is_regression,
    )


def _texts(codes: NDArray[np.float64]) -> NDArray[np.object_]:
    return np.array([None if np.isnan(code) else f"{code:.0f}" for code in codes.tolist()], object)
