"""What the topics of a pipeline take fits what is written to them."""

from __future__ import annotations

import pytest

from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from penstock.kafka.topics import require_room
from streams.definitions.pipeline import Pipeline
from streams.plan.pipeline_topics import pipeline_topics, room_of_job, room_of_scorer
from tests.sinks.payments import payments

KAFKA = KafkaAccess(bootstrap="broker:9092")
BY_DEFAULT = 1_048_588


def largest(pipeline: Pipeline) -> dict[str, int]:
    """What the topics take once they are made on a broker with Kafka's defaults."""
    return {topic.name: int(topic.config.get("max.message.bytes", BY_DEFAULT)) for topic in pipeline_topics(pipeline)}


def of_events(max_bytes: int) -> Pipeline:
    pipeline = payments("pay")
    return pipeline.model_copy(update={"source": pipeline.source.model_copy(update={"max_bytes": max_bytes})})


@pytest.mark.parametrize("max_bytes", [1_000, 1_048_576, 20_000_000, 100_000_000])
def test_the_topics_that_are_made_fit_each_other(max_bytes: int) -> None:
    pipeline = of_events(max_bytes)
    takes = largest(pipeline)
    require_room(room_of_job(pipeline, takes), takes, KAFKA)
    require_room(room_of_scorer(pipeline, takes), takes, KAFKA)
    assert takes[pipeline.features_topic] >= 4 * max_bytes


def test_topics_that_kafka_made_by_its_defaults_take_the_default_events() -> None:
    pipeline = of_events(1_048_576)
    takes = largest(pipeline) | {pipeline.features_topic: BY_DEFAULT, pipeline.predictions_topic: BY_DEFAULT}
    require_room(room_of_job(pipeline, takes), takes, KAFKA)
    require_room(room_of_scorer(pipeline, takes), takes, KAFKA)


@pytest.mark.parametrize("short", ["features", "events", "features.dlq"])
def test_a_topic_of_the_job_that_takes_less_than_may_come_is_refused_with_the_command(short: str) -> None:
    pipeline = of_events(1_048_576)
    topic = {
        "features": pipeline.features_topic,
        "events": pipeline.source.dead_letter_topic,
        "features.dlq": f"{pipeline.features_topic}.dlq",
    }[short]
    takes = largest(pipeline) | {topic: 1_000_000}
    with pytest.raises(PenstockError, match=f"topic {topic} takes messages of 1,000,000 bytes") as refused:
        require_room(room_of_job(pipeline, takes), takes, KAFKA)
    needed = room_of_job(pipeline, takes)[topic]
    assert refused.value.next is not None
    assert f"--entity-name {topic} --add-config max.message.bytes={needed}" in refused.value.next


def test_predictions_topics_that_take_less_than_a_feature_record_are_refused() -> None:
    pipeline = of_events(1_048_576)
    for topic in (pipeline.predictions_topic, f"{pipeline.predictions_topic}.dlq"):
        takes = largest(pipeline) | {topic: 1_000_000}
        with pytest.raises(PenstockError, match=f"topic {topic} takes"):
            require_room(room_of_scorer(pipeline, takes), takes, KAFKA)
