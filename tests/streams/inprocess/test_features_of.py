"""``features_of``, the function that users of ``penstock.testing`` call."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime

import pytest

from examples.fraud.pipeline import pipeline as fraud
from penstock.errors import PenstockError
from penstock.paths import ROOT
from penstock.testing import Event, features_of
from schemas.contract import pii_hash
from streams.inprocess.features_of import time_ms
from streams.inprocess.kernel import Kernel
from tests.corpus.pipeline import pipeline
from tests.streams.definitions.test_pipeline import REFUNDS
from tests.streams.definitions.test_pipeline import pipeline as two_sources

PAYMENT = {
    "event_time": "2026-03-01T12:00:00Z",
    "card_id": "4000000000000001",
    "customer_id": "c1",
    "terminal_id": "t1",
    "amount": 10.0,
    "currency": "EUR",
    "channel": "chip",
    "country": "FR",
    "home_country": "FR",
}


def test_features_follow_the_events_in_the_order_given() -> None:
    first, second = features_of(pipeline, [{"time": 1000, "k": "a", "x": 1.5}, {"time": 2000, "k": "a", "x": 2}])
    assert (first["numbers.x_sum_1m"], second["numbers.x_sum_1m"]) == (1.5, 3.5)
    assert second["event.x"] == 2.0
    edges = second.views["edges"]
    assert edges is not None
    assert (edges.entity, edges.seq, edges.as_of, edges.late) == ("a", 2, 2000, False)


def test_a_field_that_the_contract_has_not_is_refused_with_the_nearest() -> None:
    with pytest.raises(PenstockError, match=r"has amout, which contract .* has not: did you mean amount") as refused:
        features_of(fraud, [PAYMENT, PAYMENT | {"amout": 1.0}])
    assert refused.value.where == "event 2"


def test_each_call_begins_with_empty_windows() -> None:
    for _ in range(2):
        (only,) = features_of(pipeline, [{"id": "1", "time": 1000, "k": "a"}])
        assert only["edges.count_10s"] == 1


@pytest.mark.parametrize(
    "time",
    ["1970-01-01T00:00:05Z", "1970-01-01T01:00:05+01:00", "1970-01-01T00:00:05", datetime.fromtimestamp(5, UTC), 5000],
)
def test_time_is_epoch_milliseconds_or_iso_8601_or_a_datetime(time: object) -> None:
    (only,) = features_of(pipeline, [{"time": time}])
    assert only["event.time"] == 5000


def test_an_event_without_an_id_gets_a_unique_one() -> None:
    outcomes = features_of(pipeline, [{"time": 1, "k": "a"}, {"time": 1, "k": "a"}])
    assert [outcome["event.id"] for outcome in outcomes] == ["event-1", "event-2"]


def test_a_feature_of_a_missing_entity_is_none() -> None:
    (only,) = features_of(pipeline, [{"time": 1}])
    assert only.views["edges"] is None
    assert only["edges.count_10s"] is None


def test_a_refused_event_has_a_reason_and_no_features() -> None:
    refused, garbage = features_of(fraud, [PAYMENT | {"amount": -1.0}, Event(b"\xff")])
    assert refused.refused == "penstock.InvalidField"
    assert refused.message is not None
    assert "amount" in refused.message
    assert garbage.refused == "penstock.Undecodable"
    with pytest.raises(KeyError, match="was refused"):
        refused["card_spend.count_1h"]


def test_a_duplicate_has_no_features() -> None:
    _, copy = features_of(pipeline, [{"id": "1", "time": 1, "k": "a"}] * 2)
    assert copy.duplicate
    with pytest.raises(KeyError, match="duplicate"):
        copy["edges.count_10s"]


def test_the_error_for_a_misspelt_feature_lists_the_known_ones() -> None:
    (only,) = features_of(pipeline, [{"time": 1, "k": "a"}])
    with pytest.raises(KeyError, match="x_sum_10s"):
        only["edges.x_summ_10s"]
    with pytest.raises(KeyError, match="edges"):
        only["edge.x_sum_10s"]


def test_an_event_ahead_of_its_kafka_timestamp_is_refused() -> None:
    guarded, free = features_of(pipeline, [Event({"time": 61_001}, received=1_000), Event({"time": 61_001})])
    assert guarded.refused == "penstock.FutureEvent"
    assert free.emitted


def test_personal_data_is_hashed_and_dropped_as_in_production() -> None:
    (only,) = features_of(fraud, [PAYMENT | {"cardholder_name": "A. Holder"}])
    card = only.views["card_spend"]
    assert card is not None
    assert card.entity == pii_hash(b"penstock.testing", "4000000000000001")
    assert only["event.cardholder_name"] is None


def test_a_source_in_event_time_order_is_sorted_before_the_windows() -> None:
    source = pipeline.source.model_copy(update={"order": "event_time"})
    by_time = pipeline.model_copy(update={"source": source})
    events = [{"time": 2000, "k": "a"}, {"time": 1000, "k": "a"}]
    arrival = [outcome["edges.count_10s"] for outcome in features_of(pipeline, events)]
    event_time = [outcome["edges.count_10s"] for outcome in features_of(by_time, events)]
    assert (arrival, event_time) == ([1, 2], [2, 1])


def test_in_event_time_order_duplicates_are_dropped_by_arrival() -> None:
    """The event that arrived first counts, also if the other one is earlier."""
    source = pipeline.source.model_copy(update={"order": "event_time"})
    events = [{"id": "i", "time": 10_000, "k": "a", "x": 1.0}, {"id": "i", "time": 5_000, "k": "a", "x": 2.0}]
    first, second = features_of(pipeline.model_copy(update={"source": source}), events)
    assert (first["numbers.x_sum_1m"], second.duplicate) == (1.0, True)


def test_in_event_time_order_a_duplicate_moves_the_watermark_as_in_a_job() -> None:
    source = pipeline.source.model_copy(update={"order": "event_time"})
    # The second "i" takes the watermark past 70,050, so the last event comes too late to be placed before that.
    times = [("i", 100_000), ("j", 70_050), ("i", 100_300), ("l", 70_010)]
    events = [{"id": event_id, "time": time, "k": "a"} for event_id, time in times]
    outcomes = features_of(pipeline.model_copy(update={"source": source}), events)
    seqs = [edges.seq for outcome in outcomes if (edges := outcome.views.get("edges"))]
    assert (seqs, outcomes[2].duplicate) == ([3, 1, 2], True)


def test_a_pipeline_without_sql_imports_no_duckdb() -> None:
    program = """
import sys
from typing import Annotated
import penstock as ps
from penstock.testing import features_of

class Ping(ps.Contract, name="ping", version=1):
    at: Annotated[int, ps.EVENT_TIME]
    host: Annotated[str, ps.ENTITY]
    rack: Annotated[str | None, ps.ENTITY] = None

place = ps.Entity(name="place", key=("host", "rack"))
view = ps.View(name="v", version=1, entity=place, aggregates=(ps.count(over="1m"),))
pipeline = ps.Pipeline(
    name="p", source=ps.Source(topic="pings", contract=Ping), entities=(place,), views=(view,),
    model=ps.Model(name="m", inputs=view.inputs(), threshold=0.5, positive="a", negative="b"),
)
found = features_of(pipeline, [{"at": 1_772_366_400_000, "host": "h", "rack": "r|1"}])
print(found[0].views["v"].entity, "duckdb" in sys.modules, "pyarrow" in sys.modules)
"""
    result = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=ROOT)
    assert result.stdout.split() == ["h|r\\|1", "False", "False"]


def test_a_request_to_an_ended_kernel_is_an_error() -> None:
    with Kernel() as kernel:
        kernel._process.kill()
        with pytest.raises(PenstockError, match="the kernel process ended"):
            features_of(pipeline, [{"time": 1}], kernel=kernel)
        assert not kernel.alive


def test_an_invalid_request_is_an_error_with_the_kernels_message() -> None:
    with Kernel() as kernel, pytest.raises(PenstockError, match=r"the kernel process ended.*Source"):
        kernel.features({"pipeline": 1, "source": "none"}, [])


def test_events_of_another_source_update_windows_and_filtered_events_are_ignored() -> None:
    refunds = REFUNDS.model_copy(update={"filter": "back > 1"})
    refund = {"refunded": 2_000, "card": "c", "back": 5.0}
    outcomes = features_of(
        two_sources(additional_sources=(refunds,)),
        [
            {"time": 1_000, "card": "c", "email": "e", "amount": 250.0},
            Event(refund, source="refund"),
            Event(refund | {"back": 0.5}, source="refund"),
            Event(refund | {"back": "much"}, source="refund"),
            {"time": 3_000, "card": "c", "email": "e", "amount": 50.0},
        ],
    )
    first, updating, ignored, refused, last = outcomes
    assert (updating.updates, updating.emitted) == (True, False)
    assert (ignored.ignored, refused.refused) == (True, "penstock.InvalidField")
    assert [outcome["spending.count_1h"] for outcome in (first, last)] == [1, 3]
    assert last["spending.amount_mean_1h"] == 150.0
    with pytest.raises(KeyError, match="only updates windows"):
        updating["spending.count_1h"]


def test_events_of_all_topics_that_are_scored_have_features_and_copies_within_a_contract_are_duplicates() -> None:
    app = two_sources().source.model_copy(update={"topic": "app"})
    scored = REFUNDS.model_copy(update={"triggers": True})
    payment = {"id": "1", "time": 1_000, "card": "c", "email": "e", "amount": 250.0}
    paid, refunded, copied, other = features_of(
        two_sources(additional_sources=(app, scored)),
        [
            payment,
            Event({"refund": "1", "refunded": 2_000, "card": "c", "back": 5.0}, source="refund"),
            Event(payment, source="app"),
            Event(payment | {"id": "2"}, source="app"),
        ],
    )
    assert (copied.duplicate, refunded.updates) == (True, False)
    assert [outcome["spending.count_1h"] for outcome in (paid, refunded, other)] == [1, 2, 3]
    assert (refunded["event.amount"], refunded["event.event__type"]) == (None, "refund")


def test_the_error_for_an_unknown_source_lists_the_known_ones() -> None:
    with pytest.raises(PenstockError, match="it has payment, refund"):
        features_of(two_sources(additional_sources=(REFUNDS,)), [Event({}, source="refnud")])


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("2026-03-01T12:00:00Z", 1_772_366_400_000),
        ("1772366400000", 1_772_366_400_000),
        ("2026-03-01-05:00", "2026-03-01-05:00"),
        ("2026-03-01x07:00", "2026-03-01x07:00"),
    ],
)
def test_a_time_is_read_as_the_command_line_reads_it(text: str, read: int | str) -> None:
    assert time_ms(text) == read
