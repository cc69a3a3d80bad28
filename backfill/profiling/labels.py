"""The labels of rows, from a training set's own column or the labels topic, and as classes that are counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from backfill.profiling.source import epoch_ms
from scoring.label_maturity import Maturity, reached
from scoring.training_set import LabelRow, Truth, by_event, label_of
from streams.definitions.labels import Task

# Groups of about equally many values of a regression, and the classes that are told apart.
_GROUPS, _CLASSES = 20, 10


class Labels(Protocol):
    """Gives the labels of rows."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it reads."""

    def of(self, batch: pa.RecordBatch) -> list[Any]:
        """The label of each row; None without one."""


class ColumnLabels:
    """The labels of a training set.

    Rows of its part ``test`` count as unlabelled: a choice of features by them would spoil the test.
    """

    columns = ("label", "split")

    def of(self, batch: pa.RecordBatch) -> list[Any]:
        """The label of each row; None without one."""
        labels = batch.column("label")
        is_test = pc.fill_null(pc.equal(batch.column("split"), "test"), fill_value=False)
        seen: list[Any] = pc.if_else(is_test, pa.scalar(None, labels.type), labels).to_pylist()
        return seen


class TopicLabels:
    """The labels of a topic, by the rule that training sets obey; all are kept in memory, about 500 bytes each.

    Of several labels of an event, the latest counts. With a horizon, an event has a label once it is that old, the
    latest that came by then; without one it is negative if ``maturity`` says so.
    """

    columns = ("event_id", "event_time")

    def __init__(self, rows: Iterable[LabelRow], maturity: Maturity) -> None:
        given = list(rows)
        self._known, self._horizon_ms = by_event(given), maturity.horizon_ms
        self._absent = False if maturity.absent == "negative" else None
        self._reached_ms = reached((row.known_at_ms, row.received_ms) for row in given)

    def of(self, batch: pa.RecordBatch) -> list[Any]:
        """The label of each row; None without one."""
        times = epoch_ms(batch.column("event_time")).to_pylist()
        return [self._of(*event) for event in zip(batch.column("event_id").to_pylist(), times, strict=True)]

    def _of(self, event_id: str, time_ms: int) -> Truth | None:
        horizon = self._horizon_ms
        if horizon is not None and (self._reached_ms is None or time_ms + horizon > self._reached_ms):
            return None
        value = label_of(self._known.get(event_id, ()), time_ms, horizon)
        return self._absent if value is None else value


@dataclass(frozen=True)
class Classes:
    """The groups of labels that are counted: code 0 is no label, code i is ``names[i - 1]``."""

    task: Task
    names: tuple[str, ...]
    edges: NDArray[np.float64]
    places: Mapping[str, int]

    @property
    def size(self) -> int:
        """The number of codes."""
        return len(self.names) + 1

    def codes(self, labels: list[Any]) -> NDArray[np.int64]:
        """The code of each label."""
        if self.task == "multiclass":
            last = len(self.names)
            return np.array([0 if one is None else self.places.get(str(one), last) for one in labels], np.int64)
        values = np.array([np.nan if one is None else float(one) for one in labels])
        found = np.where(values > 0, 2, 1) if self.task == "binary" else self.edges.searchsorted(values) + 1
        return np.where(np.isfinite(values), found, 0).astype(np.int64)


def choose_classes(task: Task, sample: list[Any]) -> Classes:
    """The classes for labels, by a sample of them without those that are None."""
    if task == "binary":
        return Classes(task, ("negative", "positive"), np.empty(0), {})
    if task == "multiclass":
        common = sorted(Counter(map(str, sample)).items(), key=lambda one: (-one[1], one[0]))[:_CLASSES]
        names = tuple(name for name, _ in common)
        return Classes(task, (*names, "others"), np.empty(0), {name: place for place, name in enumerate(names, 1)})
    values = np.sort(np.array([float(one) for one in sample if np.isfinite(float(one))]))
    edges = np.unique(values[np.arange(1, _GROUPS) * len(values) // _GROUPS]) if len(values) else values
    return Classes(task, tuple(f"group {place}" for place in range(1, len(edges) + 2)), edges, {})
