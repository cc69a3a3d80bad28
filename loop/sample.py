"""Events of one period, as arrays: what a diagnosis compares. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Column = NDArray[Any]


@dataclass(frozen=True)
class Sample:
    """The scored events of one period, in the order of their event times.

    Args:
        columns: Each input by name: float64 with NaN for null, or an object array of texts and None. Shape (events,).
        scores: The probability or the value that was published, shape (events,).
        labels: 0.0 or 1.0, or the values of a regression; NaN where none is known or the event is not mature. Shape
            (events,).
        delays: How long after its event each label became known, in seconds; NaN without one. Shape (events,).
        mature: Whether the event is old enough for its label to be final, shape (events,).
        due: Whether the event is so old that its label has come or never will, and it is not hidden, shape (events,);
            None if those are the mature ones.
        is_regression: Whether scores and labels are values.
    """

    columns: Mapping[str, Column]
    scores: NDArray[np.float64]
    labels: NDArray[np.float64]
    delays: NDArray[np.float64]
    mature: NDArray[np.bool_]
    due: NDArray[np.bool_] | None = None
    is_regression: bool = False

    def __len__(self) -> int:
        return len(self.scores)

    def where(self, rows: slice | NDArray[Any]) -> Sample:
        """Some of the events: a slice, a mask or positions."""
        return replace(
            self,
            columns={name: values[rows] for name, values in self.columns.items()},
            scores=self.scores[rows],
            labels=self.labels[rows],
            delays=self.delays[rows],
            mature=self.mature[rows],
            due=None if self.due is None else self.due[rows],
        )

    def matured(self) -> Sample:
        """The mature events that have a label."""
        return self.where(self.mature & ~np.isnan(self.labels))


def blocks(events: int, size: int, most: int = 24) -> Iterator[slice]:
    """Stretches of ``size`` neighbouring events, evenly spread over ``events``, at most ``most``; they may overlap.

    How much a statistic varies between them says how much it varies by itself, also where events depend on each other.
    """
    if not 0 < size < events:
        return
    number = min(most, max(2, 2 * events // size))
    for start in np.linspace(0, events - size, number).astype(int).tolist():
        yield slice(start, start + size)
