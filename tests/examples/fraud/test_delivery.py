import json
from collections import Counter, defaultdict
from itertools import islice

import pytest

from examples.fraud.delivery import MALFORMATIONS, FraudConfig, messages
from examples.fraud.pipeline import CardTransaction, FraudLabel, pipeline
from examples.fraud.simulation import DAY_MS, HOUR_MS, START_MS, WorldConfig
from examples.messages import EventFormats
from schemas.avro import contract_schema
from schemas.codec import MARKER, Decoder, Rejection, decode_event, event_row
from streams.oracle.reference import accept_events
from streams.plan.compiler import compile_plan

SEED, LIMIT = 7, 12_000
LONGEST_WINDOW_MS = max(view.longest_window_ms or 0 for view in compile_plan(pipeline).views)
WRITERS = Decoder(contract_schema(CardTransaction))


def decode(value):
    source = pipeline.source
    return decode_event(
        value,
        CardTransaction,
        WRITERS,
        kafka_timestamp_ms=START_MS + 365 * DAY_MS,
        max_future_ms=source.max_future,
        max_bytes=source.max_bytes,
    )


@pytest.fixture(scope="module")
def sent():
    return list(messages(SEED, LIMIT))


@pytest.fixture(scope="module")
def labels(sent):
    decoder = Decoder(contract_schema(FraudLabel))
    return [FraudLabel.model_validate(decoder.decode(m.value)) for m in sent if m.kind == "label"]


@pytest.fixture(scope="module")
def events(sent):
    return [decode(m.value) for m in sent if m.kind == "event"]


def test_the_same_seed_gives_the_same_messages(sent):
    assert list(messages(SEED, LIMIT)) == sent


def test_another_seed_gives_others():
    assert list(messages(1, 100)) != list(messages(2, 100))


def test_without_a_limit_the_first_days_have_the_same_messages(sent):
    # Until the day on which the limit is reached, messages must not depend on it.
    assert list(islice(messages(SEED), 10_000)) == sent[:10_000]


def test_every_event_is_valid(events):
    assert not [event for event in events if isinstance(event, Rejection)]
    assert len(events) == LIMIT


def test_half_of_the_events_are_avro_and_half_json(sent):
    avro = sum(m.value[:2] == MARKER for m in sent if m.kind == "event")
    assert avro == pytest.approx(LIMIT / 2, rel=0.05)


def test_every_event_is_keyed_by_the_column_that_partitions_the_source(sent):
    for message in sent:
        if message.kind == "event":
            assert message.key == getattr(decode(message.value), pipeline.source.key).encode()


def test_malformed_and_duplicate_messages_have_the_configured_rates():
    config = FraudConfig(duplicates=0.1, malformed=0.2)
    kinds = Counter(m.kind for m in messages(SEED, 5_000, config))
    assert kinds["event"] == kinds["label"] == 5_000
    assert kinds["duplicate"] == pytest.approx(500, rel=0.15)
    assert kinds["malformed"] == pytest.approx(1_000, rel=0.15)


def test_malformed_messages_are_refused_for_their_expected_reason():
    malformed = [m for m in messages(SEED, 2_000, FraudConfig(malformed=1.0)) if m.kind == "malformed"]
    for message in malformed:
        refused = decode(message.value)
        assert isinstance(refused, Rejection), message
        assert refused.reason == message.expected, message
    assert {m.expected for m in malformed} == {reason for _, reason in MALFORMATIONS}


@pytest.mark.parametrize("number", range(len(MALFORMATIONS)))
def test_each_malformation_makes_a_valid_event_invalid(number, events):
    make, reason = MALFORMATIONS[number]
    refused = decode(make(events[0].model_dump(), EventFormats(CardTransaction)))
    assert isinstance(refused, Rejection)
    assert refused.reason == reason


def test_duplicates_are_the_same_bytes_and_are_dropped_within_the_horizon():
    sent = [m for m in messages(SEED, 8_000, FraudConfig(duplicates=0.2)) if m.kind in ("event", "duplicate")]
    ids = [(m.key, decode(m.value).transaction_id, m.event_time_ms) for m in sent]
    first_bytes = {}
    for message, (_, transaction_id, _) in zip(sent, ids, strict=True):
        assert first_bytes.setdefault(transaction_id, message.value) == message.value
    verdicts = accept_events(ids, pipeline.source.dedup_horizon)
    assert verdicts == [m.kind == "event" for m in sent]


def behind_ms(events):
    """How far each event is behind the newest event that arrived before it, in ms."""
    newest, behind = 0, []
    for event in events:
        newest = max(newest, event.event_time)
        behind.append(newest - event.event_time)
    return behind


def test_some_events_are_minutes_late_and_some_are_hours_late(events):
    behind = behind_ms(events)
    assert sum(b > 60_000 for b in behind) == pytest.approx(0.02 * LIMIT, rel=0.3)
    assert sum(b > HOUR_MS for b in behind) == pytest.approx(0.0025 * LIMIT, rel=0.5)


def test_some_events_are_older_than_every_window():
    sent = [m for m in messages(SEED, 15_000, FraudConfig(too_late=0.01)) if m.kind == "event"]
    too_late = sum(b > LONGEST_WINDOW_MS for b in behind_ms(decode(m.value) for m in sent))
    # Events of the last days that arrive at the very end are not behind any newer event.
    assert 50 < too_late < 150


def test_every_event_has_one_label_that_comes_after_it(sent):
    arrived, labelled = set(), set()
    decoder = Decoder(contract_schema(FraudLabel))
    for message in sent:
        if message.kind == "event":
            arrived.add(decode(message.value).transaction_id)
        elif message.kind == "label":
            transaction_id = decoder.decode(message.value)["transaction_id"]
            assert transaction_id in arrived
            assert transaction_id not in labelled
            labelled.add(transaction_id)
    assert labelled == arrived


def test_labels_are_known_between_two_hours_and_three_days_after_a_prompt_event(events, labels):
    times = {event.transaction_id: event.event_time for event in events}
    delays = sorted(label.label_time - times[label.transaction_id] for label in labels)
    assert delays[0] >= HOUR_MS
    prompt = delays[: int(0.99 * len(delays))]
    assert prompt[-1] <= 3 * DAY_MS
    assert DAY_MS / 2 < prompt[len(prompt) // 2] < DAY_MS


def test_labels_come_in_the_order_in_which_they_become_known(labels):
    times = [label.label_time for label in labels]
    assert times == sorted(times)


def test_a_few_percent_are_fraud(labels):
    assert 0.01 < sum(label.is_fraud for label in labels) / len(labels) < 0.06


def test_no_personal_value_is_left_once_columns_are_hashed_or_dropped(events):
    row = event_row(events[0], CardTransaction, b"key")
    text = json.dumps(row)
    assert row["cardholder_name"] is None
    assert events[0].card_id not in text


def test_optional_fields_are_missing_for_some_and_present_for_others(events):
    for name in ("cardholder_name", "device_id"):
        assert {getattr(event, name) is None for event in events} == {True, False}


def test_without_faults_every_event_arrives_once_and_nothing_else():
    config = FraudConfig(
        world=WorldConfig(customers=50, terminals=20),
        out_of_order=0,
        hours_late=0,
        too_late=0,
        duplicates=0,
        malformed=0,
        avro=0,
    )
    kinds = Counter(m.kind for m in messages(3, 500, config))
    assert kinds == {"event": 500, "label": 500}


def test_cards_belong_to_one_customer(events):
    holders = defaultdict(set)
    for event in events:
        holders[event.card_id].add(event.customer_id)
    assert {len(customers) for customers in holders.values()} == {1}
