"""The topics of a pipeline, derived from its definition.

Raw, feature and prediction topics have the same number of partitions, and a record keeps its partition number in all
of them. So the order of an entity's events, and the state of what is scored, never cross partitions.
"""

from __future__ import annotations

from collections.abc import Mapping

from penstock.kafka.names import Topic, dead_letters_of
from schemas.contract import contract_fields
from streams.definitions.pipeline import Pipeline

# A dead letter has the refused event verbatim, and one reason to refuse an event is that it is too large.
_DEAD_LETTER_MAX_BYTES = 32 * 1024 * 1024
# A feature record repeats values of its event, once for each feature and column that carries them, and a prediction
# repeats the event id. What is still too long becomes a dead letter.
_FEATURES_MAX_BYTES = 8 * 1024 * 1024
_EVENTS_PER_RECORD = 4
# The headers of a dead letter.
_HEADER_BYTES = 64 * 1024
# What data quality counts of a column of a partition: hashes of 2,000 new values; and for each of nine producers 20 new
# texts, four numbers of each of four checks, by name, and at least so many bits, of which base64 makes a sixth in
# bytes.
_HASHES_BYTES, _PRODUCERS, _TEXTS_BYTES, _NUMBERS, _NUMBER_BYTES = 2_000 * 40, 9, 20 * 288, 16, 40
_LEAST_BITS = 1_024
# Of a record of a window, ten windows' ids of 24 bits each, as base64.
_IDS_BYTES = 40
# What was usual has up to 1,000 values of each category in full.
_QUALITY_MAX_BYTES = 8 * 1024 * 1024
# A consumer that takes over a partition reads its whole state topic, so overwritten states must be compacted soon.
# Kafka does not compact the active segment, by default of 1 GiB.
_LATEST_STATE = {
    "cleanup.policy": "compact",
    "segment.bytes": str(16 * 1024 * 1024),
    "min.cleanable.dirty.ratio": "0.2",
}
# What served whom can be told as long as predictions are kept, and afterwards.
_FOR_EVER = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}


def pipeline_topics(pipeline: Pipeline) -> list[Topic]:
    """All topics that the pipeline reads or writes."""
    partitions = pipeline.source.partitions
    # The broker's clock shows when the job refused an event (docs/decisions/0006-clock-guard.md).
    dead_letters = {"max.message.bytes": str(_DEAD_LETTER_MAX_BYTES), "message.timestamp.type": "LogAppendTime"}
    topics = []
    for source in pipeline.sources:
        topics += [Topic(source.topic, partitions), Topic(source.dead_letter_topic, partitions, dead_letters)]
    references = {lookup.topic: lookup.partitions for lookup in reversed(pipeline.lookups)}
    topics += [Topic(topic, of, {"cleanup.policy": "compact"}) for topic, of in references.items()]
    features_bytes = max(_FEATURES_MAX_BYTES, _EVENTS_PER_RECORD * _longest_event(pipeline))
    for published, most in (
        (pipeline.features_topic, features_bytes),
        (pipeline.predictions_topic, 2 * features_bytes),
    ):
        letters = {"max.message.bytes": str(max(_DEAD_LETTER_MAX_BYTES, most + _HEADER_BYTES))}
        topics += [
            Topic(published, partitions, {"max.message.bytes": str(most)}),
            Topic(dead_letters_of(published), partitions, letters),
        ]
    predictions = {"max.message.bytes": str(2 * features_bytes)}
    topics += [
        Topic(pipeline.shadow_topic, partitions, predictions),
        Topic(pipeline.corrections_topic, partitions, predictions),
        Topic(pipeline.rollout_topic, 1, _LATEST_STATE),
        Topic(pipeline.rollout_log_topic, 1, _FOR_EVER),
        Topic(pipeline.rollout_state_topic, 1, _LATEST_STATE),
        Topic(pipeline.incidents_topic, 1, _FOR_EVER),
        Topic(pipeline.retrain_topic, 1, _FOR_EVER),
    ]
    if pipeline.labels is not None:
        topics.append(Topic(pipeline.review_topic, 1, _FOR_EVER))
        topics += [
            *(Topic(topic, partitions) for topic in pipeline.labels.topics),
            Topic(pipeline.quality_topic, 1, _LATEST_STATE),
            Topic(pipeline.quality_state_topic, 1, _LATEST_STATE),
        ]
    if pipeline.monitors is not None:
        topics += [
            Topic(pipeline.drift_topic, partitions),
            Topic(pipeline.drift_state_topic, partitions, _LATEST_STATE),
        ]
        if pipeline.monitors.data_quality is not None:
            topic = pipeline.data_quality_topic
            room = max(_QUALITY_MAX_BYTES, room_of_data_quality(pipeline)[topic])
            topics.append(Topic(topic, 1, _LATEST_STATE | {"max.message.bytes": str(room)}))
    return topics


def room_of_job(pipeline: Pipeline, largest: Mapping[str, int]) -> dict[str, int]:
    """The bytes that each topic to which the job writes must take; ``largest`` is what its topics take now.

    A letter has the record verbatim; a feature record has at least what its event has.
    """
    room = {source.dead_letter_topic: largest[source.topic] + _HEADER_BYTES for source in pipeline.sources}
    features = pipeline.features_topic
    return room | {
        features: _longest_event(pipeline),
        dead_letters_of(features): largest[features] + _HEADER_BYTES,
    }


def _longest_event(pipeline: Pipeline) -> int:
    """The bytes of the longest event that gives a feature record."""
    return max(source.max_bytes for source in pipeline.sources if source.triggers)


def room_of_scorer(pipeline: Pipeline, largest: Mapping[str, int]) -> dict[str, int]:
    """The bytes that each topic to which the scorer writes must take; ``largest`` is what its topics take now."""
    features, predictions = pipeline.features_topic, pipeline.predictions_topic
    longest = max(largest[features], largest[predictions])
    return {predictions: largest[features], dead_letters_of(predictions): longest + _HEADER_BYTES}


def room_of_data_quality(pipeline: Pipeline) -> dict[str, int]:
    """The bytes that the topic of data quality must take: what is counted of a partition, at most; none without it."""
    monitors = pipeline.monitors
    if monitors is None or monitors.data_quality is None:
        return {}
    contracts = [contract_fields(source.contract) for source in pipeline.sources]
    columns, longest = max(map(len, contracts)), max(len(field.name) for fields in contracts for field in fields)
    bits = max(_LEAST_BITS, 1 << (monitors.window - 1).bit_length())
    of_producer = _TEXTS_BYTES + (_NUMBERS + 2) * (longest + _NUMBER_BYTES) + bits // 5
    of_column = _HASHES_BYTES + _PRODUCERS * of_producer
    return {pipeline.data_quality_topic: _HEADER_BYTES + columns * of_column + monitors.window * _IDS_BYTES}
