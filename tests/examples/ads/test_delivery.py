"""What producers of the ads example send: valid, late, doubled and malformed messages of three sources and labels."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest

from examples.ads.conversions import ConversionLabel
from examples.ads.delivery import CLICKS, CONVERSIONS, IMPRESSIONS, MALFORMATIONS, AdsConfig, messages
from examples.ads.pipeline import ClickLabel, pipeline
from examples.ads.simulation import DAY_MS, HOUR_MS, START_MS
from examples.messages import Message
from schemas.avro import contract_schema
from schemas.codec import MARKER, Decoder, Rejection, decode_event
from schemas.contract import Contract
from streams.oracle.reference import accept_events

SEED, LIMIT = 7, 4_000
SOURCES = {source.topic: source for source in pipeline.sources}
WRITERS = {topic: Decoder(contract_schema(source.contract)) for topic, source in SOURCES.items()}


def decode(message: Message) -> Contract | Rejection:
    source = SOURCES[message.topic]
    return decode_event(
        message.value,
        source.contract,
        WRITERS[message.topic],
        kafka_timestamp_ms=START_MS + 365 * DAY_MS,
        max_future_ms=source.max_future,
        max_bytes=source.max_bytes,
    )


@pytest.fixture(scope="module")
def sent() -> list[Message]:
    return list(messages(SEED, LIMIT))


def test_the_same_seed_gives_the_same_messages_with_a_limit_and_without(sent: list[Message]) -> None:
    assert list(islice(messages(SEED), 3_000)) == sent[:3_000]


def test_every_message_that_is_not_malformed_is_valid_and_keyed_by_the_user(sent: list[Message]) -> None:
    for message in sent:
        if message.kind in ("event", "update", "duplicate"):
            event = decode(message)
            assert isinstance(event, Contract)
            assert message.key == event.user_id.encode()  # type: ignore[attr-defined]
    kinds = Counter((message.topic, message.kind) for message in sent)
    assert kinds[IMPRESSIONS, "event"] == LIMIT
    assert kinds[CLICKS, "update"] == kinds["labels.clicks", "label"] > 200
    assert 5 < kinds[CONVERSIONS, "update"] < kinds[CLICKS, "update"] / 5


def test_half_of_the_events_are_avro(sent: list[Message]) -> None:
    events = [message.value or b"" for message in sent if message.kind == "event"]
    assert sum(value[:2] == MARKER for value in events) == pytest.approx(LIMIT / 2, rel=0.08)


def test_malformed_impressions_are_refused_for_their_expected_reason() -> None:
    malformed = [m for m in messages(SEED, 300, AdsConfig(malformed=1.0)) if m.kind == "malformed"]
    for message in malformed:
        refused = decode(message)
        assert isinstance(refused, Rejection), message
        assert refused.reason == message.expected, message
    assert {message.expected for message in malformed} == {reason for _, reason in MALFORMATIONS}


@pytest.mark.parametrize("topic", [IMPRESSIONS, CLICKS])
def test_a_copy_is_a_duplicate_within_the_horizon(topic: str) -> None:
    config = AdsConfig(duplicates=0.2, clicked_again=0.5)
    source = SOURCES[topic]
    found = [
        m for m in messages(SEED, LIMIT, config) if m.topic == topic and m.kind in ("event", "update", "duplicate")
    ]
    ids = [(m.key, getattr(decode(m), source.event_id or ""), m.event_time_ms) for m in found]
    assert accept_events(ids, source.dedup_horizon) == [m.kind != "duplicate" for m in found]
    assert Counter(m.kind for m in found)["duplicate"] > 50


def test_outcomes_come_with_their_impression_at_the_earliest(sent: list[Message]) -> None:
    arrived = set()
    for message in sent:
        if message.kind == "event":
            arrived.add(decode(message).impression_id)  # type: ignore[union-attr]
        elif message.kind == "update":
            assert decode(message).impression_id in arrived  # type: ignore[union-attr]


def test_some_impressions_arrive_hours_late(sent: list[Message]) -> None:
    newest, behind = 0, []
    for message in sent:
        if message.kind == "event" and message.event_time_ms is not None:
            newest = max(newest, message.event_time_ms)
            behind.append(newest - message.event_time_ms)
    assert sum(b > 9_000 for b in behind) == pytest.approx(0.022 * LIMIT, rel=0.4)
    assert sum(b > HOUR_MS for b in behind) > 0


@pytest.mark.parametrize(
    ("labels", "topic", "contract"),
    [("clicks", CLICKS, ClickLabel), ("conversions", CONVERSIONS, ConversionLabel)],
)
def test_what_happened_has_a_label_and_what_did_not_has_none(labels: str, topic: str, contract: type[Contract]) -> None:
    found = list(messages(SEED, LIMIT, AdsConfig(labels=labels)))  # type: ignore[arg-type]
    decoder = Decoder(contract_schema(contract))
    said = [decoder.decode(m.value or b"") for m in found if m.kind == "label"]
    happened = [decode(m) for m in found if m.topic == topic and m.kind == "update"]
    assert {one["impression_id"] for one in said} == {one.impression_id for one in happened}  # type: ignore[union-attr]
    assert len(said) == len(happened)
    assert {value for one in said for value in one.values() if isinstance(value, bool)} == {True}
