"""What was served for past events, and further columns of their feature records, by offset."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

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
    others: FloatArray | None = None

    @classmethod
    def of(cls, prediction: Mapping[str, Any], others: FloatArray | None = None) -> Served:
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


@dataclass(frozen=True)
class ServedTable:
    """What was served for the events of one partition, by their offsets in the source's topic."""

    found: Mapping[int, Served]

    @classmethod
    def of(
        cls,
        project: Project,
        topics: Topics,
        partition: int,
        ranges: Mapping[int, Range],
        is_wanted: Callable[[int], bool],
    ) -> ServedTable:
        """By the partition's predictions of the pipeline's models; nothing if it is not in ``ranges``.

        Of two predictions of one event, the first counts. ``is_wanted`` says whether the event of a time (epoch ms) is
        wanted.
        """
        found: dict[int, Served] = {}
        first, end = ranges.get(partition, (0, 0))
        if first >= end:
            return cls(found)
        pipeline, decoder = project.pipeline, record_decoder("prediction")
        places, ids = places_of(pipeline.model.inputs), {other.id for other in project.other_views}
        width = len(pipeline.model.inputs)
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
                others = vector[places]
            found.setdefault(value["source"]["offset"], Served.of(value, others))
        return cls(found)

    def at(self, offsets: NDArray[np.int64]) -> list[Served]:
        """What was served for the events at these offsets."""
        return [self.found.get(offset, NOT_SERVED) for offset in offsets.tolist()]


@dataclass
class ColumnValues:
    """The values of one column of feature records, by offset of the record."""

    by_offset: dict[int, Any] = field(default_factory=dict)

    def at(self, offsets: Sequence[int]) -> list[Any]:
        """The values at these offsets; None where there is no record."""
        return [self.by_offset.get(offset) for offset in offsets]


def columns_of(
    project: Project,
    topics: Topics,
    partition: int,
    ranges: Mapping[int, Range],
    names: Sequence[str],
    is_wanted: Callable[[int], bool],
) -> dict[str, ColumnValues]:
    """Columns of the feature records of one partition, ``event.<column>`` or ``<view>.<feature>``.

    Args:
        project: The pipeline.
        topics: Its topics.
        partition: The partition.
        ranges: What is read of the features topic, by partition.
        names: The columns.
        is_wanted: Whether the event of a time (epoch ms) is wanted.
    """
    found = {name: ColumnValues() for name in names}
    first, end = ranges.get(partition, (0, 0))
    if not names or first >= end:
        return found
    decoder, topic = project.features_decoder(), project.pipeline.features_topic
    paths = [(name, *name.partition(".")[::2]) for name in names]
    texts: dict[str, str] = {}
    for record in topics.read(topic, start={partition: first}, end={partition: end}):
        try:
            value = decoder.decode(record.value or b"")
        except (Undecodable, UnknownSchema):
            continue  # the scorer has made a dead letter of it
        if value["trigger"] == TIMER or not is_wanted(value["event_time"]):
            continue
        for name, scope, column in paths:
            part = value[scope]
            one = None if part is None else part[column]
            # Most texts come again and again: each is kept once.
            found[name].by_offset[record.offset] = texts.setdefault(one, one) if isinstance(one, str) else one
    return found
