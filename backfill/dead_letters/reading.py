"""Reads dead-letter topics, and how far their lanes are replayed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field

from confluent_kafka import Consumer, KafkaException, TopicPartition

from backfill.dead_letters.lanes import Lane, LaneSummary, Place, PlacedLetter, Way, letter_topics
from penstock.errors import PenstockError
from penstock.kafka.access import QUIET, KafkaAccess
from penstock.kafka.lag import committed_of
from penstock.kafka.reading import Record, read_topic
from schemas.dead_letters import DeadLetter
from streams.definitions.pipeline import Pipeline

_TIMEOUT_S = 15.0


@dataclass
class Found:
    """The letters of a pipeline by lane, and the places of records that are no letters."""

    lanes: dict[Lane, LaneSummary] = field(default_factory=lambda: defaultdict(LaneSummary))
    not_letters: list[Place] = field(default_factory=list)


def find_letters(pipeline: Pipeline, kafka: KafkaAccess) -> Found:
    """Count the letters in all dead-letter topics of the pipeline.

    Raises:
        PenstockError: if a topic does not exist or cannot be read.
    """
    found = Found()
    progress: dict[Lane, Mapping[int, int]] = {}
    for topic in letter_topics(pipeline):
        for record in read_topic(kafka, topic):
            placed = placed_letter(topic, record)
            if isinstance(placed, Place):
                found.not_letters.append(placed)
            elif placed.letter.pipeline in (pipeline.name, None):
                lane = Lane.of(placed)
                if lane not in progress:
                    progress[lane] = (
                        {}
                        if lane.way(pipeline) is Way.NONE
                        else replayed_until(kafka, lane.group(pipeline.name), topic)
                    )
                replayed = placed.place.offset < progress[lane].get(placed.place.partition, 0)
                found.lanes[lane].add(placed, replayed=replayed)
    return found


def present_ends(kafka: KafkaAccess, topics: Iterable[str]) -> dict[str, dict[int, int]]:
    """The present end of each partition of the topics, letters of transactions that are still open included.

    Raises:
        PenstockError: if Kafka does not answer.
    """
    with closing(lane_consumer(kafka, "penstock-dlq-ends")) as consumer:
        try:
            return {
                topic: {
                    number: consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=_TIMEOUT_S)[1]
                    for number in consumer.list_topics(topic, timeout=_TIMEOUT_S).topics[topic].partitions
                }
                for topic in topics
            }
        except KafkaException as error:
            raise PenstockError(
                f"the end of the letters cannot be read: {error.args[0].str()}",
                where=str(kafka),
                safe="nothing was replayed",
                next="penstock status",
            ) from error


def read_lane(
    kafka: KafkaAccess, pipeline: str, lane: Lane, partition: int, offsets: tuple[int, int]
) -> Iterator[PlacedLetter]:
    """The letters of a lane in one partition, from the first offset to the one before the second."""
    start, end = offsets
    for record in read_topic(kafka, lane.topic, start={partition: start}, end={partition: end}):
        placed = placed_letter(lane.topic, record)
        if not isinstance(placed, Place) and Lane.of(placed) == lane and placed.letter.pipeline in (pipeline, None):
            yield placed


def read_letter_at(kafka: KafkaAccess, place: Place) -> PlacedLetter:
    """One letter.

    Raises:
        PenstockError: if there is none at this place.
    """
    partition, offset = place.partition, place.offset
    for record in read_topic(kafka, place.topic, start={partition: offset}, end={partition: offset + 1}):
        placed = placed_letter(place.topic, record)
        if not isinstance(placed, Place):
            return placed
    raise PenstockError(f"there is no dead letter at {place}", where=str(kafka), next="penstock dlq list PIPELINE")


def placed_letter(topic: str, record: Record) -> PlacedLetter | Place:
    """The letter in a record; its place, if the record is no letter."""
    place = Place(topic, record.partition, record.offset)
    try:
        letter = DeadLetter.read(record.key, record.value, record.headers)
    except ValueError:
        return place
    return PlacedLetter(place, record.timestamp, letter)


def replayed_until(kafka: KafkaAccess, group: str, topic: str) -> dict[int, int]:
    """The offset of each partition up to which a lane is replayed, or at which the topic begins.

    Raises:
        PenstockError: if Kafka does not answer.
    """
    with closing(lane_consumer(kafka, group)) as consumer:
        try:
            committed = committed_offsets(consumer, topic)
            first = {one.partition: consumer.get_watermark_offsets(one, timeout=_TIMEOUT_S)[0] for one in committed}
        except KafkaException as error:
            raise PenstockError(
                f"the progress of the replay cannot be read: {error.args[0].str()}",
                where=f"group {group} at {kafka}",
                safe="nothing was replayed",
                next="penstock status",
            ) from error
    return {one.partition: max(one.offset, first[one.partition]) for one in committed}


def committed_offsets(consumer: Consumer, topic: str) -> list[TopicPartition]:
    """What the consumer's group has committed of each partition of a topic; a negative offset says nothing.

    Raises:
        KafkaException: if Kafka does not answer, or has no answer for a partition.
    """
    partitions = consumer.list_topics(topic, timeout=_TIMEOUT_S).topics[topic].partitions
    return committed_of(consumer, [TopicPartition(topic, number) for number in partitions], _TIMEOUT_S)


def lane_consumer(kafka: KafkaAccess, group: str) -> Consumer:
    """A consumer that asks for the group's offsets and never joins it."""
    # An open transaction, as of a replay that was killed, is left out: the next replay aborts it before it asks.
    return Consumer({**kafka.client(), **QUIET, "group.id": group, "isolation.level": "read_uncommitted"})
