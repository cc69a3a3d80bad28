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

from scoring.training_set import LabelRow, Truth
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
    """The latest label of each event, by its id. All are kept in memory, about 200 bytes each."""

    columns = ("event_id",)

    def __init__(self, rows: Iterable[LabelRow]) -> None:
        latest: dict[str, tuple[tuple[int, tuple[int, ...]], Truth | None]] = {}
        for row in rows:
            order = row.known_at_ms, row.position
            held = latest.get(row.event_id)
            if held is None or order > held[0]:
                latest[row.event_id] = order, row.value
        self._values = {event_id: value for event_id, (_, value) in latest.items()}

    def of(self, batch: pa.RecordBatch) -> list[Any]:
        """The label of each row; None without one."""
        return [self._values.get(event_id) for event_id in batch.column("event_id").to_pylist()]


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
