"""Reads the predictions that a bad version has touched, one at a time, and as little else as possible."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from penstock.kafka.access import KafkaAccess
from penstock.kafka.reading import read_topic, starts_at
from penstock.kafka.records import Headers
from schemas.codec import Undecodable, UnknownSchema
from schemas.dead_letters import is_replayed
from schemas.history import record_decoder
from scoring.rollout.touched import Choice, Window
from streams.definitions.pipeline import Pipeline

_log = logging.getLogger(__name__)


class Period(NamedTuple):
    """When predictions were scored, epoch ms: from a time on, and before another."""

    since_ms: int | None = None
    until_ms: int | None = None

    def has(self, time_ms: int) -> bool:
        """Whether a time is in the period."""
        is_early = self.since_ms is not None and time_ms < self.since_ms
        return not is_early and (self.until_ms is None or time_ms < self.until_ms)


@dataclass(frozen=True, slots=True)
class TouchedPrediction:
    """A prediction: where it is on its topic, its Kafka timestamp (epoch ms), and what it says."""

    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    headers: Headers
    bytes: int
    says: dict[str, Any]


class Place(NamedTuple):
    """Where on the predictions topic a window begins; it ``is_cut`` if Kafka may have deleted predictions of it."""

    window: Window
    offset: int
    is_cut: bool


def places_of(kafka: KafkaAccess, pipeline: Pipeline, windows: Sequence[Window], period: Period) -> list[Place]:
    """Where the windows begin.

    Raises:
        PenstockError: if Kafka does not answer.
    """
    times = [(window.partition, max(window.since_ms, period.since_ms or 0)) for window in windows]
    starts = starts_at(kafka, pipeline.predictions_topic, times)
    return [Place(window, *start) for window, start in zip(windows, starts, strict=True)]


def read_touched(
    kafka: KafkaAccess, pipeline: Pipeline, choice: Choice, places: Sequence[Place], period: Period
) -> Iterator[TouchedPrediction]:
    """The predictions of the chosen arms, by partition and offset; each once.

    Args:
        kafka: How to reach Kafka.
        pipeline: The pipeline.
        choice: The arms.
        places: Where to read, by partition, as :func:`places_of` found them.
        period: Only what was scored then.

    Raises:
        PenstockError: if Kafka does not answer, or deletes predictions meanwhile.
    """
    topic, decoder = pipeline.predictions_topic, record_decoder("prediction")
    read_until: dict[int, int] = {}
    for window, first, _ in places:
        partition = window.partition
        start = max(first, read_until.get(partition, 0))
        for record in read_topic(kafka, topic, start={partition: start}):
            try:
                says = decoder.decode(record.value or b"", f"{topic}[{partition}]@{record.offset}")
            except (Undecodable, UnknownSchema) as error:
                _log.warning("passed over, as it is no prediction: %s", error)
                continue
            replayed = is_replayed(record.headers)
            if window.is_over(choice, says, replayed=replayed):
                break
            read_until[partition] = record.offset + 1
            if window.has(choice, says, replayed=replayed) and period.has(says["scored_at"]):
                yield TouchedPrediction(
                    partition,
                    record.offset,
                    record.timestamp,
                    record.key,
                    list(record.headers),
                    len(record.value or b""),
                    says,
                )
