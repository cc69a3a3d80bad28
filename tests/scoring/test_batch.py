from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.kafka.records import Consumed
from schemas.codec import Decoder, Encoder
from schemas.columns import FEWEST
from schemas.history import record_decoder
from scoring.batch import ArmOfEvents, Candidates, FeatureReader, encode_results
from scoring.cascade import Band
from scoring.inference import CascadeScores, Scores
from scoring.prediction_format import NULL, CascadeIdentity, ModelIdentity, encode_arm
from scoring.predictions import PredictionWriter
from scoring.reasons import Reason
from scoring.vectors import Vectorizer
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


@pytest.fixture(scope="module")
def reader(pipeline, schema, writer):
    return FeatureReader(schema, Decoder(schema), ("events.taps",), Vectorizer(pipeline.model.inputs), writer)


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


@pytest.mark.parametrize("size", [1, 8], ids=["one by one", "as columns"])
def test_an_undecodable_record_is_a_dead_letter_and_the_others_are_decoded(reader, schema, writer, size):
    good = Encoder(schema).encode(record(5))
    other = Encoder({"type": "record", "name": "Other", "fields": []}).encode({})
    values = [b"", b"junk", good[:-1], good + b"!", other, None, good] * size
    result = reader.decode([consumed(n, value) for n, value in enumerate(values)], NOW)
    assert [consumed.offset for consumed in result.candidates.consumed] == list(range(6, 7 * size, 7))
    assert [str(letter.origin) for letter in result.dead_letters[:6]] == [f"features.taps[0]@{n}" for n in range(6)]
    assert [reason(letter) for letter in result.dead_letters] == [
        *[("decode", "penstock.Undecodable")] * 4,
        ("decode", "penstock.UnknownSchema"),
        ("decode", "penstock.Tombstone"),
    ] * size


@pytest.mark.parametrize("size", [1, FEWEST])
def test_records_of_a_timer_are_counted_and_not_scored(reader, schema, size):
    value = Encoder(schema).encode(record(trigger="timer"))
    result = reader.decode([consumed(n, value) for n in range(size)], NOW)
    assert (result.timers, len(result.candidates), result.dead_letters) == (size, 0, [])


texts = st.text(max_size=6) | st.text("ab", min_size=60, max_size=140)
longs = st.integers(0, 2**40) | st.integers(-(2**63), 2**63 - 1)
activities = st.fixed_dictionaries(
    {
        "entity": texts,
        "epoch": longs,
        "seq": longs,
        "as_of": longs,
        "late": st.booleans(),
        "count_1h": longs,
        "amount_sum_1h": st.none() | st.floats(),
    }
)
records = st.fixed_dictionaries(
    {
        "event_id": texts,
        "event_time": longs,
        "trigger": st.sampled_from(["event", "event", "event", "timer"]),
        "attempt": longs,
        "source": st.fixed_dictionaries(
            {
                "topic": st.sampled_from(["events.taps", "events.taps", "events.other"]),
                "partition": st.integers(0, 1) | st.sampled_from([-1, 2**31 - 1]),
                "offset": longs,
                "timestamp": longs,
            }
        ),
        "event": st.fixed_dictionaries({"amount": st.none() | st.floats()}),
        "activity": st.none() | activities,
    }
)


def outcome(candidates: Candidates, writer: PredictionWriter) -> list[object]:
    """Everything that is written for the candidates."""
    size = len(candidates)
    scores = Scores(np.linspace(0, 1, size), np.empty((size, 0)), np.zeros(size, np.bool_), np.zeros(size, np.bool_))
    written = [
        record._replace(origin=str(record.origin)) for record in encode_results(candidates, scores, writer, NOW)[0]
    ]
    groups = [
        (partition, rows.tolist(), events.positions())
        for partition, some in candidates.by_partition().items()
        for rows, events in some
    ]
    return [written, groups, candidates.vectors.tobytes()]


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.lists(records, min_size=1, max_size=6), st.integers(0, 40))
def test_as_columns_a_batch_is_read_exactly_as_one_by_one(reader, schema, writer, some, cut):
    """Each half is too small to be read as columns; the whole is not."""
    values = [Encoder(schema).encode(record) for record in some] * FEWEST
    values[1] = values[1][:cut]
    batch = [Consumed("features.taps", n % 2, n, b"k", value, []) for n, value in enumerate(values)]
    whole = reader.decode(batch, NOW)
    parts = [reader.decode(batch[start : start + FEWEST - 1], NOW) for start in range(0, len(batch), FEWEST - 1)]
    assert whole.timers == sum(part.timers for part in parts)
    assert list(map(str, whole.dead_letters)) == [str(letter) for part in parts for letter in part.dead_letters]
    assert outcome(whole.candidates, writer) == outcome(joined([part.candidates for part in parts]), writer)


def joined(parts: Sequence[Candidates]) -> Candidates:
    """One batch of the candidates of several."""
    names = list(dict.fromkeys(name for part in parts for name in part.topic_names))
    return Candidates(
        [consumed for part in parts for consumed in part.consumed],
        [copied for part in parts for copied in part.parts],
        np.concatenate([part.vectors for part in parts]),
        np.concatenate([part.partitions for part in parts]),
        np.array([names.index(part.topic_names[topic]) for part in parts for topic in part.topics], np.int64),
        names,
        np.concatenate([part.sources for part in parts], axis=1),
    )


def candidates(reader, schema, *rows) -> Candidates:
    return reader.decode([consumed(n, Encoder(schema).encode(row)) for n, row in enumerate(rows)], NOW).candidates


def test_the_events_of_a_batch_are_told_by_the_partition_of_their_records_and_by_their_own(reader, schema):
    def source(partition, offset, topic="events.taps"):
        return {"source": {"topic": topic, "partition": partition, "offset": offset, "timestamp": NOW}}

    rows = [source(0, 1), source(1, 5), source(0, 2), source(0, 3, "events.other")]
    batch = [
        consumed(n, Encoder(schema).encode(record(**row)))._replace(partition=partition)
        for n, (partition, row) in enumerate(zip([7, 8, 7, 7], rows, strict=True))
    ]
    grouped = reader.decode(batch, NOW).candidates.by_partition()
    found = {
        p: sorted((r.tolist(), e.topic, e.partition, e.offsets.tolist()) for r, e in some)
        for p, some in grouped.items()
    }
    assert found == {
        7: [([0, 2], "events.taps", 0, [1, 2]), ([3], "events.other", 0, [3])],
        8: [([1], "events.taps", 1, [5])],
    }


def scores_of(*values) -> Scores:
    failed = np.array([value is None for value in values])
    numbers = np.array([np.nan if value is None else value for value in values])
    return Scores(numbers, np.empty((len(values), 0)), np.zeros(len(values), np.bool_), failed)


def test_every_candidate_gets_one_record_and_a_score_that_is_not_finite_is_a_dead_letter(reader, schema, writer):
    batch = candidates(reader, schema, *(record(n) for n in range(4)))
    predictions, dead_letters, is_predicted = encode_results(
        batch, scores_of(0.9, float("nan"), None, 0.1), writer, NOW
    )
    assert [str(produced.origin) for produced in predictions] == ["features.taps[0]@0", "features.taps[0]@3"]
    assert [reason(letter) for letter in dead_letters] == [
        ("score", "penstock.NotANumber"),
        ("score", "penstock.ModelFailed"),
    ]
    assert is_predicted.tolist() == [True, False, False, True]


@pytest.mark.parametrize("headers", [[], [("traceparent", b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-00")]])
def test_a_prediction_that_its_topic_does_not_take_is_a_dead_letter_that_names_its_event(pipeline, schema, headers):
    narrow = PredictionWriter(pipeline, compile_plan(pipeline), ModelIdentity("taps", "1"), max_bytes=5_000)
    reader = FeatureReader(schema, Decoder(schema), ("events.taps",), Vectorizer(pipeline.model.inputs), narrow)
    # Too long for its event id, its key, or the state of its trace.
    changes = [("e", b"k", b"x"), ("x" * 3_000, b"k", b"x"), ("e", b"k" * 4_900, b"x"), ("e", b"k", b"x" * 4_900)]
    batch = [
        Consumed(
            "features.taps",
            0,
            n,
            key,
            Encoder(schema).encode(record(n, event_id=id_)),
            [*headers, ("tracestate", state)],
        )
        for n, (id_, key, state) in enumerate(changes)
    ]
    of_batch = reader.decode(batch, NOW).candidates
    predictions, letters, is_predicted = encode_results(of_batch, scores_of(*[0.5] * 4), narrow, NOW)
    long = [1, 2, 3] if headers else [1, 2]  # without a trace its state is left out
    assert [dict(letter.headers)["penstock.source.offset"] for letter in letters] == [b"%d" % n for n in long]
    assert {reason(letter) for letter in letters} == {("score", "penstock.TooLarge")}
    assert all(prediction.bytes <= 5_000 for prediction in predictions)
    assert len(predictions) + len(letters) == 4
    assert np.flatnonzero(~is_predicted).tolist() == long


class FirstValue:
    """Every vector has its first value as the contribution of an input."""

    def __init__(self, name):
        self.name = name

    def top(self, vectors, count):
        assert count == 3
        return [(Reason(self.name, float(vector[0])),) for vector in vectors]


def test_a_positive_prediction_has_the_reasons_of_its_score_and_a_negative_one_none(pipeline, reader, schema):
    attribution = FirstValue(pipeline.model.inputs[0])
    explaining = PredictionWriter(
        pipeline, compile_plan(pipeline), ModelIdentity("taps", "1"), attribution=attribution, max_bytes=1 << 20
    )
    batch = [consumed(n, Encoder(schema).encode(record(n, event={"amount": 2.0 + n}))) for n in range(3)]
    candidates = reader.decode(batch, NOW).candidates
    predictions, *_ = encode_results(candidates, scores_of(0.9, 0.1, float("nan")), explaining, NOW)
    found = [record_decoder("prediction").decode(prediction.value)["reasons"] for prediction in predictions]
    assert found == [[{"input": pipeline.model.inputs[0], "contribution": 2.0}], []]


def test_the_strong_model_gives_the_reasons_in_the_band_and_the_fast_one_all_others_even_of_audited_negatives(
    pipeline, reader, schema
):
    explaining = PredictionWriter(
        pipeline,
        compile_plan(pipeline),
        ModelIdentity("taps", "1"),
        attribution=FirstValue("fast"),
        cascade=CascadeIdentity(ModelIdentity("strong", "1"), Band(0.2, 0.7)),
        strong_attribution=FirstValue("strong"),
        max_bytes=1 << 20,
    )
    values, in_band, audited = [0.9, 0.6, 0.1, 0.1], [False, True, False, False], [False, False, True, False]
    strong = np.array([np.nan, 0.6, 0.1, np.nan])
    cascade = CascadeScores(np.array(values), strong, np.array(in_band), np.array(audited))
    candidates_ = candidates(reader, schema, *(record(n) for n in range(4)))
    reasons = explaining.reasons(candidates_.vectors, replace(scores_of(*values), cascade=cascade))
    assert [[one.input for one in each] for each in reasons] == [["fast"], ["strong"], ["fast"], []]


def test_predictions_say_their_arm_and_explored_ones_have_the_permissive_decision(reader, schema, writer):
    batch = candidates(reader, schema, *(record(n) for n in range(5)))
    says = [
        encode_arm("1f" * 6, "b", 0.2, explored=explored, propensity=propensity, infer_ms=3.5)
        for explored, propensity in ((True, 0.01), (False, 0.99))
    ]
    arm = ArmOfEvents("b", np.array([True, False, True, False, True]), "pass", *says)
    predictions, letters, _ = encode_results(batch, scores_of(0.9, 0.9, 0.1, 0.1, None), writer, NOW, arm)
    found = [record_decoder("prediction").decode(prediction.value) for prediction in predictions]
    assert [one["decision"] for one in found] == ["pass", "block", "pass", "pass"]
    assert [one["rollout"]["explored"] for one in found] == [True, False, True, False]
    assert found[0]["rollout"] == {
        "policy": "1f" * 6,
        "arm": "b",
        "probability": 0.2,
        "explored": True,
        "propensity": 0.01,
        "infer_ms": 3.5,
    }
    assert len(letters) == 1


def test_an_explored_event_keeps_the_reasons_of_its_score(pipeline, reader, schema):
    attribution = FirstValue(pipeline.model.inputs[0])
    explaining = PredictionWriter(
        pipeline, compile_plan(pipeline), ModelIdentity("taps", "1"), attribution=attribution, max_bytes=1 << 20
    )
    arm = ArmOfEvents("a", np.array([True]), "pass", NULL, NULL)
    (prediction,), *_ = encode_results(candidates(reader, schema, record(0)), scores_of(0.9), explaining, NOW, arm)
    found = record_decoder("prediction").decode(prediction.value)
    assert (found["decision"], len(found["reasons"])) == ("pass", 1)


def test_the_arm_of_some_events_is_that_of_their_rows():
    arm = ArmOfEvents("b", np.array([True, False, True]), "pass", b"explored", b"other")
    assert arm.encoded() == [b"explored", b"other", b"explored"]
    assert arm.of(np.array([1, 2])).encoded() == [b"other", b"explored"]


@pytest.mark.parametrize("size", [1, 8], ids=["one by one", "as columns"])
def test_events_of_several_topics_with_equal_offsets_are_told_apart(pipeline, schema, writer, size):
    topics = ("events.taps", "events.app")
    reader = FeatureReader(schema, Decoder(schema), topics, Vectorizer(pipeline.model.inputs), writer)
    encoder = Encoder(schema)
    sources = [{"topic": topic, "partition": 0, "offset": 5, "timestamp": NOW} for topic in (*topics, "events.old")]
    values = [encoder.encode(record(5, source=source)) for source in sources] * size
    found = reader.decode([consumed(n, value) for n, value in enumerate(values)], NOW).candidates
    named = [found.topic_names[number] for number in found.topics.tolist()]
    assert named == [source["topic"] for source in sources] * size
