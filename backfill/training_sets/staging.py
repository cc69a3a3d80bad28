"""Writes what a training set is made of to Parquet files that DuckDB can join: labels, vectors, decisions.

Columns of vectors are ``i0``, ``i1``, ... in the model's order, float32, a category as its code; entities are ``e0``,
``e1``, ... in the order of the views that the inputs name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from backfill.labels import LabelReader
from backfill.parquet import Backfill
from backfill.topics_read import ReadRecords
from backfill.training_parquet import VectorReader, feature_columns
from penstock.kafka.reading import Record
from schemas.codec import Undecodable, UnknownSchema
from schemas.history import record_decoder
from scoring.decision import Policy
from streams.definitions.labels import Task
from streams.definitions.other_inputs import view_of
from streams.plan.project import Project

Offsets = dict[int, tuple[int, int]]

_CHUNK = 20_000
_LABEL_TYPES: Mapping[Task, pa.DataType] = {"binary": pa.int8(), "regression": pa.float64(), "multiclass": pa.string()}
_POSITION = [("ts", pa.int64()), ("part", pa.int32()), ("off", pa.int64())]
_DECISION = [
    ("model", pa.string()),
    ("decision", pa.string()),
    ("score", pa.float64()),
    ("same_policy", pa.bool_()),
    ("explored", pa.bool_()),
    ("propensity", pa.float64()),
]
_BEFORE_ALL, _AFTER_ALL = np.iinfo(np.int64).min, np.iinfo(np.int64).max


def label_type(task: Task) -> pa.DataType:
    """The type of the column ``label``."""
    return _LABEL_TYPES[task]


def views_of(inputs: Iterable[str]) -> list[str]:
    """The views that inputs name, those of other pipelines as ``pipeline:view``, in the order of the inputs."""
    return [name for name in dict.fromkeys(map(view_of, inputs)) if name != "event"]


@dataclass
class Staged:
    """What was read of a topic, so far.

    Attributes:
        records: The records that were read.
        rows: The rows that were staged.
        reached_ms: Of labels, the latest time that they have reached; None if there is none.
        offsets: The first offset and the end of what was read, by partition.
    """

    records: int = 0
    rows: int = 0
    reached_ms: int | None = None
    offsets: Offsets = field(default_factory=dict)

    @property
    def refused(self) -> int:
        """The records that were left out."""
        return self.records - self.rows

    def pass_on(self, records: Iterable[Record]) -> Iterator[Record]:
        """The same records; their number and offsets are noted."""
        for record in records:
            self.records += 1
            first, _ = self.offsets.get(record.partition, (record.offset, 0))
            self.offsets[record.partition] = first, record.offset + 1
            yield record


def stage_labels(file: Path, task: Task, reader: LabelReader, read: ReadRecords) -> dict[str, Staged]:
    """Write one row per usable label; a null value withdraws the earlier ones of its source.

    Returns what was read of each topic, in the order of the sources.
    """
    kinds = [("event_id", pa.string()), ("known_at", pa.int64()), *_POSITION, ("value", label_type(task))]
    schema = pa.schema([*kinds, ("source", pa.int32())])
    staged = {topic: Staged() for topic in reader.refused}
    with _writer(file, schema) as writer:
        rows = reader.rows(lambda topic: staged[topic].pass_on(read(topic)))
        while chunk := list(islice(rows, _CHUNK)):
            positions = list(zip(*(row.position for row in chunk), strict=True))
            values = [row.value for row in chunk]
            if task == "binary":
                values = [None if value is None else int(value) for value in values]
            known = [row.known_at_ms for row in chunk]
            received = [row.known_at_ms if row.received_ms is None else row.received_ms for row in chunk]
            sources = [row.source for row in chunk]
            columns = [[row.event_id for row in chunk], known, *positions, values, sources]
            writer.write_batch(_batch(schema, columns))
            for source, of in enumerate(staged.values()):
                newest = [
                    min(*times) for place, *times in zip(sources, known, received, strict=True) if place == source
                ]
                of.rows += len(newest)
                of.reached_ms = max([*newest, *([] if of.reached_ms is None else [of.reached_ms])], default=None)
    return staged


def feature_schema(inputs: Sequence[str], *, with_decisions: bool) -> pa.Schema:
    """The columns of staged vectors.

    ``n`` numbers the rows. ``reach`` is the Kafka time at which the vector was made, at the latest (ms).
    """
    return pa.schema(
        [
            ("n", pa.int64()),
            ("event_id", pa.string()),
            ("event_time", pa.int64()),
            ("known_at", pa.int64()),
            *_POSITION,
            ("reach", pa.int64()),
            *((f"e{place}", pa.string()) for place in range(len(views_of(inputs)))),
            *((f"i{place}", pa.float32()) for place in range(len(inputs))),
            *(_DECISION if with_decisions else ()),
        ]
    )


def stage_backfill(
    file: Path, inputs: tuple[str, ...], vectors: VectorReader, backfill: Backfill, *, by_arrival: bool
) -> Staged:
    """Write one row per row of the backfill; vectors equal those of the scorer.

    ``by_arrival`` says whether events were taken in the order of their offsets. If not, nobody knows what had come
    before a vector was made, and it may have been anything.
    """
    views, schema = views_of(inputs), feature_schema(inputs, with_decisions=False)
    staged, newest = Staged(), dict[int, int]()
    columns = [*feature_columns(inputs, views), *(f"{view}.entity" for view in views)]
    with _writer(file, schema) as writer:
        for batch in backfill.batches(columns):
            times = _integers(batch, "event_time")
            ts, part, off = (_integers(batch, f"source.{name}") for name in ("timestamp", "partition", "offset"))
            matrix = vectors.vectors(batch)
            arrays = [
                pa.array(np.arange(staged.rows, staged.rows + len(batch))),
                batch.column("event_id"),
                pa.array(times),
                pa.array(_known_at(times, [_integers(batch, f"{view}.as_of") for view in views])),
                pa.array(ts),
                pa.array(part.astype(np.int32)),
                pa.array(off),
                pa.array(_running_greatest(ts, part, newest) if by_arrival else np.full_like(ts, _AFTER_ALL)),
                *(batch.column(f"{view}.entity") for view in views),
                *_vector_columns(matrix),
            ]
            writer.write_batch(pa.record_batch(arrays, schema=schema))
            staged.rows += len(batch)
    return staged


class PredictionStaging:
    """Writes predictions: the decisions of all, and with ``features`` also the vectors that they were made with.

    Vectors of another model, or of other versions of its views, are left out. All versions of a model have the same
    inputs: the repository sees to that. A decision counts whatever made it.

    Args:
        project: The pipeline.
        features: Whether vectors are wanted.
    """

    def __init__(self, project: Project, *, features: bool) -> None:
        pipeline = project.pipeline
        self._inputs, self._names, self._features = pipeline.model.inputs, pipeline.model.names, features
        self._views = views_of(self._inputs)
        ids = {view.name: view.id for view in project.plan.views} | {view.name: view.id for view in project.other_views}
        self._ids = [ids[name] for name in self._views]
        self._policy = Policy.of(pipeline.model).version
        self._decoder = record_decoder("prediction")
        own = [("n", pa.int64()), ("event_id", pa.string()), *_POSITION, *_DECISION]
        self.schema = feature_schema(self._inputs, with_decisions=True) if features else pa.schema(own)

    def stage(self, file: Path, records: Iterable[Record]) -> Staged:
        """Write one row per prediction that counts, in record order."""
        staged = Staged()
        with _writer(file, self.schema) as writer:
            usable = filter(None, map(self._usable, staged.pass_on(records)))
            while chunk := list(islice(usable, _CHUNK)):
                writer.write_batch(_batch(self.schema, self._columns(staged.rows, chunk)))
                staged.rows += len(chunk)
        return staged

    def _usable(self, record: Record) -> dict[str, Any] | None:
        try:
            value: dict[str, Any] = self._decoder.decode(record.value or b"")
        except (Undecodable, UnknownSchema):
            return None
        if not self._features:
            return value
        if value["model"] not in self._names or len(value["vector"]) != 4 * len(self._inputs):
            return None
        found = {view["view"].partition("@")[0]: view for view in value["views"]}
        value["views"] = [found.get(name) for name in self._views]
        if any(view is not None and view["view"] != id_ for view, id_ in zip(value["views"], self._ids, strict=True)):
            return None
        return value

    def _columns(self, first: int, chunk: Sequence[Mapping[str, Any]]) -> list[Any]:
        source = [one["source"] for one in chunk]
        position = [[one[name] for one in source] for name in ("timestamp", "partition", "offset")]
        rollout = [one["rollout"] or {} for one in chunk]
        decisions = [
            [f"{one['model']}@{one['model_version']}" for one in chunk],
            [one["decision"] for one in chunk],
            [one["score"] for one in chunk],
            [one["policy_version"] == self._policy for one in chunk],
            [one.get("explored", False) for one in rollout],
            [one.get("propensity", 1.0) for one in rollout],
        ]
        numbers, ids = np.arange(first, first + len(chunk)), [one["event_id"] for one in chunk]
        if not self._features:
            return [numbers, ids, *position, *decisions]
        matrix = np.frombuffer(b"".join(one["vector"] for one in chunk), "<f4").reshape(len(chunk), len(self._inputs))
        entities = [
            [view and view["entity"] for view in of_view]
            for of_view in zip(*(one["views"] for one in chunk), strict=True)
        ]
        known = [max((v["as_of"] for v in one["views"] if v), default=one["event_time"]) for one in chunk]
        times, scored = [one["event_time"] for one in chunk], [one["scored_at"] for one in chunk]
        return [numbers, ids, times, known, *position, scored, *entities, *_vector_columns(matrix), *decisions]


@contextmanager
def _writer(file: Path, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    with pq.ParquetWriter(file, schema, compression="zstd", compression_level=1) as writer:
        yield writer


def _batch(schema: pa.Schema, columns: Sequence[Any]) -> pa.RecordBatch:
    arrays = [
        values if isinstance(values, pa.Array) else pa.array(values, type=of.type)
        for values, of in zip(columns, schema, strict=True)
    ]
    return pa.record_batch(arrays, schema=schema)


def _vector_columns(matrix: NDArray[np.float32]) -> list[pa.Array]:
    """The columns of a matrix; NaN, which is null in vectors, becomes null."""
    return [pa.array(np.ascontiguousarray(matrix[:, place]), from_pandas=True) for place in range(matrix.shape[1])]


def _integers(batch: pa.RecordBatch, name: str) -> NDArray[np.int64]:
    """The values of a column; null is before all times."""
    values: NDArray[np.int64] = batch.column(name).cast("int64").fill_null(_BEFORE_ALL).to_numpy(zero_copy_only=False)
    return values


def _known_at(times: NDArray[np.int64], as_of: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    if not as_of:
        return times
    latest = np.max(as_of, axis=0)
    return np.where(latest == _BEFORE_ALL, times, latest)


def _running_greatest(ts: NDArray[np.int64], part: NDArray[np.int64], newest: dict[int, int]) -> NDArray[np.int64]:
    """The greatest Kafka timestamp of each partition so far; ``newest`` has those of earlier batches, and is kept."""
    found = np.empty_like(ts)
    for partition in np.unique(part).tolist():
        rows = part == partition
        found[rows] = np.maximum(np.maximum.accumulate(ts[rows]), newest.get(partition, _BEFORE_ALL))
        newest[partition] = int(found[rows][-1])
    return found
