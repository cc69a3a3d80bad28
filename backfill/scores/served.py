"""What was served for past events, and further columns of their feature records, by offset."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from backfill.scores.places import place_numbers, scored_topics
from backfill.scores.spilled import Spilled
from backfill.served_inputs import places_of
from backfill.topic_reading import Range, Topics
from schemas.codec import Undecodable, UnknownSchema
from schemas.history import record_decoder
from schemas.records import TIMER
from scoring.vectors import FloatArray
from streams.plan.project import Project

_log = logging.getLogger(__name__)


class Served(NamedTuple):
    """What was served for an event.

    Args:
        score: The score; None without a prediction.
        decision: The decision; None without a prediction.
        version: The version of the model that decided.
        forced: Whether an exploration slice has forced the decision, whatever the score.
        others: The inputs of other pipelines, if they were asked for.
    """

    score: float | None
    decision: str | None
    version: str | None
    forced: bool
    others: FloatArray | Sequence[float] | None = None

    @classmethod
    def of(cls, prediction: Mapping[str, Any], others: Sequence[float] | None = None) -> Served:
        """By a decoded prediction."""
        rollout = prediction["rollout"]
        return cls(
            prediction["score"],
            prediction["decision"],
            prediction["model_version"],
            rollout is not None and rollout["explored"],
            others,
        )


NOT_SERVED = Served(None, None, None, forced=False)


class ServedTable(Spilled[int]):
    """What was served for the events of one partition, by their :func:`place_numbers`. A context manager."""

    @classmethod
    def of_partition(
        cls,
        project: Project,
        topics: Topics,
        partition: int,
        ranges: Mapping[int, Range],
        is_wanted: Callable[[int], bool],
        folder: Path,
    ) -> Self:
        """By the partition's predictions of the pipeline's models; nothing if it is not in ``ranges``.

        Of two predictions of one event, the first counts. ``is_wanted`` says whether the event of a time (epoch ms) is
        wanted. ``folder`` has room for what does not fit into memory.
        """
        found = cls(folder)
        found.add(_predictions(project, topics, partition, ranges, is_wanted))
        return found

    def at(self, places: Sequence[int]) -> list[Served]:
        """What was served for the events with these numbers."""
        found = self.of(places)
        return [_served(found[place][0]) if place in found else NOT_SERVED for place in places]


def _predictions(
    project: Project, topics: Topics, partition: int, ranges: Mapping[int, Range], is_wanted: Callable[[int], bool]
) -> Iterator[tuple[int, Served]]:
    first, end = ranges.get(partition, (0, 0))
    if first >= end:
        return
    pipeline, decoder = project.pipeline, record_decoder("prediction")
    places, ids = places_of(pipeline.model.inputs), {other.id for other in project.other_views}
    width, scored = len(pipeline.model.inputs), scored_topics(project.plan)
    for record in topics.read(pipeline.predictions_topic, start={partition: first}, end={partition: end}):
        try:
            value = decoder.decode(record.value or b"")
        except (Undecodable, UnknownSchema) as error:
            _log.warning("passed over, as it is no prediction: %s", error)
            continue
        if not is_wanted(value["event_time"]):
            continue
        others = None
        if len(places):
            vector = np.frombuffer(value["vector"], "<f4")
            of_others = {view["view"] for view in value["views"] if ":" in view["view"]}
            if len(vector) != width or value["model"] not in pipeline.model.names or not of_others <= ids:
                continue  # of another definition
            others = vector[places].tolist()
        source = value["source"]
        if scored and source["topic"] not in scored:
            continue
        of = [source["topic"]] if scored else None
        yield place_numbers(scored, of, [source["offset"]])[0], Served.of(value, others)


def _served(value: list[Any]) -> Served:
    """What was kept."""
    score, decision, version, forced, others = value
    return Served(score, decision, version, forced, None if others is None else np.array(others, np.float32))


class ColumnValues(Spilled[int]):
    """Columns of the feature records of one partition, by their offsets. A context manager."""

    @classmethod
    def of_partition(
        cls,
        project: Project,
        topics: Topics,
        partition: int,
        ranges: Mapping[int, Range],
        names: Sequence[str],
        is_wanted: Callable[[int], bool],
        folder: Path,
    ) -> Self:
        """Read them.

        Args:
            project: The pipeline.
            topics: Its topics.
            partition: The partition.
            ranges: What is read of the features topic, by partition.
            names: The columns, ``event.<column>`` or ``<view>.<feature>``.
            is_wanted: Whether the event of a time (epoch ms) is wanted.
            folder: Has room for what does not fit into memory.
        """
        found = cls(folder)
        if names:
            found.add(_records(project, topics, partition, ranges, names, is_wanted))
        return found

    def at(self, offsets: Sequence[int], names: Sequence[str]) -> dict[str, list[Any]]:
        """The values of the columns, of these names, at these offsets; None where there is no record."""
        found, missing = self.of(offsets) if names else {}, [[None] * len(names)]
        rows = [found.get(offset, missing)[-1] for offset in offsets]
        return {name: [row[place] for row in rows] for place, name in enumerate(names)}


def _records(
    project: Project,
    topics: Topics,
    partition: int,
    ranges: Mapping[int, Range],
    names: Sequence[str],
    is_wanted: Callable[[int], bool],
) -> Iterator[tuple[int, list[Any]]]:
    first, end = ranges.get(partition, (0, 0))
    if first >= end:
        return
    decoder, topic = project.features_decoder(), project.pipeline.features_topic
    paths = [name.partition(".")[::2] for name in names]
    for record in topics.read(topic, start={partition: first}, end={partition: end}):
        try:
            value = decoder.decode(record.value or b"")
        except (Undecodable, UnknownSchema):
            continue  # the scorer has made a dead letter of it
        if value["trigger"] != TIMER and is_wanted(value["event_time"]):
            parts = ((value[scope], column) for scope, column in paths)
            yield record.offset, [None if part is None else part[column] for part, column in parts]
