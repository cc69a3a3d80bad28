"""The rows of a backfill, as what served features are compared with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa

from backfill.manifest import plan_hash
from backfill.parity.kernel import ViewValues
from backfill.parity.values import Place, scored_sources
from backfill.parquet import Backfill
from penstock.errors import PenstockError
from streams.plan.model import PipelinePlan


class Row(NamedTuple):
    """One row: its event, and the part of each view; a view for whose entity the event has no value has none."""

    place: Place
    time: int
    timestamp: int
    columns: Mapping[str, Any]
    parts: Mapping[str, ViewValues]


@dataclass(frozen=True)
class BackfillRows:
    """The rows of a complete backfill.

    Args:
        backfill: The backfill.
        plan: The pipeline's plan.
    """

    backfill: Backfill
    plan: PipelinePlan

    def __post_init__(self) -> None:
        manifest = self.backfill.manifest
        if manifest.pipeline != self.plan.pipeline or manifest.plan != plan_hash(self.plan):
            raise PenstockError(
                f"the backfill is of pipeline {manifest.pipeline}, of other definitions than {self.plan.pipeline} has",
                where=str(self.backfill.folder),
                safe="nothing was compared",
                next="penstock backfill run PIPELINE --from TIME --to TIME --out FOLDER, and compare with that",
            )

    def has(self, place: Place, time_ms: int) -> bool:
        """Whether an event must have a row, if it is valid and no duplicate."""
        replay = self.backfill.manifest.replay
        return replay.from_ms <= time_ms < replay.to_ms and self.replayed(place)

    def replayed(self, place: Place) -> bool:
        """Whether the replay read an event, or left it out only because it is too old to matter."""
        replay = self.backfill.manifest.replay
        ends = [replay.end, *(source.end for source in replay.additional_sources)]
        return place.offset < ends[place.source].get(place.partition, 0)

    def rows(self) -> Iterator[Row]:
        """All rows."""
        scored = scored_sources(self.plan)
        for batch in self.backfill.batches():
            columns = _plain(batch)
            topics = columns.get("source.topic") or [self.plan.source.topic] * batch.num_rows
            for i in range(batch.num_rows):
                yield Row(
                    Place(scored[topics[i]], columns["source.partition"][i], columns["source.offset"][i]),
                    columns["event_time"][i],
                    columns["source.timestamp"][i],
                    {name: columns[f"event.{name}"][i] for name, _ in self.plan.passthrough},
                    {
                        view: ViewValues(
                            columns[f"{view}.entity"][i],
                            columns[f"{view}.as_of"][i],
                            columns[f"{view}.late"][i],
                            {f.name: columns[f"{view}.{f.name}"][i] for f in self.plan.view(view).features},
                        )
                        for view in self.backfill.manifest.views
                        if columns[f"{view}.entity"][i] is not None
                    },
                )


def _plain(batch: pa.RecordBatch) -> dict[str, list[Any]]:
    """The columns by name, with times as epoch milliseconds."""
    return {
        field.name: (values.cast("int64") if pa.types.is_timestamp(field.type) else values).to_pylist()
        for field, values in zip(batch.schema, batch.columns, strict=True)
    }
