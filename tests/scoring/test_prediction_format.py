"""The copied bytes of a prediction against an encoder of its schema."""

from __future__ import annotations

import io
from typing import Any

import pytest
from fastavro import parse_schema, schemaless_writer
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.kafka.records import Consumed
from schemas.codec import Encoder
from schemas.columns import ColumnReader
from schemas.history import record_decoder
from schemas.records import PREDICTION_SCHEMA
from scoring.cascade import Band
from scoring.decision import Policy
from scoring.prediction_format import (
    NULL,
    CascadeIdentity,
    CascadeScore,
    ModelIdentity,
    PredictionFormat,
    encode_arm,
    encode_defaulted,
    encode_emission,
    encode_integer,
    encode_text,
    entity_of,
    text_of,
    with_other_views,
)
from scoring.reasons import Reason
from streams.plan.feature_records import features_schema
from tests.plans import COUNT, make_plan, view_of

FIELDS = [
    {"name": "id", "type": "string", "nullable": False},
    {"name": "time", "type": "long", "nullable": False},
    {"name": "k", "type": "string", "nullable": False},
]
PLAN = make_plan(fields=FIELDS, views=[view_of(COUNT, name="first"), view_of(COUNT, name="second")])
VIEWS = [(view.name, view.id) for view in PLAN.views]
FORMAT = PredictionFormat(
    "p",
    VIEWS,
    "first",
    ModelIdentity("m" * 70, "3"),
    Policy(0.5, "block", "pass"),
    kept=("loss", "o" * 70),
    cascade=CascadeIdentity(ModelIdentity("s", "14"), Band(0.1, 0.7)),
)

texts = st.text(max_size=5) | st.text(min_size=60, max_size=70)
longs = st.integers(-(2**54), 2**54)
emissions = st.fixed_dictionaries(
    {"entity": texts, "epoch": longs, "seq": longs, "as_of": longs, "late": st.booleans(), "n": longs}
)
records = st.fixed_dictionaries(
    {
        "event_id": texts,
        "event_time": longs,
        "trigger": st.just("event"),
        "attempt": longs,
        "source": st.fixed_dictionaries(
            {"topic": texts, "partition": st.integers(0, 9), "offset": longs, "timestamp": longs}
        ),
        "event": st.just({}),
        "first": st.none() | emissions,
        "second": st.none() | emissions,
    }
)


def expected(
    record: dict[str, Any],
    consumed: Consumed,
    vector: bytes,
    score: float,
    outputs: tuple[float, ...],
    reasons: list[Reason],
    cascade: CascadeScore | None,
    rollout: dict[str, Any] | None,
) -> bytes:
    first = record["first"]
    by_strong = cascade is not None and cascade.in_band
    return Encoder(PREDICTION_SCHEMA).encode(
        {
            "event_id": record["event_id"],
            "pipeline": "p",
            "event_time": record["event_time"],
            "entity": None if first is None else first["entity"],
            "score": score,
            "decision": "block" if score >= 0.5 else "pass",
            "model": "s" if by_strong else "m" * 70,
            "model_version": "14" if by_strong else "3",
            "route": "fallback",
            "policy_version": Policy(0.5, "block", "pass").version,
            "views": [{"view": id_, **record[view]} for view, id_ in VIEWS if record[view] is not None],
            "scored_at": 1_800_000_000_000,
            "attempt": record["attempt"],
            "source": record["source"],
            "features_topic": consumed.topic,
            "features_partition": consumed.partition,
            "features_offset": consumed.offset,
            "vector": vector,
            "outputs": [{"name": name, "value": one} for name, one in zip(("loss", "o" * 70), outputs, strict=False)],
            "reasons": [reason._asdict() for reason in reasons],
            "defaulted": [],
            "cascade": cascade
            and {
                "fast_version": "3",
                "strong_version": "14",
                "fast_score": cascade.fast,
                "strong_score": cascade.strong,
                "low": 0.1,
                "high": 0.7,
                "audited": cascade.audited,
            },
            "rollout": rollout,
        }
    )


NOW = encode_integer(1_800_000_000_000)
REASONS = st.lists(st.builds(Reason, texts, st.floats(0)), max_size=3)
CASCADES = st.none() | st.builds(
    CascadeScore, st.floats(0, 1), st.none() | st.floats(0, 1), st.booleans(), st.booleans()
)
KEPT = st.just(()) | st.tuples(st.floats(), st.floats())
ARMS = st.none() | st.fixed_dictionaries(
    {
        "policy": texts,
        "arm": texts,
        "probability": st.floats(0, 1),
        "explored": st.booleans(),
        "propensity": st.floats(0, 1),
        "infer_ms": st.floats(0),
    }
)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(
    st.lists(records, min_size=1, max_size=4),
    st.binary(max_size=300),
    st.floats(0, 1),
    st.integers(0, 2**60),
    KEPT,
    REASONS,
    CASCADES,
    ARMS,
)
def test_a_prediction_is_byte_for_byte_what_its_schema_says(
    some, vector, score, offset, outputs, reasons, cascade, rollout
):
    located = ColumnReader(features_schema(PLAN)).locate([Encoder(features_schema(PLAN)).encode(row) for row in some])
    assert located.plain.all()
    consumed = Consumed("features.p", 3, offset, None, None, [])
    for record, copied in zip(some, FORMAT.parts_of_columns(located), strict=True):
        decision = "block" if score >= 0.5 else "pass"
        written = {
            FORMAT.encode(
                consumed,
                parts,
                vector,
                score,
                decision,
                "fallback",
                NOW,
                outputs=outputs,
                reasons=reasons,
                cascade=cascade,
                rollout=NULL if rollout is None else encode_arm(**rollout),
            )
            for parts in (copied, FORMAT.parts_of_record(record))
        }
        assert written == {expected(record, consumed, vector, score, outputs, reasons, cascade, rollout)}


@settings(derandomize=True, deadline=None, max_examples=100)
@given(st.lists(records, min_size=1, max_size=4))
def test_the_entity_of_a_prediction_is_that_of_the_first_view(some):
    located = ColumnReader(features_schema(PLAN)).locate([Encoder(features_schema(PLAN)).encode(row) for row in some])
    for record, copied in zip(some, FORMAT.parts_of_columns(located), strict=True):
        found = {entity_of(parts) for parts in (copied, FORMAT.parts_of_record(record))}
        assert found == {record["first"] and record["first"]["entity"]}


@settings(derandomize=True, deadline=None, max_examples=100)
@given(
    records,
    st.lists(st.tuples(texts, texts, longs, longs, longs), max_size=3),
    st.lists(st.tuples(texts, texts), max_size=3),
)
def test_views_of_other_pipelines_are_served_beside_the_own_ones_or_are_defaulted(record, served, defaulted):
    consumed = Consumed("features.p", 3, 4, None, None, [])
    parts = with_other_views(
        FORMAT.parts_of_record(record),
        [encode_emission(*one) for one in served],
        [encode_defaulted(*one) for one in defaulted],
    )
    value = FORMAT.encode(consumed, parts, b"", 0.5, "block", "fallback", NOW)
    names = ("view", "entity", "epoch", "seq", "as_of")
    own = [{"view": id_, **record[view]} for view, id_ in VIEWS if record[view] is not None]
    found = record_decoder("prediction").decode(value)
    assert found["views"] == [
        *({name: view[name] for name in names} for view in own),
        *(dict(zip(names, one, strict=True)) for one in served),
    ]
    assert found["defaulted"] == [{"view": view, "reason": reason} for view, reason in defaulted]
    assert ColumnReader(PREDICTION_SCHEMA).locate([value]).plain.all()
    again = FORMAT.encode(consumed, FORMAT.parts_of_prediction(found), b"", 0.5, "block", "fallback", NOW)
    assert record_decoder("prediction").decode(again) == found, "a prediction can be written again from itself"


@pytest.mark.parametrize("value", [0, -1, 1, 63, 64, -65, 2**31, -(2**31), 2**63 - 1, -(2**63)])
def test_an_integer_is_encoded_as_by_avro(value):
    buffer = io.BytesIO()
    schemaless_writer(buffer, parse_schema("long"), value)
    assert encode_integer(value) == buffer.getvalue()


@pytest.mark.parametrize("text", ["", "a", "x" * 63, "x" * 64, "ü" * 9_000])
def test_the_bytes_of_a_text_are_found_behind_its_length(text):
    assert text_of(encode_text(text)) == text.encode()
