"""Feature vectors: from decoded feature records to the model's input matrix, and to the bytes that a prediction keeps.

Vectors are float32 in the order of ``Model.inputs``, with null as NaN and a category as its code
(:mod:`schemas.categories`). Pure; the scorer, drift and training share it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.categories import cached_codes, category
from schemas.columns import Columns, slices
from streams.definitions.other_inputs import is_other

FloatArray = npt.NDArray[np.float32]

_NULL = float("nan")


class Vectorizer:
    """Builds the vectors of one model.

    Args:
        inputs: Names of the form ``view.feature`` or ``event.column``, as in :class:`Model`. Those of other pipelines
            are not in the records: they are NaN, until :mod:`scoring.other_views` puts them in.
        categories: Those that are categories.
    """

    def __init__(self, inputs: Sequence[str], categories: Collection[str] = ()) -> None:
        self.inputs = tuple(inputs)
        self._path = [(*text.partition(".")[::2], text in categories) for text in self.inputs]
        self._others = frozenset(filter(is_other, self.inputs))
        self._categories = frozenset(categories)
        self._code = cached_codes()

    def vectors(self, records: Sequence[Mapping[str, Any]]) -> FloatArray:
        """The matrix of shape (records, inputs).

        A null view (the event has no such entity) makes all its inputs NaN; a boolean is 0 or 1. A double beyond
        float32's range becomes an infinity, since models take float32.
        """
        matrix = np.array([self._row(record) for record in records], dtype=np.float64)
        with np.errstate(over="ignore"):
            return matrix.reshape(len(records), len(self.inputs)).astype(np.float32)

    def of_columns(self, columns: Columns) -> FloatArray:
        """The same matrix of located records; meaningless for those that are not plain."""
        matrix = np.empty((len(columns), len(self.inputs)), np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            for position, name in enumerate(self.inputs):
                if name in self._others:
                    matrix[:, position] = _NULL
                elif name not in self._categories:
                    matrix[:, position] = columns.numbers(name)
                elif columns.is_text(name):
                    matrix[:, position] = list(map(self._code, columns.text_bytes(name)))
                else:
                    values = zip(columns.integers(name).tolist(), columns.present(name).tolist(), strict=True)
                    matrix[:, position] = [self._code(category(value) if has else None) for value, has in values]
        return matrix

    def _row(self, record: Mapping[str, Any]) -> list[float]:
        row = []
        for scope, name, is_category in self._path:
            part = None if f"{scope}.{name}" in self._others else record[scope]
            value = None if part is None else part[name]
            if value is None:
                value = _NULL
            elif is_category:
                value = self._code(category(value))
            row.append(value)
        return row


def packed_vectors(vectors: FloatArray) -> list[bytes]:
    """Each vector as little-endian float32, as predictions store it."""
    return slices(vectors.astype("<f4", copy=False).tobytes(), 4 * vectors.shape[1])
