import math

import pytest

from examples.flights.pipeline import pipeline as flights
from examples.fraud.delivery import messages
from examples.fraud.pipeline import CardTransaction, pipeline
from schemas.avro import contract_schema
from schemas.codec import Decoder, decode_event, event_row
from streams.oracle.derived_columns import derive
from streams.plan.compiler import compile_plan


@pytest.fixture(scope="module")
def rows():
    decoder = Decoder(contract_schema(CardTransaction))
    events = [
        decode_event(m.value, CardTransaction, decoder, kafka_timestamp_ms=2**62, max_future_ms=0, max_bytes=2**20)
        for m in messages(7, 2_000)
        if m.kind == "event"
    ]
    return derive(compile_plan(pipeline), [event_row(event, CardTransaction, b"key") for event in events])


def test_every_aggregate_is_used_by_the_examples():
    used = {f.operation for p in (pipeline, flights) for view in compile_plan(p).views for f in view.features}
    assert used == {"count", "sum", "mean", "min", "max", "std", "last", "approx_distinct", "time_since_last"}


def test_amounts_in_every_currency_are_compared_in_euro(rows):
    rate = {"EUR": 1.0, "GBP": 1.15, "USD": 0.92}
    assert {row["currency"] for row in rows} == set(rate)
    for row in rows:
        assert row["amount_eur"] == row["amount"] * rate[row["currency"]]
        assert row["log_amount"] == pytest.approx(math.log(row["amount"]))


def test_flags_are_zero_or_one(rows):
    for name in ("is_night", "is_foreign", "is_online", "is_contactless"):
        assert {row[name] for row in rows} == {0.0, 1.0}


def test_night_is_before_six_in_the_morning(rows):
    assert {row["hour_of_day"] < 6 for row in rows if row["is_night"]} == {True}
    assert {row["hour_of_day"] < 6 for row in rows if not row["is_night"]} == {False}


def test_no_personal_column_is_passed_through():
    personal = {f.name for f in compile_plan(pipeline).source.fields if f.pii}
    assert personal == {"card_id", "cardholder_name"}
    assert not personal & {name for name, _ in compile_plan(pipeline).passthrough}
