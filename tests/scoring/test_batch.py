import numpy as np
import pytest

from penstock.kafka.records import Consumed
from schemas.codec import Decoder, Encoder
from scoring.batch import Candidate, decode, deduplicate, encode_results
from scoring.memory import EventPosition
from scoring.predictions import InferenceResult, ModelIdentity, PredictionWriter
from streams.plan.compiler import compile_plan
from streams.plan.feature_records import features_schema
from tests.scoring.scorer_bench import define

NOW = 1_800_000_000_000


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    return define(tmp_path_factory.mktemp("pipeline"), "batch", partitions=1)[1]


@pytest.fixture(scope="module")
def writer(pipeline):
    return PredictionWriter(pipeline, compile_plan(pipeline), ModelIdentity("taps", "1"), max_bytes=1 << 20)


@pytest.fixture(scope="module")
def schema(pipeline):
    return features_schema(compile_plan(pipeline))


def record(offset=0, **changes):
    return {
        "event_id": f"e{offset}",
        "event_time": NOW,
        "trigger": "event",
        "attempt": 0,
        "source": {"topic": "events.taps", "partition": 0, "offset": offset, "timestamp": NOW},
        "event": {"amount": 1.0},
        "activity": None,
        **changes,
    }


def consumed(offset, value) -> Consumed:
    return Consumed("features.taps", 0, offset, b"k", value, [])


def reason(letter):
    headers = dict(letter.headers)
    return headers["__connect.errors.stage"].decode(), headers["__connect.errors.exception.class.name"].decode()


def test_an_undecodable_record_is_a_dead_letter_and_the_others_are_decoded(schema, writer):
    good = Encoder(schema).encode(record(5))
    other = Encoder({"type": "record", "name": "Other", "fields": []}).encode({})
    values = [b"", b"junk", good[:-1], good + b"!", other, None, good]
    result = decode([consumed(n, value) for n, value in enumerate(values)], Decoder(schema), writer, NOW)
    assert [candidate.consumed.offset for candidate in result.candidates] == [6]
    assert [letter.origin for letter in result.dead_letters] == [f"features.taps[0]@{n}" for n in range(6)]
    assert [reason(letter) for letter in result.dead_letters] == [
        *[("decode", "penstock.Undecodable")] * 4,
        ("decode", "penstock.UnknownSchema"),
        ("decode", "penstock.Tombstone"),
    ]


def test_records_of_a_timer_are_counted_and_not_scored(schema, writer):
    value = Encoder(schema).encode(record(trigger="timer"))
    result = decode([consumed(0, value)], Decoder(schema), writer, NOW)
    assert (result.timers, result.candidates, result.dead_letters) == (1, [], [])


def candidate(position, offset, timestamp=NOW) -> Candidate:
    return Candidate(consumed(position, b""), record(offset), EventPosition("events.taps", 0, offset, timestamp))


def test_the_first_emission_of_an_event_is_the_one_that_is_scored():
    batch = [candidate(0, 7), candidate(1, 8), candidate(2, 7, timestamp=NOW + 1)]
    assert deduplicate(batch, []) == batch[:2]


def test_an_event_that_is_already_scored_is_not_scored_again():
    batch = [candidate(0, 7), candidate(1, 8)]
    assert deduplicate(batch, [batch[0].event]) == batch[1:]


def test_every_candidate_gets_one_record_and_a_score_that_is_not_finite_is_a_dead_letter(writer):
    batch = [candidate(n, n) for n in range(4)]
    results = [
        InferenceResult(0.9, "primary"),
        InferenceResult(float("nan"), "primary"),
        None,
        InferenceResult(0.1, "fallback"),
    ]
    predictions, dead_letters = encode_results(batch, np.zeros((4, 3), dtype=np.float32), results, writer, NOW)
    assert [produced.origin for produced in predictions] == ["features.taps[0]@0", "features.taps[0]@3"]
    assert [reason(letter) for letter in dead_letters] == [
        ("score", "penstock.NotANumber"),
        ("score", "penstock.ModelFailed"),
    ]


def test_a_prediction_that_its_topic_does_not_take_is_a_dead_letter_that_names_its_event(pipeline):
    narrow = PredictionWriter(pipeline, compile_plan(pipeline), ModelIdentity("taps", "1"), max_bytes=5_000)
    candidates = [
        Candidate(consumed(n, b"value"), record(n, event_id=event_id), EventPosition("events.taps", 0, n, NOW))
        for n, event_id in enumerate(["short", "x" * 3_000])
    ]
    vectors = np.zeros((2, 1), np.float32)
    results = [InferenceResult(0.5, "primary")] * 2
    predictions, letters = encode_results(candidates, vectors, results, narrow, NOW)
    assert [prediction.origin for prediction in predictions] == ["features.taps[0]@0"]
    (letter,) = letters
    assert reason(letter) == ("score", "penstock.TooLarge")
    assert dict(letter.headers)["penstock.source.offset"] == b"1"
    assert predictions[0].bytes < 5_000
