"""The events that a training set can have, with their vectors: of a backfill, or of predictions. Of an id, in order."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from verify.categories import codes
from verify.published import Position, Published
from verify.run_data import BackfillData


@dataclass(frozen=True)
class SetEvent:
    """An event: its time and that of the latest event in its vector (epoch ms), its vector float32 [inputs]."""

    id: str
    time: int
    known_at: int
    position: Position
    vector: npt.NDArray[np.float32]


def of_backfill(backfill: BackfillData, inputs: Sequence[str], categories: Container[str]) -> list[SetEvent]:
    """The rows of a backfill in the order of their Kafka timestamp, partition and offset."""
    rows, cells = backfill.rows, []
    for name in inputs:
        values = values_of(rows[name])
        with np.errstate(over="ignore"):  # beyond float32's range a value becomes an infinity
            cells.append(np.array(codes(values) if name in categories else values, np.float64).astype(np.float32))
    vectors = np.stack(cells, axis=1)
    views = {name.partition(".")[0] for name in inputs} - {"event"}
    as_of = list(zip(*(values_of(rows[f"{view}.as_of"]) for view in views), strict=True)) or [()] * rows.num_rows
    places = [values_of(rows[f"source.{name}"]) for name in ("timestamp", "partition", "offset")]
    order = sorted(range(rows.num_rows), key=lambda number: tuple(column[number] for column in places))
    ids, times = values_of(rows["event_id"]), values_of(rows["event_time"])
    return [
        SetEvent(
            ids[number],
            times[number],
            max((one for one in as_of[number] if one is not None), default=times[number]),
            Position(places[1][number], places[2][number]),
            vectors[number],
        )
        for number in order
    ]


def of_predictions(
    models: Container[str], inputs: Sequence[str], ids: Mapping[str, str], predictions: Iterable[Published]
) -> list[SetEvent]:
    """The predictions in the order of their events' Kafka timestamp, partition and offset.

    Those of another model, or of another version of a view that the inputs name, are left out.

    Args:
        models: The names of the pipeline's models.
        inputs: The inputs.
        ids: The present version of each view, as ``name@version``.
        predictions: The predictions.
    """
    used = {name for path in inputs if (name := path.partition(".")[0]) != "event"}
    found = []
    for one in predictions:
        value = one.value
        of_views = {view["view"].partition("@")[0]: view for view in value["views"]}
        of_views = {name: view for name, view in of_views.items() if name in used}
        is_present = all(view["view"] == ids[name] for name, view in of_views.items())
        if value["model"] in models and len(value["vector"]) == 4 * len(inputs) and is_present:
            known_at = max((view["as_of"] for view in of_views.values()), default=value["event_time"])
            event = SetEvent(
                value["event_id"],
                value["event_time"],
                known_at,
                one.position,
                np.frombuffer(value["vector"], "<f4"),
            )
            found.append((value["source"]["timestamp"], event))
    return [event for _, event in sorted(found, key=lambda pair: (pair[0], pair[1].position))]


def values_of(column: pa.ChunkedArray) -> list[Any]:
    """The values of a column, times as epoch milliseconds."""
    values: list[Any] = (column.cast("int64") if pa.types.is_timestamp(column.type) else column).to_pylist()
    return values
