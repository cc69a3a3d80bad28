"""How far each consumer of a pipeline is behind, by the name that its group has."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.kafka.access import KafkaAccess
from penstock.kafka.lag import Lag
from penstock.kafka.names import group_of
from streams.definitions.pipeline import Pipeline

# The job commits its position at each checkpoint, when all that it has read is on the features topic.
JOB = "features"
SCORER, REDIS, CASSANDRA, DRIFT = "scorer", "sink-redis", "sink-cassandra", "drift"


class Consumers:
    """Looks at the consumers that were said to be :meth:`started`; the feature job is from the beginning."""

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
        """These run from now on."""
        self._started += names

    def lags(self) -> dict[str, int]:
        """Records behind, of each that runs, in the order in which they were started."""
        ends = {
            topic: self._lag.end_offsets(topic) for topic in {t for name in self._started for t in self._reads[name]}
        }
        return {
            name: sum(self._behind(name, topic, ends[topic]) for topic in self._reads[name]) for name in self._started
        }

    def behind(self, names: Sequence[str]) -> int:
        """Records that these are behind, together."""
        return sum(
            self._behind(name, topic, self._lag.end_offsets(topic)) for name in names for topic in self._reads[name]
        )

    def features(self) -> int:
        """Records on the features topic."""
        return sum(self._lag.end_offsets(self._features).values())

    def close(self) -> None:
        """Disconnect."""
        self._lag.close()

    def _behind(self, name: str, topic: str, ends: dict[int, int]) -> int:
        committed = self._lag.committed_offsets(group_of(self._pipeline, name), topic)
        # A transactional topic ends in a commit marker, which is no record.
        markers = 1 if topic == self._predictions else 0
        return sum(max(0, end - committed.get(partition, 0) - markers) for partition, end in ends.items())
