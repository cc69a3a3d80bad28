"""Sets of labelled vectors, built a second time from a backfill and the raw labels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from penstock.kafka.reading import Record
from streams.plan.model import PipelinePlan
from verify.built_features import values_of
from verify.categories import codes
from verify.labels import Label, LabelHistory
from verify.run_data import BackfillData

_PLACE = ("source.timestamp", "source.partition", "source.offset")


@dataclass(frozen=True)
class LabelledVectors:
    """N labelled events in the order of their time and id.

    ``times`` are int64 [N], epoch ms, ``vectors`` float32 [N, inputs]; ``views`` has ``version:hash`` of each view.
    """

    inputs: tuple[str, ...]
    views: Mapping[str, str]
    ids: Sequence[str]
    times: npt.NDArray[np.int64]
    vectors: npt.NDArray[np.float32]
    labels: Sequence[Label]

    def data_hash(self, task: str, positive: str | None) -> str:
        """The SHA-256 of names, ids, event times, vectors and labels, as manifests have it."""
        digest = hashlib.sha256(json.dumps([self.inputs, self.views, self.ids], sort_keys=True).encode())
        digest.update(self.times.astype("<i8").tobytes())
        digest.update(self.vectors.astype("<f4").tobytes())
        digest.update(self._label_bytes(task, positive))
        return digest.hexdigest()

    def _label_bytes(self, task: str, positive: str | None) -> bytes:
        """Labels as the hash has them: 0 or 1, a value, or the place of a class among all, with all classes."""
        if task == "multiclass":
            classes = sorted(set(map(str, self.labels)))
            places = np.array([classes.index(str(label)) for label in self.labels], dtype="<i2")
            return places.tobytes() + json.dumps([classes, positive]).encode()
        return np.array(self.labels, dtype="<f8" if task == "regression" else np.int8).tobytes()


def views_of(plan: PipelinePlan, inputs: Sequence[str]) -> dict[str, str]:
    """The version and hash of each view that the inputs name."""
    names = {name.partition(".")[0] for name in inputs}
    return {view.name: f"{view.version}:{view.hash}" for view in plan.views if view.name in names}


def has_columns(plan: PipelinePlan, backfill: BackfillData, inputs: Sequence[str]) -> bool:
    """Whether a backfill has all columns that are needed."""
    return _columns_of(plan, inputs) <= {*backfill.rows.column_names}


def oldest(labels: Sequence[Sequence[Record]], number: int | None) -> list[list[Record]]:
    """Of each source the records that are among the oldest of all, by the time at which Kafka received them.

    What had been read at some time is among these. None takes all.
    """
    places = [(one.timestamp, source, one.partition, one.offset, one) for source, of in enumerate(labels) for one in of]
    by_age = sorted(places, key=lambda place: place[:4])[:number]
    return [[one for *_, source, _, _, one in by_age if source == of] for of in range(len(labels))]


@dataclass(frozen=True)
class Rule:
    """Which events are in a set, and what their labels are.

    Nothing of an event is later than ``until_ms``. With a horizon, the event is so old by then, and labels count that
    came within it; without one, all that came by ``until_ms``. ``absent`` is what no label means.
    """

    until_ms: int
    horizon_ms: int | None = None
    absent: str | None = None

    def label(self, labels: LabelHistory, event_id: str, time_ms: int) -> Label | None:
        """The label of an event; None if it is not in the set."""
        final_ms = self.until_ms if self.horizon_ms is None else time_ms + self.horizon_ms
        if final_ms > self.until_ms:
            return None
        found = labels.at(event_id, final_ms)
        return 0 if found is None and self.absent == "negative" else found


def labelled_vectors(
    plan: PipelinePlan,
    backfill: BackfillData,
    inputs: Sequence[str],
    categories: Sequence[str],
    labels: LabelHistory,
    rule: Rule,
) -> LabelledVectors:
    """The labelled events of a backfill that follow a rule; of one id, the first counts."""
    views = views_of(plan, inputs)
    columns = {name: values_of(backfill.rows[name]) for name in _columns_of(plan, inputs)}
    columns |= {name: codes(columns[name]) for name in categories}
    ids, times = columns["event_id"], columns["event_time"]
    places = list(zip(*(columns[name] for name in _PLACE), strict=True))
    first: dict[str, int] = {}
    for number, event_id in enumerate(ids):
        first[event_id] = min(number, first.get(event_id, number), key=places.__getitem__)
    dates = zip(times, *(columns[f"{view}.as_of"] for view in views), strict=True)
    known_at = [max(time for time in of_row if time is not None) for of_row in dates]
    label_of = {
        number: rule.label(labels, event_id, times[number])
        for event_id, number in first.items()
        if known_at[number] <= rule.until_ms
    }
    chosen = (number for number, label in label_of.items() if label is not None)
    order = sorted(chosen, key=lambda number: (times[number], ids[number]))
    with np.errstate(over="ignore"):  # beyond float32's range a value becomes an infinity
        cells = [np.array(columns[name], dtype=np.float64)[order].astype(np.float32) for name in inputs]
    names = [ids[number] for number in order]
    return LabelledVectors(
        tuple(inputs),
        views,
        names,
        np.array([times[number] for number in order], dtype=np.int64),
        np.stack(cells, axis=1),
        [label for number in order if (label := label_of[number]) is not None],
    )


def _columns_of(plan: PipelinePlan, inputs: Sequence[str]) -> set[str]:
    return {"event_id", "event_time", *_PLACE, *inputs, *(f"{view}.as_of" for view in views_of(plan, inputs))}
