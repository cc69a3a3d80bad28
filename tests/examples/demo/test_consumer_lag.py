"""The lag of the demo's consumers, from offsets and from how far the job has read."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from examples.demo import consumer_lag
from examples.demo.consumer_lag import CASSANDRA, JOB, QUALITY, SCORER, ConsumerLags
from examples.fraud.pipeline import pipeline as fraud
from penstock.kafka.access import KafkaAccess

_RAW, _FEATURES, _PREDICTIONS = fraud.source.topic, fraud.features_topic, fraud.predictions_topic
_SHADOW, _LABELS = "predictions.fraud.shadow", "labels.fraud"
_ENDS = {
    _RAW: {0: 100, 1: 50},
    _FEATURES: {0: 90, 1: 45},
    _PREDICTIONS: {0: 81, 1: 1},
    _SHADOW: {0: 21},
    _LABELS: {0: 30},
}
_COMMITTED = {
    ("features", _RAW): {0: 40, 1: 50},
    ("scorer", _FEATURES): {0: 90},
    ("sink-cassandra", _FEATURES): {0: 90, 1: 45},
    ("sink-cassandra", _PREDICTIONS): {0: 80},
    ("quality", _PREDICTIONS): {0: 70},
    ("quality", _SHADOW): {0: 20},
    ("quality", _LABELS): {0: 25},
}


class FakeLag:
    """A cluster's offsets."""

    asked: list[str] = []  # noqa: RUF012 - of the one test that runs

    def __init__(self, _: KafkaAccess, partitions: Mapping[str, int]) -> None:
        assert partitions == dict.fromkeys(_ENDS, 4)

    def end_offsets(self, topic: str) -> dict[int, int]:
        self.asked.append(topic)
        return _ENDS[topic]

    def committed_offsets(self, group: str, topic: str) -> dict[int, int]:
        return _COMMITTED[group.removeprefix("penstock-fraud-"), topic]


class FakeProgress:
    """A job that has taken all of partition 0, and says nothing of partition 1."""

    def refresh(self) -> None:
        pass

    def next_offset(self, topic: str, partition: int) -> int:
        assert topic == _RAW
        return 100 if partition == 0 else 0


@pytest.fixture
def lags(monkeypatch: pytest.MonkeyPatch) -> ConsumerLags:
    monkeypatch.setattr(consumer_lag, "Lag", FakeLag)
    FakeLag.asked.clear()
    return ConsumerLags(fraud, KafkaAccess(bootstrap="nowhere:1"), FakeProgress())  # type: ignore[arg-type]


def test_a_job_is_as_far_as_it_has_read_or_has_committed_whichever_is_more(lags: ConsumerLags) -> None:
    assert lags.lags() == {JOB: 0}


def test_what_follows_the_committed_offset_is_behind_but_for_a_transactions_marker(lags: ConsumerLags) -> None:
    lags.add(SCORER, CASSANDRA)
    assert lags.lags() == {JOB: 0, SCORER: 45, CASSANDRA: 0}


def test_quality_reads_predictions_shadows_and_labels(lags: ConsumerLags) -> None:
    lags.add(QUALITY)
    assert lags.lags() == {JOB: 0, QUALITY: 10 + 0 + 5}


def test_the_end_of_a_topic_is_asked_once_for_all_of_its_readers(lags: ConsumerLags) -> None:
    lags.add(SCORER, CASSANDRA)
    lags.lags()
    assert sorted(lags_asked := FakeLag.asked) == sorted(set(lags_asked))
    assert lags.feature_records == 135
