"""The point-in-time training set: the vector served for each event, joined to the label known by a given time.

This module is the join of plain rows, without I/O; :mod:`backfill.training_parquet` reads the rows.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scoring.label_maturity import ANY_AGE, Maturity, reached
from scoring.label_precedence import counting
from scoring.recipe import DataRecipe
from streams.definitions.labels import Task
from streams.definitions.other_inputs import view_of
from streams.plan.model import PipelinePlan
from streams.plan.other_views import OtherView

# What a label says: yes or no, a value, or a class.
Truth = bool | float | str

EVENTS, LABEL = "events", "label"
"""The names of what is no input among the columns of a set that have hashes."""
_NOT_NEEDED = np.empty(0, dtype=np.float32)
_Y_TYPES: Mapping[Task, str] = {"binary": "i1", "regression": "<f8", "multiclass": "<i2"}


@dataclass(frozen=True, slots=True)
class FeatureRow:
    """One event's vector.

    ``known_at_ms`` is the latest event time that the vector depends on: the greatest ``as_of`` of its views, or the
    event's own time. ``position`` orders the emissions of one event id: the smallest was served. ``partition`` is the
    partition of the event and of its feature record.
    """

    event_id: str
    event_time_ms: int
    known_at_ms: int
    partition: int
    position: tuple[int, ...]
    vector: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class LabelRow:
    """One label of an event, known since ``known_at_ms``; a value of None retracts earlier labels.

    ``position`` decides between labels of the same time: the greatest wins. ``received_ms`` is when Kafka received it,
    None if that is not known. ``source`` is the place of its source in ``Labels.sources``.
    """

    event_id: str
    known_at_ms: int
    position: tuple[int, ...]
    value: Truth | None
    received_ms: int | None = None
    source: int = 0

    @property
    def rank(self) -> tuple[int, tuple[int, ...]]:
        """Of several labels of one event and source, the one with the greatest rank counts."""
        return self.known_at_ms, self.position


@dataclass(frozen=True, slots=True)
class Counts:
    """How many rows were read, and why some are not in the set.

    ``features_read`` = ``events_unserved`` + ``ids_again`` + ``events_after_until`` + ``events_immature`` +
    ``events_unlabelled`` + the rows of the set. ``events_unserved`` have no prediction with the inputs of other
    pipelines that the model takes; ``events_immature`` are younger than the horizon of labels. ``events_absent`` are in
    the set as negative ones, because they have no label. ``labels_refused`` counts labels that break their contract;
    ``labels_read`` does not include them. ``labels_after_horizon`` are labels of mature events that came too late.
    """

    features_read: int = 0
    events_unserved: int = 0
    ids_again: int = 0
    events_after_until: int = 0
    events_immature: int = 0
    events_unlabelled: int = 0
    events_absent: int = 0
    labels_read: int = 0
    labels_refused: int = 0
    labels_after_until: int = 0
    labels_after_horizon: int = 0
    labels_without_event: int = 0


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """N labelled events in order of (event time, event id).

    ``X`` is float32 [N, inputs] in the model's declared order, null as NaN, categories as their codes.
    ``y`` [N] is int8, 1 for the positive one; for a regression float64, the value; for several classes int16, the place
    of its class in ``classes``, which are sorted. ``positive`` is the class whose probability is the score.
    ``event_times`` (epoch milliseconds) and ``partitions`` are int64 [N]. ``views`` maps each view to ``version:hash``.
    ``texts`` has the texts of each category by code.
    ``data_hash`` is the SHA-256 of all that a model learns from: two sets with the same hash train the same model.
    ``offsets`` says which offsets of each topic the events were read from, by partition: the first, and the end.
    ``with_defaults`` says whether inputs of other pipelines are their declared defaults, and not as they were served.
    ``values_refused`` counts those of the refused labels whose value is none of the task.
    ``recipe`` says where it comes from; None if it was not read by :mod:`backfill.training_parquet`.
    ``maturity`` says when labels were taken for final; with a horizon, ``until_ms`` is at most what labels had reached.
    ``label_sources`` says how many labels of the set are of each topic; empty if all are of one.
    """

    inputs: tuple[str, ...]
    event_ids: tuple[str, ...]
    event_times: NDArray[np.int64]
    partitions: NDArray[np.int64]
    X: NDArray[np.float32]
    y: NDArray[Any]
    views: Mapping[str, str]
    until_ms: int | None
    counts: Counts
    data_hash: str
    offsets: Mapping[str, Mapping[int, tuple[int, int]]] = field(default_factory=dict)
    task: Task = "binary"
    classes: tuple[str, ...] = ()
    positive: str | None = None
    categories: tuple[str, ...] = ()
    texts: Mapping[str, Mapping[float, str]] = field(default_factory=dict)
    with_defaults: bool = False
    values_refused: int = 0
    recipe: DataRecipe | None = None
    maturity: Maturity = ANY_AGE
    label_sources: Mapping[str, int] = field(default_factory=dict)

    @property
    def truth(self) -> NDArray[np.float64]:
        """What scores are compared with, [N]: the value of a regression, else 1 for the positive class and 0."""
        y = self.y == self.column if self.task == "multiclass" else self.y
        return y.astype(np.float64)

    @property
    def column(self) -> int | None:
        """The column of the probabilities that is the score; None for a regression, or if no event is of the class."""
        if self.task == "multiclass":
            return self.classes.index(self.positive) if self.positive in self.classes else None
        return 1 if self.task == "binary" else None

    def __len__(self) -> int:
        return len(self.event_ids)

    def column_hashes(self) -> dict[str, str]:
        """The SHA-256 of each column: ``EVENTS`` (ids, times, partitions), each input, and ``LABEL``."""
        events = [json.dumps(self.event_ids).encode(), self.event_times.astype("<i8"), self.partitions.astype("<i8")]
        parts: dict[str, list[Any]] = {EVENTS: events}
        parts |= {name: [values.astype("<f4")] for name, values in zip(self.inputs, self.X.T, strict=True)}
        parts[LABEL] = [self.y, json.dumps([self.classes, self.positive]).encode()]
        return {name: hashlib.sha256(b"".join(map(bytes, of))).hexdigest() for name, of in parts.items()}

    def rows(self, chosen: NDArray[np.bool_]) -> TrainingSet:
        """Some of its events, with the counts and the hash of all."""
        return replace(
            self,
            event_ids=tuple(one for one, taken in zip(self.event_ids, chosen.tolist(), strict=True) if taken),
            event_times=self.event_times[chosen],
            partitions=self.partitions[chosen],
            X=self.X[chosen],
            y=self.y[chosen],
        )


def join(
    features: Iterable[FeatureRow],
    labels: Iterable[LabelRow],
    *,
    inputs: tuple[str, ...],
    views: Mapping[str, str],
    until_ms: int | None,
    task: Task = "binary",
    positive: str | None = None,
    categories: tuple[str, ...] = (),
    maturity: Maturity = ANY_AGE,
    sources: Sequence[str] = (),
) -> TrainingSet:
    """Join vectors to labels by event id, as known at ``until_ms`` (event time; None for no limit).

    The label of an event is the latest one known by then, of the first source that has one; ``sources`` are the topics
    of several, which are counted. A vector is used if neither its event nor anything that it
    depends on is later. Of several events with one id, the first is used. The result does not depend on the order of
    the rows.

    With a horizon, an event is used only if it is that old at ``until_ms`` (at most what the labels have reached), and
    its label is the latest that was known when it was. An event without one is negative if ``maturity`` says so.

    The values of labels are those of the ``task``; ``positive`` is the class whose probability is the score.

    ``labels`` is consumed first, so that only the vectors of labelled events stay in memory, unless all are needed.

    Raises:
        PenstockError: if too few mature events have a label, and ``maturity`` does not say what that means.
    """
    all_labels = list(labels)
    until_ms = maturity.until(until_ms, reached((label.known_at_ms, label.received_ms) for label in all_labels))
    bound = until_ms if until_ms is not None else np.iinfo(np.int64).max
    known = by_event(label for label in all_labels if label.known_at_ms <= bound)
    served: dict[str, FeatureRow] = {}
    features_read = 0
    for row in features:
        features_read += 1
        held = served.get(row.event_id)
        if held is None or row.position < held.position:
            is_needed = row.event_id in known or maturity.absent == "negative"
            served[row.event_id] = row if is_needed else replace(row, vector=_NOT_NEEDED)
    in_time = [row for row in served.values() if max(row.event_time_ms, row.known_at_ms) <= bound]
    horizon = maturity.horizon_ms
    mature = in_time if horizon is None else [row for row in in_time if row.event_time_ms + horizon <= bound]
    counted = [label_in_time(known.get(row.event_id, ()), row.event_time_ms, horizon) for row in mature]
    of_sources = Counter(label.source for label in counted if label is not None)
    labelled = of_sources.total()
    found = [(row, None if label is None else label.value) for row, label in zip(mature, counted, strict=True)]
    maturity.require_labelled(labelled, len(mature), until_ms)
    if maturity.absent == "negative":
        found = [(row, False if value is None else value) for row, value in found]
    rows = sorted(
        ((row, value) for row, value in found if value is not None),
        key=lambda pair: (pair[0].event_time_ms, pair[0].event_id),
    )
    training_set = _training_set(
        [row for row, _ in rows],
        [value for _, value in rows],
        inputs=inputs,
        views=views,
        until_ms=until_ms,
        counts=Counts(
            features_read=features_read,
            ids_again=features_read - len(served),
            events_after_until=len(served) - len(in_time),
            events_immature=len(in_time) - len(mature),
            events_unlabelled=len(mature) - len(rows),
            events_absent=len(rows) - labelled,
            labels_read=len(all_labels),
            labels_after_until=len(all_labels) - sum(map(len, known.values())),
            labels_after_horizon=sum(_late(known, row, horizon) for row in mature),
            labels_without_event=len(known.keys() - served.keys()),
        ),
        task=task,
        positive=positive,
    )
    label_sources = {topic: of_sources[source] for source, topic in enumerate(sources)} if len(sources) > 1 else {}
    return replace(training_set, categories=categories, maturity=maturity, label_sources=label_sources)


def view_versions(plan: PipelinePlan, inputs: Iterable[str], others: Iterable[OtherView] = ()) -> dict[str, str]:
    """``version:hash`` of each view that the inputs name, in record order; then those of other pipelines."""
    used = set(map(view_of, inputs))
    views = [(view.name, view) for view in plan.views] + [(other.name, other.view) for other in others]
    return {name: f"{view.version}:{view.hash}" for name, view in views if name in used}


def by_event(labels: Iterable[LabelRow]) -> dict[str, list[LabelRow]]:
    """The labels of each event, by its id."""
    found: dict[str, list[LabelRow]] = {}
    for label in labels:
        found.setdefault(label.event_id, []).append(label)
    return found


def label_in_time(labels: Sequence[LabelRow], event_time_ms: int, horizon: int | None) -> LabelRow | None:
    """The label of an event that counts, of those that came within the horizon; None if there is none."""
    return counting(label for label in labels if horizon is None or label.known_at_ms <= event_time_ms + horizon)


def label_of(labels: Sequence[LabelRow], event_time_ms: int, horizon: int | None) -> Truth | None:
    """What that label says; None if there is none."""
    found = label_in_time(labels, event_time_ms, horizon)
    return None if found is None else found.value


def _late(known: Mapping[str, Sequence[LabelRow]], row: FeatureRow, horizon: int | None) -> int:
    """How many labels of an event came after the horizon."""
    if horizon is None:
        return 0
    return sum(label.known_at_ms > row.event_time_ms + horizon for label in known.get(row.event_id, ()))


def _training_set(
    rows: list[FeatureRow],
    truth: list[Truth],
    *,
    inputs: tuple[str, ...],
    views: Mapping[str, str],
    until_ms: int | None,
    counts: Counts,
    task: Task,
    positive: str | None,
) -> TrainingSet:
    event_ids = tuple(row.event_id for row in rows)
    event_times = np.array([row.event_time_ms for row in rows], dtype=np.int64)
    partitions = np.array([row.partition for row in rows], dtype=np.int64)
    vectors = np.array([row.vector for row in rows], dtype=np.float32).reshape(len(rows), len(inputs))
    vectors[np.isnan(vectors)] = np.nan  # NaN has many bit patterns, the hash must see one
    classes = tuple(sorted({str(value) for value in truth})) if task == "multiclass" else ()
    places = {name: place for place, name in enumerate(classes)}
    y = np.array([places[str(value)] for value in truth] if classes else truth, dtype=_Y_TYPES[task])
    digest = hashlib.sha256(json.dumps([inputs, dict(views), event_ids], sort_keys=True).encode())
    for array in (event_times.astype("<i8"), vectors.astype("<f4"), y):
        digest.update(np.ascontiguousarray(array).tobytes())
    if task == "multiclass":
        digest.update(json.dumps([classes, positive]).encode())
    return TrainingSet(
        inputs,
        event_ids,
        event_times,
        partitions,
        vectors,
        y,
        dict(views),
        until_ms,
        counts,
        digest.hexdigest(),
        task=task,
        classes=classes,
        positive=positive,
    )
