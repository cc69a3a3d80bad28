"""The vectors of many entities as columns, with the values that they give at a given time."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from schemas.codec import Undecodable, UnknownSchema
from sinks.vector_format import Stored, VectorFormat, VectorState
from streams.plan.model import ViewPlan

_log = logging.getLogger(__name__)

Numbers: TypeAlias = npt.NDArray[np.float64]
Times: TypeAlias = npt.NDArray[np.int64]
Texts: TypeAlias = npt.NDArray[np.str_]
Objects: TypeAlias = npt.NDArray[np.object_]

_ROUNDED = 2**53
"""From here on, a double has not every integer."""
_NUMBERS = ("long", "double", "boolean")
NO_TIME = np.iinfo(np.int64).min
"""The ``as_of`` of a MISSING vector, which numpy reads as NaT."""


@dataclass(frozen=True, slots=True, eq=False)
class FeatureColumns:
    """The vectors of n rows, each of one entity of every view that was asked for, as they read at the reader's time.

    Attributes:
        views: The v views, as ``name@version``, in the order in which they were asked for.
        names: The k features that are numbers or booleans, as ``view.feature``: the names of a model's inputs.
        values: (n, k) Their values. Null is NaN, a boolean 0 or 1. An integer beyond 2**53 is rounded.
        objects: The other features, texts and lists, by name: (n,) values as in ``FeatureVector``, null is None.
        states: (n, v) The state of each vector, equal to a ``VectorState``.
        as_of: (n, v) The event time of each vector, epoch ms; ``as_of.view("datetime64[ms]")`` has NaT where the state
            is MISSING.
    """

    views: tuple[str, ...]
    names: tuple[str, ...]
    values: Numbers
    objects: Mapping[str, Objects]
    states: Texts
    as_of: Times

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        """(n,) The values of the feature ``view.feature``.

        Raises:
            KeyError: if it was not asked for.
        """
        if name in self.objects:
            return self.objects[name]
        if name not in self.names:
            raise KeyError(f"no feature {name}; there are {', '.join([*self.names, *self.objects])}")
        column: npt.NDArray[Any] = self.values[:, self.names.index(name)]
        return column

    @classmethod
    def beside(cls, parts: Sequence[FeatureColumns]) -> FeatureColumns:
        """The columns of several views, of which each has n rows."""
        return cls(
            tuple(view for part in parts for view in part.views),
            tuple(name for part in parts for name in part.names),
            np.concatenate([part.values for part in parts], axis=1),
            {name: column for part in parts for name, column in part.objects.items()},
            np.concatenate([part.states for part in parts], axis=1),
            np.concatenate([part.as_of for part in parts], axis=1),
        )


@dataclass(frozen=True, slots=True, eq=False)
class NumberedColumns:
    """The vectors of n rows of one view, each as it reads at a time of its own, and which emissions they are.

    Attributes:
        columns: The vectors.
        stored: Each as it was emitted; None if the state is MISSING.
        view: The view's name.
        format: The view's format.
    """

    columns: FeatureColumns
    stored: Sequence[Stored | None]
    view: str
    format: VectorFormat

    @property
    def states(self) -> Texts:
        """(n,) The state of each."""
        return self.columns.states[:, 0]

    def numbers(self, feature: str) -> Numbers:
        """(n,) The values of a number or boolean; null is NaN."""
        return self.columns[f"{self.view}.{feature}"]

    def values(self, feature: str) -> list[str | int | None]:
        """The values of a text or integer, exactly."""
        name = f"{self.view}.{feature}"
        if name in self.columns.objects:
            return list(self.columns[name])
        return [self._integer(row, feature, number) for row, number in enumerate(self.columns[name].tolist())]

    def _integer(self, row: int, feature: str, number: float) -> int | None:
        if math.isnan(number):
            return None
        stored = self.stored[row]
        # What reads as empty is null or 0.
        if stored is None or abs(number) < _ROUNDED:
            return int(number)
        return int(self.format.values(stored)[feature])

    def emission(self, row: int) -> tuple[int, int, int]:
        """Epoch, seq and ``as_of`` of a vector that is stored."""
        stored = self.stored[row]
        assert stored is not None
        return stored.epoch, stored.seq, stored.as_of


class ColumnFormat:
    """Reads the vectors of one view as columns; values are those of :meth:`sinks.vector_format.VectorFormat.read`.

    Args:
        view: The view.
        one: The format of one vector.
    """

    def __init__(self, view: ViewPlan, one: VectorFormat) -> None:
        self._view, self._one = view, one
        self._numbers = [output.name for output in view.outputs if output.type in _NUMBERS]
        self._others = [output.name for output in view.outputs if output.type not in _NUMBERS]

    def read(self, entities: Sequence[str], blobs: Sequence[bytes | None], now_ms: int) -> FeatureColumns:
        """The vectors of n entities. A blob that is no vector of its entity reads as MISSING, and is logged."""
        return self.numbered(entities, blobs, np.full(len(entities), now_ms)).columns

    def numbered(self, entities: Sequence[str], blobs: Sequence[bytes | None], at_ms: Times) -> NumberedColumns:
        """The same with which emissions they are, each vector as it reads at a time of its own, (n,) epoch ms."""
        found = list(map(self._stored, entities, blobs))
        return NumberedColumns(self._columns(found, at_ms), found, self._view.name, self._one)

    def _columns(self, found: Sequence[Stored | None], at_ms: Times) -> FeatureColumns:
        rows = [row for row, stored in enumerate(found) if stored is not None]
        empty = np.array([self._empty(name) for name in self._numbers], np.float64)
        values = np.tile(empty, (len(found), 1))
        objects = {name: _objects([self._empty(name) for _ in found]) for name in self._others}
        states, as_of = np.full(len(found), VectorState.MISSING.value), np.full(len(found), NO_TIME)
        if rows:
            vectors = [stored for stored in found if stored is not None]
            as_of[rows] = [stored.as_of for stored in vectors]
            newest = np.array([stored.newest for stored in vectors])
            states[rows], emptied = self._one.windows.emptied(as_of[rows], newest, at_ms[rows])
            matrix = self._matrix(vectors)
            for place, name in enumerate(self._numbers):
                if emptied[name].any():
                    matrix[emptied[name], place] = empty[place]
            values[rows] = matrix
            for name in self._others:
                for row, stored, is_empty in zip(rows, vectors, emptied[name].tolist(), strict=True):
                    if not is_empty:
                        objects[name][row] = stored.record[name]
        view = self._view.name
        return FeatureColumns(
            (self._view.id,),
            tuple(f"{view}.{name}" for name in self._numbers),
            values,
            {f"{view}.{name}": column for name, column in objects.items()},
            states[:, np.newaxis],
            as_of[:, np.newaxis],
        )

    def _stored(self, entity: str, blob: bytes | None) -> Stored | None:
        try:
            return None if blob is None else self._one.stored(entity, blob)
        except (Undecodable, UnknownSchema) as error:
            _log.warning("read as MISSING: %s", error)
            return None

    def _matrix(self, vectors: Sequence[Stored]) -> Numbers:
        """The numbers as they were emitted; one by one those that were not located, which are few or all."""
        located = [stored.encoded for stored in vectors if stored.encoded is not None]
        if self._one.numbers is not None and len(located) == len(vectors):
            return self._one.numbers.matrix(located)
        matrix = np.empty((len(vectors), len(self._numbers)))
        for place, stored in enumerate(vectors):
            values = self._one.values(stored)
            matrix[place] = [values[name] for name in self._numbers]
        return matrix

    def _empty(self, name: str) -> Any:
        return self._one.windows.empty_value(name)


def _objects(values: list[Any]) -> Objects:
    """The values as they are: numpy would take lists for more dimensions."""
    column = np.empty(len(values), np.object_)
    column[:] = values
    return column
