"""Where the records of topics are read from, in one form for Kafka and for an archive."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from confluent_kafka import KafkaException

from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from penstock.kafka.lag import Lag
from penstock.kafka.reading import Record, read_topic


class ReadTopic(Protocol):
    """Reads a topic, as :func:`penstock.kafka.reading.read_topic` does."""

    def __call__(
        self, topic: str, *, start: Mapping[int, int] | None = None, end: Mapping[int, int] | None = None
    ) -> Iterator[Record]:
        """The records of the partitions in ``start``, or of all, in offset order within each partition."""


Range = tuple[int, int]
"""The first offset that a partition still has, and the end."""


@dataclass(frozen=True)
class Topics:
    """The topics of a pipeline.

    Args:
        read: Reads one.
        ranges: The range of each partition of one, as of now.
    """

    read: ReadTopic
    ranges: Callable[[str], dict[int, Range]]


def topics_in(kafka: KafkaAccess) -> Topics:
    """The topics in Kafka; errors of both calls are PenstockErrors."""

    def ranges(topic: str) -> dict[int, Range]:
        try:
            with Lag(kafka) as lag:
                first, ends = lag.earliest_offsets(topic), lag.end_offsets(topic)
        except KafkaException as error:
            raise PenstockError(
                f"topic {topic} cannot be read: {error.args[0].str()}",
                where=str(kafka),
                safe="nothing was scored or written",
                next="penstock status; penstock topics show PIPELINE",
            ) from error
        if not ends:
            raise PenstockError(
                f"there is no topic {topic}",
                where=str(kafka),
                safe="nothing was scored or written",
                next="penstock topics create PIPELINE, or set PENSTOCK_KAFKA_BOOTSTRAP",
            )
        return {partition: (first[partition], end) for partition, end in ends.items()}

    return Topics(partial(read_topic, kafka), ranges)
