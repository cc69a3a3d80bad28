"""Reading what was touched: each prediction once, from where the log says, to the first one of another policy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from penstock.kafka.access import KafkaAccess
from penstock.kafka.reading import Record, Start
from schemas.codec import Encoder
from schemas.dead_letters import REPLAY_OF
from schemas.records import PREDICTION_SCHEMA
from scoring import touched_predictions as module
from scoring.rollout.touched import Choice, Window
from scoring.touched_predictions import Period, Place, places_of, read_touched
from streams.definitions.pipeline import Pipeline
from tests.scoring.scorer_bench import define

KAFKA = KafkaAccess(bootstrap="nowhere:1")
BAD, GOOD = "b" * 12, "a" * 12
CHOICE = Choice("version 4", frozenset({4}), {"b" * 64: frozenset({"next"})})
ALWAYS = Period()


def prediction(
    features_offset: int, policy: str = BAD, arm: str = "next", *, partition: int = 0, **changes: Any
) -> dict[str, Any]:
    """What a prediction says."""
    rollout = {
        "policy": policy,
        "arm": arm,
        "probability": 0.5,
        "explored": False,
        "propensity": 1.0,
        "infer_ms": 1.5,
    }
    fields = {
        "event_id": f"e-{partition}-{features_offset}",
        "pipeline": "taps",
        "event_time": 1_000,
        "entity": f"card-{features_offset}",
        "score": 0.75,
        "decision": "block",
        "model": "taps",
        "model_version": "4",
        "route": "primary",
        "policy_version": "0" * 12,
        "views": [{"view": "activity@1", "entity": f"card-{features_offset}", "epoch": 1, "seq": 2, "as_of": 3}],
        "scored_at": 5_000 + features_offset,
        "attempt": 0,
        "source": {"topic": "events.taps", "partition": partition, "offset": features_offset, "timestamp": 900},
        "features_topic": "features.taps",
        "features_partition": partition,
        "features_offset": features_offset,
        "vector": b"",
        "rollout": rollout,
    }
    return fields | changes


def record(offset: int, says: dict[str, Any] | bytes, *headers: tuple[str, bytes]) -> Record:
    """A prediction on its topic."""
    value = says if isinstance(says, bytes) else Encoder(PREDICTION_SCHEMA).encode(says)
    partition = 0 if isinstance(says, bytes) else says["features_partition"]
    return Record(partition, offset, 6_000, b"key", value, headers)


class Topic:
    """A predictions topic; ``read`` are the offsets that were given out."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.read: list[int] = []

    def read_topic(self, _kafka: object, _topic: str, *, start: Mapping[int, int]) -> Iterator[Record]:
        ((partition, first),) = start.items()
        for each in self.records:
            if each.partition == partition and each.offset >= first:
                self.read.append(each.offset)
                yield each


@pytest.fixture
def topic(monkeypatch: pytest.MonkeyPatch) -> Topic:
    fake = Topic()
    monkeypatch.setattr(module, "read_topic", fake.read_topic)
    return fake


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    return define(tmp_path_factory.mktemp("pipeline"), "touched", partitions=2)[1]


def offsets(pipeline: Pipeline, *places: Place, period: Period = ALWAYS) -> list[tuple[int, int]]:
    found = read_touched(KAFKA, pipeline, CHOICE, places, period)
    return [(each.partition, each.offset) for each in found]


def test_the_candidates_predictions_are_read_and_no_more_than_one_of_the_policy_after(
    topic: Topic, pipeline: Pipeline
) -> None:
    topic.records = [
        record(0, prediction(7, GOOD, "present")),
        record(1, prediction(10)),
        record(2, prediction(11, arm="present")),
        record(4, prediction(12)),
        record(6, prediction(13, GOOD, "present")),
        record(7, prediction(14, GOOD, "present")),
    ]
    assert offsets(pipeline, Place(Window(0, 10, 5_000, 13), 0, is_cut=False)) == [(0, 1), (0, 4)]
    assert topic.read == [0, 1, 2, 4, 6]


def test_a_prediction_comes_with_its_place_key_headers_and_what_it_says(topic: Topic, pipeline: Pipeline) -> None:
    topic.records = [record(3, prediction(10), ("traceparent", b"00"))]
    (found,) = read_touched(KAFKA, pipeline, CHOICE, [Place(Window(0, 10, 5_000), 0, is_cut=False)], ALWAYS)
    assert (found.partition, found.offset, found.timestamp, found.key) == (0, 3, 6_000, b"key")
    assert found.headers == [("traceparent", b"00")]
    assert found.bytes == len(topic.records[0].value or b"")
    assert found.says["event_id"] == "e-0-10"


def test_windows_that_overlap_in_time_give_each_prediction_once(topic: Topic, pipeline: Pipeline) -> None:
    topic.records = [
        record(1, prediction(2, scored_at=9_000), (REPLAY_OF, b"predictions.taps.dlq[0]@0")),
        record(2, prediction(11, GOOD, "present")),
        record(3, prediction(12)),
        record(4, prediction(13, partition=1)),
    ]
    places = [
        Place(Window(0, 10, 5_000, 11), 1, is_cut=False),
        Place(Window(0, 12, 5_000), 1, is_cut=False),
        Place(Window(1, 13, 5_000), 0, is_cut=False),
    ]
    assert offsets(pipeline, *places) == [(0, 1), (0, 3), (1, 4)]


def test_a_replay_of_an_earlier_event_is_found_and_ends_no_window(topic: Topic, pipeline: Pipeline) -> None:
    replay = (REPLAY_OF, b"predictions.taps.dlq[0]@0")
    topic.records = [
        record(1, prediction(99, GOOD, "present"), replay),
        record(2, prediction(2, scored_at=5_000), replay),
        record(3, prediction(3, scored_at=4_999), replay),
        record(4, prediction(10)),
    ]
    assert offsets(pipeline, Place(Window(0, 10, 5_000, 20), 0, is_cut=False)) == [(0, 2), (0, 4)]


def test_a_period_chooses_by_when_predictions_were_scored(topic: Topic, pipeline: Pipeline) -> None:
    topic.records = [record(offset, prediction(10 + offset)) for offset in range(4)]
    place = Place(Window(0, 10, 5_000), 0, is_cut=False)
    assert offsets(pipeline, place, period=Period(5_011, 5_013)) == [(0, 1), (0, 2)]
    assert offsets(pipeline, place, period=Period(5_012)) == [(0, 2), (0, 3)]


def test_what_is_no_prediction_is_passed_over(
    topic: Topic, pipeline: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    topic.records = [record(0, b"junk"), record(1, prediction(10))]
    assert offsets(pipeline, Place(Window(0, 10, 5_000), 0, is_cut=False)) == [(0, 1)]
    assert "passed over" in caplog.text


def test_reading_begins_at_the_time_of_the_window_or_later_if_only_later_ones_are_wanted(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        module, "starts_at", lambda *asked: [Start(time_ms, is_cut=partition == 1) for partition, time_ms in asked[2]]
    )
    some = [Window(0, 10, 5_000, 20), Window(1, 10, 7_000)]
    assert places_of(KAFKA, pipeline, some, ALWAYS) == [(some[0], 5_000, False), (some[1], 7_000, True)]
    assert places_of(KAFKA, pipeline, some, Period(6_000)) == [(some[0], 6_000, False), (some[1], 7_000, True)]
