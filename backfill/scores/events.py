"""Events to be scored, with their vectors: as they were served, or as a backfill has computed them anew.

*As served* means by the predictions topic: a prediction has the vector that its model was given, with the inputs of
other pipelines. *Anew* means by a backfill's rows. These lack the inputs of other pipelines: an event with a prediction
has those that it was served with, any other the declared defaults, and is marked.

Every event comes once, in an order that does not depend on where reading began.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from backfill.parquet import Backfill
from backfill.scores.places import TOPIC, place_numbers, scored_topics
from backfill.scores.served import NOT_SERVED, ColumnValues, Served, ServedTable
from backfill.served_inputs import defaults_of, places_of
from backfill.topic_reading import Range, Topics
from backfill.training_parquet import VectorReader
from penstock.errors import PenstockError
from penstock.kafka.reading import Record
from schemas.codec import Undecodable, UnknownSchema
from schemas.columns import Integers, Mask
from schemas.history import record_decoder
from scoring.vectors import FloatArray
from streams.definitions.other_inputs import is_other
from streams.plan.project import Project

_log = logging.getLogger(__name__)

CHUNK = 20_000
"""How many records are read, scored and written at once."""


@dataclass(frozen=True)
class Events:
    """n events of one partition of the source.

    Args:
        ids: (n) Their ids.
        times: (n,) Their event times, epoch ms.
        offsets: (n,) Their offsets in the source's topic.
        entities: (n) The entity of the pipeline's first view; None where there is none.
        vectors: (n, inputs) The model's inputs.
        defaulted: (n,) Where inputs of other pipelines are declared defaults although the event was not served so.
        served: (n) What was served.
        columns: (n) The values of further columns, by name.
        next: Where the events after these begin.
        topics: (n) Their topics, where the events of several are scored; else None.
    """

    ids: list[str]
    times: Integers
    offsets: Integers
    entities: list[str | None]
    vectors: FloatArray
    defaulted: Mask
    served: list[Served]
    columns: Mapping[str, list[Any]]
    next: int
    topics: list[str] | None = None

    def __len__(self) -> int:
        return len(self.ids)


class EventSource(Protocol):
    """Where events come from."""

    def partitions(self) -> Sequence[int]:
        """The partitions of the source that may have events."""

    def events(self, partition: int, start: int) -> Iterator[Events]:
        """The events of a partition from a place on: its beginning is 0, others are those that ``Events.next`` told."""


@dataclass(frozen=True)
class ServedEvents:
    """The events of the predictions topic whose time is in a range, with the vectors that they were served with.

    Args:
        project: The pipeline.
        topics: Its topics.
        ranges: What is read of the predictions topic, by partition.
        feature_ranges: What is read of the features topic; empty if no columns are wanted.
        from_ms: The first event time.
        to_ms: The first event time after the range.
        columns: The columns of feature records that each event gets; null where Kafka has deleted the record.
        check: Raises PenstockError if the vectors of a model's version (by name and number) are none of the present
            definition.
        folder: Has room for columns that do not fit into memory.
    """

    project: Project
    topics: Topics
    ranges: Mapping[int, Range]
    feature_ranges: Mapping[int, Range]
    from_ms: int
    to_ms: int
    columns: tuple[str, ...]
    check: Callable[[str, str], None]
    folder: Path

    def partitions(self) -> list[int]:
        """See :class:`EventSource`."""
        return sorted(self.ranges)

    def events(self, partition: int, start: int) -> Iterator[Events]:
        """See :class:`EventSource`; places are offsets of the predictions topic."""
        first, end = self.ranges[partition]
        first = max(first, start)
        if first >= end:
            return
        topic, width = self.project.pipeline.predictions_topic, len(self.project.pipeline.model.inputs)
        check = cache(self.check)
        records = self.topics.read(topic, start={partition: first}, end={partition: end})
        scope = self.project, self.topics, partition, self.feature_ranges, self.columns, self._is_wanted, self.folder
        with ColumnValues.of_partition(*scope) as columns:
            while chunk := list(islice(records, CHUNK)):
                says = self._wanted(chunk, check)
                has_topic = bool(scored_topics(self.project.plan))
                yield Events(
                    [one["event_id"] for one in says],
                    np.array([one["event_time"] for one in says], np.int64),
                    np.array([one["source"]["offset"] for one in says], np.int64),
                    [one["entity"] for one in says],
                    np.frombuffer(b"".join(one["vector"] for one in says), "<f4").reshape(len(says), width),
                    np.zeros(len(says), np.bool_),
                    [Served.of(one) for one in says],
                    columns.at([one["features_offset"] for one in says], self.columns),
                    chunk[-1].offset + 1,
                    [one["source"]["topic"] for one in says] if has_topic else None,
                )

    def _wanted(self, chunk: Sequence[Record], check: Callable[[str, str], None]) -> list[dict[str, Any]]:
        """The predictions of the range among some records."""
        topic, decoder = self.project.pipeline.predictions_topic, record_decoder("prediction")
        width, says, topics = len(self.project.pipeline.model.inputs), [], scored_topics(self.project.plan)
        for record in chunk:
            where = f"{topic}[{record.partition}]@{record.offset}"
            try:
                value = decoder.decode(record.value or b"", where)
            except (Undecodable, UnknownSchema) as error:
                _log.warning("passed over, as it is no prediction: %s", error)
                continue
            if not self._is_wanted(value["event_time"]):
                continue
            if not value["model_version"].isdecimal():
                version = value["model_version"]
                _log.warning("passed over, as its model version %r is no number: the prediction %s", version, where)
                continue
            if topics and value["source"]["topic"] not in topics:
                _log.warning("passed over, as %s is not scored: the prediction %s", value["source"]["topic"], where)
                continue
            check(value["model"], value["model_version"])
            if len(value["vector"]) != 4 * width:
                raise PenstockError(
                    f"the prediction has {len(value['vector']) // 4} inputs, and the model takes {width}",
                    where=where,
                    safe="what was written stays",
                    next="score recomputed features instead: --backfill FOLDER",
                )
            says.append(value)
        return says

    def _is_wanted(self, time_ms: int) -> bool:
        return self.from_ms <= time_ms < self.to_ms


@dataclass(frozen=True)
class RecomputedEvents:
    """The events of a backfill whose time is in a range, with the vectors that it has computed.

    Args:
        project: The pipeline.
        backfill: The backfill, which fits the pipeline.
        topics: Its topics.
        ranges: What is read of the predictions topic, by partition; empty if nothing of what was served is wanted.
        from_ms: The first event time.
        to_ms: The first event time after the range.
        columns: The columns of the backfill that each event gets.
        folder: Has room for what was served that does not fit into memory.
    """

    project: Project
    backfill: Backfill
    topics: Topics
    ranges: Mapping[int, Range]
    from_ms: int
    to_ms: int
    columns: tuple[str, ...]
    folder: Path

    def partitions(self) -> list[int]:
        """See :class:`EventSource`."""
        return sorted({part.partition for part in self.backfill.manifest.parts})

    def events(self, partition: int, start: int) -> Iterator[Events]:
        """See :class:`EventSource`; places are row numbers of the partition."""
        pipeline = self.project.pipeline
        inputs, others = pipeline.model.inputs, places_of(pipeline.model.inputs)
        entity = f"{pipeline.views[0].name}.entity"
        has_entity = entity in self.backfill.columns()
        names = ["event_id", "event_time", "source.offset", *([entity] if has_entity else [])]
        names += [name for name in inputs if not is_other(name)]
        names += self.columns
        topics = scored_topics(self.project.plan)
        names += [TOPIC] if topics else []
        reader = VectorReader(inputs, pipeline.categories, defaults_of(self.project))
        scope = self.project, self.topics, partition, self.ranges, self._is_wanted, self.folder
        with ServedTable.of_partition(*scope) as served:
            place = 0
            for batch in self.backfill.batches(list(dict.fromkeys(names)), partition=partition):
                place += batch.num_rows
                if place <= start:
                    continue
                if place - batch.num_rows < start:
                    raise PenstockError(
                        "the backfill is not the one that this scoring began with",
                        where=str(self.backfill.folder),
                        safe="what was written stays",
                        next="give another folder with --out",
                    )
                times = batch.column("event_time").cast("int64").to_pylist()
                rows = batch.filter(pa.array(map(self._is_wanted, times), pa.bool_()))
                offsets = rows.column("source.offset").to_numpy()
                vectors = reader.vectors(rows)
                of = rows.column(TOPIC).to_pylist() if topics else None
                known = served.at(place_numbers(topics, of, offsets.tolist()))
                is_served = np.array([one is not NOT_SERVED for one in known], np.bool_)
                if len(others):
                    for row in np.flatnonzero(is_served).tolist():
                        vectors[row, others] = known[row].others
                yield Events(
                    rows.column("event_id").to_pylist(),
                    rows.column("event_time").cast("int64").to_numpy(),
                    offsets,
                    rows.column(entity).to_pylist() if has_entity else [None] * len(rows),
                    vectors,
                    ~is_served if len(others) else np.zeros(len(rows), np.bool_),
                    known,
                    {name: rows.column(name).to_pylist() for name in self.columns},
                    place,
                    of,
                )

    def _is_wanted(self, time_ms: int) -> bool:
        return self.from_ms <= time_ms < self.to_ms
