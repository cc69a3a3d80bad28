"""Decodes batches of feature records for a store: as columns where possible, else one by one.

Both ways give the same. The columns cover the records of the current definition. All others, and those with values out
of the ordinary, go through :mod:`sinks.emitted_vectors` one by one, which also finds what is wrong with a record.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Generic, TypeAlias, TypeVar, cast

import numpy as np

from schemas.codec import Undecodable, UnknownSchema
from schemas.columns import FEWEST, ColumnReader, Columns, Mask
from sinks.emitted_vectors import EmittedVector, emitted_vectors
from sinks.store_interface import decode_each
from streams.plan.feature_records import FeaturesDecoder, features_schema
from streams.plan.model import PipelinePlan, ViewPlan

_log = logging.getLogger(__name__)

T = TypeVar("T")

OfColumns: TypeAlias = Callable[[ViewPlan, Columns], tuple[Sequence[T], Mask]]
"""Makes what the store writes of one view, for all records at once.

Returns one item for each record, and whether it can be used. A record that has the view, and whose item cannot be used,
is decoded by itself. Items of records that are not plain, or lack the view, are ignored.
"""


class FeatureBatches(Generic[T]):
    """Decodes values of a features topic into what a store writes: a list for each record, with one item for each view.

    Args:
        plan: The pipeline's plan.
        decoder: Decodes single records, of earlier definitions, too.
        of_columns: Makes the items of a view from columns.
        of_vector: Makes the item of one vector; raises Undecodable if the store cannot take it.
    """

    def __init__(
        self,
        plan: PipelinePlan,
        decoder: FeaturesDecoder,
        of_columns: OfColumns[T],
        of_vector: Callable[[EmittedVector], T],
    ) -> None:
        self._plan = plan
        self._decoder = decoder
        self._of_columns = of_columns
        self._of_vector = of_vector
        self._reader = ColumnReader(features_schema(plan))
        self._warned: set[str] = set()

    def decode(self, values: Sequence[bytes]) -> list[list[T] | Undecodable | UnknownSchema]:
        """The items of each record, or the error by which it becomes a dead letter."""
        if len(values) < FEWEST:
            return decode_each(self._decode_one, values)
        columns = self._reader.locate(values)
        usable = columns.plain & (columns.integers("attempt") >= 0)
        found: list[list[T] | Undecodable | UnknownSchema] = [[] for _ in values]
        lists = cast("list[list[T]]", found)
        for view in self._plan.views:
            present = columns.present(view.name)
            items, takes = self._of_columns(view, columns)
            takes &= columns.integers(f"{view.name}.epoch") >= 0
            takes &= columns.integers(f"{view.name}.seq") >= 0
            usable &= takes | ~present
            rows = np.flatnonzero(present).tolist()
            for row in rows:
                lists[row].append(items[row])
        others = np.flatnonzero(~usable).tolist()
        for row, decoded in zip(others, decode_each(self._decode_one, [values[row] for row in others]), strict=True):
            found[row] = decoded
        return found

    def _decode_one(self, value: bytes) -> list[T]:
        for name in self._decoder.changed_views(value) - self._warned:
            self._warned.add(name)
            _log.warning(
                "records on %s have other features of view %s than this sink's definition, under the same version: "
                "nothing of the view is written from them; next: give the changed view a new version, or run the "
                "sink and the job with the same definition",
                self._plan.features_topic,
                self._plan.view(name).id,
            )
        return [self._of_vector(vector) for vector in emitted_vectors(self._plan, self._decoder.decode(value))]
