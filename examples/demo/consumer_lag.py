"""Measures the lag of a pipeline's consumers."""

from __future__ import annotations

from examples.demo.job_progress import JobProgress
from penstock.kafka.access import KafkaAccess
from penstock.kafka.lag import Lag
from penstock.kafka.names import group_of
from streams.definitions.pipeline import Pipeline

# Names of the consumers, as in their consumer groups.
JOB = "features"
SCORER, REDIS, CASSANDRA, DRIFT, QUALITY = "scorer", "sink-redis", "sink-cassandra", "drift", "quality"


class ConsumerLags:
    """Measures the lag of the feature job and of every consumer that was :meth:`added <add>`.

    The feature job's is what it has not read: its latest features may still be on their way to their topic.
    ``feature_records`` is how many are on it, as of the last :meth:`lags`.
    """

    def __init__(self, pipeline: Pipeline, kafka: KafkaAccess, job: JobProgress) -> None:
        self._pipeline = pipeline.name
        self._job = job
        self._features, self._predictions = pipeline.features_topic, pipeline.predictions_topic
        shadow, labels = pipeline.shadow_topic, pipeline.labels
        joined = () if labels is None else labels.topics
        topics = (pipeline.source.topic, self._features, self._predictions, shadow, *joined)
        self._transactional = {self._predictions, shadow}
        self._lag = Lag(kafka, dict.fromkeys(topics, pipeline.source.partitions))
        self.feature_records = 0
        both = (self._features, self._predictions)
        self._reads = {
            JOB: (pipeline.source.topic,),
            SCORER: (self._features,),
            REDIS: (self._features,),
            CASSANDRA: both,
            DRIFT: both,
            QUALITY: (self._predictions, shadow, *joined),
        }
        self._started = [JOB]

    def add(self, *names: str) -> None:
        """Include these consumers in :meth:`lags` from now on."""
        self._started += names

    def lags(self) -> dict[str, int]:
        """The lag of each included consumer in records, in the order in which they were added."""
        self._job.refresh()
        read = {topic for name in self._started for topic in self._reads[name]}
        ends = {topic: self._lag.end_offsets(topic) for topic in read | {self._features}}
        self.feature_records = sum(ends[self._features].values())
        return {
            name: sum(self._behind(name, topic, ends[topic]) for topic in self._reads[name]) for name in self._started
        }

    def close(self) -> None:
        """Disconnect."""
        self._job.close()
        self._lag.close()

    def _behind(self, name: str, topic: str, ends: dict[int, int]) -> int:
        committed = self._lag.committed_offsets(group_of(self._pipeline, name), topic)
        # A transactional topic ends in a commit marker, which is not a record.
        markers = 1 if topic in self._transactional else 0
        done = dict.fromkeys(ends, 0) | committed
        if name == JOB:
            done = {
                partition: max(offset, self._job.next_offset(topic, partition)) for partition, offset in done.items()
            }
        return sum(max(0, end - done[partition] - markers) for partition, end in ends.items())
