import numpy as np
import pytest

from penstock.kafka.records import MAX_RECORD_BYTES, Consumed
from schemas.dead_letters import DeadLetter
from schemas.history import record_decoder
from scoring.memory import EventPosition
from scoring.prediction_format import ModelIdentity
from scoring.predictions import PredictionWriter, event_position, event_position_of_dead_letter
from streams.plan.compiler import compile_plan
from tests.scoring.scorer_bench import define

NOW = 1_800_000_000_000
VECTOR = np.array([1.0, np.nan, 3.0], dtype=np.float32)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    return define(tmp_path_factory.mktemp("pipeline"), "predictions", partitions=1)[1]


@pytest.fixture(scope="module")
def writer(pipeline):
    return PredictionWriter(pipeline, compile_plan(pipeline), ModelIdentity("taps", "4"), max_bytes=1 << 20)


def consumed(*headers, value=b"\xc3\x01") -> Consumed:
    return Consumed("features.taps", 2, 41, b"card-1", value, list(headers))


def record(timestamp=NOW - 50, **changes):
    return {
        "event_id": "e1",
        "event_time": NOW - 60,
        "attempt": 3,
        "source": {"topic": "events.taps", "partition": 2, "offset": 17, "timestamp": timestamp},
        "event": {"amount": 1.0},
        "activity": {"entity": "card-1", "epoch": 1, "seq": 8, "as_of": NOW - 60, "late": False},
        **changes,
    }


def predict(writer, score=0.1, route="primary", *headers, **changes):
    """The prediction for a feature record with these changes."""
    of = record(**changes)
    from_record = consumed(*headers)
    (span,) = writer.spans([from_record], ["events.taps"], np.zeros(1, np.int64), np.array([[2], [17], [0]]))
    parts, timestamp = writer.format.parts_of_record(of), of["source"]["timestamp"]
    (decision,), moment = writer.policy.decide(np.array([score])), writer.moment(NOW)
    vector = VECTOR.tobytes()
    return writer.prediction(from_record, parts, vector, score, route, timestamp, span, moment, decision=decision)


def decoded(produced):
    return record_decoder("prediction").decode(produced.value)


def test_a_prediction_contains_everything_that_it_was_computed_from(writer):
    prediction = decoded(predict(writer, 0.75))
    vector = prediction.pop("vector")
    assert vector == VECTOR.astype("<f4").tobytes()
    assert prediction == {
        "event_id": "e1",
        "pipeline": "taps_predictions",
        "event_time": NOW - 60,
        "entity": "card-1",
        "score": 0.75,
        "decision": "block",
        "model": "taps",
        "model_version": "4",
        "route": "primary",
        "policy_version": writer.policy.version,
        "views": [{"view": "activity@1", "entity": "card-1", "epoch": 1, "seq": 8, "as_of": NOW - 60}],
        "scored_at": NOW,
        "attempt": 3,
        "source": {"topic": "events.taps", "partition": 2, "offset": 17, "timestamp": NOW - 50},
        "features_topic": "features.taps",
        "features_partition": 2,
        "features_offset": 41,
        "outputs": [],
        "reasons": [],
        "defaulted": [],
        "cascade": None,
        "rollout": None,
    }


def test_key_and_partition_are_the_feature_records(writer):
    produced = predict(writer, 0.1, "fallback")
    assert (produced.topic, produced.partition, produced.key) == ("predictions.taps_predictions", 2, b"card-1")


def test_an_event_without_the_views_entity_has_no_entity_and_no_view(writer):
    prediction = decoded(predict(writer, activity=None))
    assert prediction["entity"] is None
    assert prediction["views"] == []


@pytest.mark.parametrize(("source_timestamp", "expected"), [(NOW - 1, NOW), (NOW + 5_000, NOW + 5_000)])
def test_a_prediction_is_never_dated_before_its_event(writer, source_timestamp, expected):
    produced = predict(writer, timestamp=source_timestamp)
    assert produced.timestamp == expected


def test_the_headers_are_a_cloud_event(writer):
    headers = dict(predict(writer).headers)
    headers.pop("traceparent")
    assert headers == {
        "ce_specversion": b"1.0",
        "ce_id": b"e1",
        "ce_source": b"/penstock/taps_predictions/scorer",
        "ce_type": b"penstock.prediction.v1",
        "ce_time": b"2027-01-15T08:00:00.000Z",
        "content-type": b"application/avro",
    }


def trace_of(writer, *headers):
    return dict(predict(writer, 0.1, "primary", *headers).headers)


def test_the_trace_of_the_feature_record_continues_with_a_new_span(writer):
    given = f"00-{'a' * 32}-{'b' * 16}-00"
    headers = trace_of(writer, ("traceparent", given.encode()), ("tracestate", b"vendor=1"))
    version, trace, span, flags = headers["traceparent"].decode().split("-")
    assert (version, trace, flags) == ("00", "a" * 32, "00")
    assert span != "b" * 16
    assert headers["tracestate"] == b"vendor=1"


@pytest.mark.parametrize(
    "given",
    [b"", b"garbage", b"\xff\xfe", f"00-{'0' * 32}-{'b' * 16}-01".encode(), f"ff-{'a' * 32}-{'b' * 16}-01".encode()],
)
def test_without_a_valid_trace_the_event_determines_the_trace(writer, given):
    anew = trace_of(writer)["traceparent"]
    assert trace_of(writer, ("traceparent", given), ("tracestate", b"vendor=1"))["traceparent"] == anew
    assert len(anew) == 55


def test_a_dead_letter_is_the_record_verbatim_with_the_reason(writer):
    original = consumed(("app", b"1"), ("empty", None), value=b"\x00junk")
    letter = writer.dead_letter(original, "decode", "penstock.Undecodable", "not Avro", NOW)
    assert (letter.topic, letter.partition, letter.timestamp) == ("predictions.taps_predictions.dlq", 2, NOW)
    read = DeadLetter.read(letter.key, letter.value, letter.headers)
    assert read == DeadLetter(
        topic="features.taps",
        partition=2,
        offset=41,
        pipeline="taps_predictions",
        stage="decode",
        component="penstock.scorer",
        reason="penstock.Undecodable",
        message="not Avro",
        key=b"card-1",
        value=b"\x00junk",
        original_headers=(("app", b"1"), ("empty", None)),
    )
    assert event_position_of_dead_letter(letter.headers) is None


def test_a_dead_letter_of_a_decoded_record_names_its_event_and_is_not_dated_before_it(writer):
    event = event_position(record(NOW + 9))
    letter = writer.unscorable(consumed(), event, "penstock.NotANumber", "no number", NOW)
    assert letter.timestamp == NOW + 9
    assert event_position_of_dead_letter(letter.headers) == event == EventPosition("events.taps", 2, 17, NOW + 9)


@pytest.mark.parametrize("letter_bytes", [18_000, 1_000])
def test_a_dead_letter_that_its_topic_does_not_take_is_cut_and_names_its_event(pipeline, letter_bytes):
    model = ModelIdentity("taps", "4")
    narrow = PredictionWriter(pipeline, compile_plan(pipeline), model, max_bytes=1 << 20, letter_bytes=letter_bytes)
    event = event_position(record())
    letter = narrow.unscorable(consumed(value=b"v" * 20_000), event, "penstock.NotANumber", "no number", NOW)
    assert ("penstock.value.bytes", b"20000") in letter.headers
    assert letter.value == b"v" * 16 * 1024
    assert event_position_of_dead_letter(letter.headers) == event


def test_encoding_a_prediction_again_gives_the_same_bytes(writer):
    assert predict(writer) == predict(writer)


def test_no_prediction_is_longer_than_the_producer_takes_whatever_its_topic_takes(pipeline):
    writer = PredictionWriter(pipeline, compile_plan(pipeline), ModelIdentity("taps", "4"), max_bytes=400_000_000)
    assert writer.max_bytes == MAX_RECORD_BYTES
