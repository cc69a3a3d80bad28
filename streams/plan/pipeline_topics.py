"""The topics of a pipeline, derived from its definition.

Raw, feature and prediction topics have the same number of partitions, and a record keeps its partition number in all
of them. So the order of an entity's events, and the state of what is scored, never cross partitions.
"""

from __future__ import annotations

from penstock.kafka.names import Topic, dead_letters_of
from streams.definitions.pipeline import Pipeline

# A dead letter has the refused event verbatim, and one reason to refuse an event is that it is too large.
_DEAD_LETTER_MAX_BYTES = 32 * 1024 * 1024
# A consumer that takes over a partition reads its whole state topic, so overwritten states must be compacted soon.
# Kafka does not compact the active segment, by default of 1 GiB.
_LATEST_STATE = {
    "cleanup.policy": "compact",
    "segment.bytes": str(16 * 1024 * 1024),
    "min.cleanable.dirty.ratio": "0.2",
}


def pipeline_topics(pipeline: Pipeline) -> list[Topic]:
    """All topics that the pipeline reads or writes."""
    partitions = pipeline.source.partitions
    dead_letters = {"max.message.bytes": str(_DEAD_LETTER_MAX_BYTES)}
    topics = []
    for source in pipeline.sources:
        topics += [Topic(source.topic, partitions), Topic(source.dead_letter_topic, partitions, dead_letters)]
    for published in (pipeline.features_topic, pipeline.predictions_topic):
        topics += [Topic(published, partitions), Topic(dead_letters_of(published), partitions, dead_letters)]
    if pipeline.labels is not None:
        topics.append(Topic(pipeline.labels.topic, partitions))
    if pipeline.monitors is not None:
        topics += [
            Topic(pipeline.drift_topic, partitions),
            Topic(pipeline.drift_state_topic, partitions, _LATEST_STATE),
        ]
    return topics
