"""The lag of each consumer of a pipeline, by the name in its consumer group."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.kafka.access import KafkaAccess
from penstock.kafka.lag import Lag
from penstock.kafka.names import group_of
from streams.definitions.pipeline import Pipeline

# The job commits its position at each checkpoint, when the output of all that it has read is on the features topic.
JOB = "features"
SCORER, REDIS, CASSANDRA, DRIFT = "scorer", "sink-redis", "sink-cassandra", "drift"


class Consumers:
    """Measures the feature job and every consumer that was reported as :meth:`started`."""

    def __init__(self, pipeline: Pipeline, kafka: KafkaAccess) -> None:
        self._pipeline = pipeline.name
        self._lag = Lag(kafka)
        self._features, self._predictions = pipeline.features_topic, pipeline.predictions_topic
        both = (self._features, self._predictions)
        self._reads = {
            JOB: (pipeline.source.topic,),
            SCORER: (self._features,),
            REDIS: (self._features,),
            CASSANDRA: both,
            DRIFT: both,
        }
        self._started = [JOB]

    def started(self, *names: str) -> None:
        """Report that these consumers run from now on."""
        self._started += names

    def lags(self) -> dict[str, int]:
        """The lag in records of each running consumer, in the order of their start."""
        ends = {
            topic: self._lag.end_offsets(topic) for topic in {t for name in self._started for t in self._reads[name]}
        }
        return {
            name: sum(self._behind(name, topic, ends[topic]) for topic in self._reads[name]) for name in self._started
        }

    def behind(self, names: Sequence[str]) -> int:
        """The total lag of these consumers in records."""
        return sum(
            self._behind(name, topic, self._lag.end_offsets(topic)) for name in names for topic in self._reads[name]
        )

    def features(self) -> int:
        """The number of records on the features topic."""
        return sum(self._lag.end_offsets(self._features).values())

    def close(self) -> None:
        """Disconnect."""
        self._lag.close()

    def _behind(self, name: str, topic: str, ends: dict[int, int]) -> int:
        committed = self._lag.committed_offsets(group_of(self._pipeline, name), topic)
        # A transactional topic ends in a commit marker, which is not a record.
        markers = 1 if topic == self._predictions else 0
        return sum(max(0, end - committed.get(partition, 0) - markers) for partition, end in ends.items())
