"""Figures of a pipeline's topics: records, rate, who is how far behind, how long records are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from confluent_kafka import KafkaException

from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from penstock.kafka.lag import Lag
from penstock.kafka.names import Topic
from penstock.kafka.reading import starts_at
from penstock.kafka.topics import topic_settings
from penstock.running.figures import Backlog
from penstock.running.group_lag import GroupLags
from penstock.running.parts import groups_of
from streams.definitions.pipeline import Pipeline

RATE_S = 60
_NO_LIMIT = -1


@dataclass(frozen=True)
class TopicFigures:
    """Figures of a topic.

    Args:
        records: The offsets that it holds; with the markers of transactions, which are no records.
        per_second: How many came per second in the last minute, by their Kafka timestamps.
        behind: What each part that reads it has not done yet; of a part that has not begun, that is all of it.
        not_begun: Those of them that have committed nothing.
        retention_ms: How long records are kept; None for ever.
        retention_bytes: How many bytes a partition keeps; None without a limit.
        is_compacted: Whether the newest record of each key stays.
    """

    records: int
    per_second: float
    behind: Mapping[str, Backlog]
    not_begun: tuple[str, ...]
    retention_ms: int | None
    retention_bytes: int | None
    is_compacted: bool


def figures_of(pipeline: Pipeline, topics: Sequence[Topic], kafka: KafkaAccess, now_ms: int) -> dict[str, TopicFigures]:
    """The figures of topics that exist, by name.

    Raises:
        PenstockError: if Kafka does not answer, or does not allow it.
    """
    settings = topic_settings([topic.name for topic in topics], kafka)
    found = {}
    try:
        behind = _behind(pipeline, topics, kafka, now_ms)
        with Lag(kafka, {topic.name: topic.partitions for topic in topics}) as lag:
            for topic in topics:
                earliest, ends = lag.earliest_offsets(topic.name), lag.end_offsets(topic.name)
                begin_ms = now_ms - RATE_S * 1000
                starts = starts_at(kafka, topic.name, [(number, begin_ms) for number in ends])
                new = sum(max(0, end - start.offset) for end, start in zip(ends.values(), starts, strict=True))
                kept = settings[topic.name]
                records = sum(end - earliest[number] for number, end in ends.items())
                readers = [name for name, (_, read) in groups_of(pipeline).items() if topic.name in read]
                begun = {part: backlog for (of, part), backlog in behind.items() if of == topic.name}
                found[topic.name] = TopicFigures(
                    records,
                    new / RATE_S,
                    {part: begun.get(part, Backlog(records, None)) for part in readers},
                    tuple(part for part in readers if part not in begun),
                    _limit(kept, "retention.ms"),
                    _limit(kept, "retention.bytes"),
                    "compact" in kept.get("cleanup.policy", ""),
                )
    except KafkaException as error:
        raise PenstockError(
            f"Kafka does not tell the offsets: {error.args[0].str()}", where=str(kafka), next="penstock status"
        ) from error
    return found


def _behind(
    pipeline: Pipeline, topics: Sequence[Topic], kafka: KafkaAccess, now_ms: int
) -> dict[tuple[str, str], Backlog]:
    """What each part has not done, by topic and part; a part that has committed nothing is left out."""
    known = {topic.name: topic.partitions for topic in topics}
    each = {
        f"{topic} {name}": (group, (topic,))
        for name, (group, read) in groups_of(pipeline).items()
        for topic in read
        if topic in known
    }
    lags = GroupLags(kafka, each, known)
    try:
        return {_pair(name): backlog for name, backlog in lags.measure(now_ms).items()}
    finally:
        lags.close()


def _pair(name: str) -> tuple[str, str]:
    topic, _, part = name.partition(" ")
    return topic, part


def _limit(settings: Mapping[str, str], name: str) -> int | None:
    value = int(settings.get(name) or _NO_LIMIT)
    return None if value < 0 else value
