"""The producer helper against a real Kafka: what arrives, what is refused, and what is said when something is lost."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from deploy.local.stack import Stack
from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from schemas.avro import contract_schema
from schemas.codec import Decoder, decode_event
from schemas.producer import DeliveryFailed, EventProducer, InvalidEvent
from schemas.registry import RegistrySchemas
from tests.schemas.fake_registry import fake_registry
from tests.schemas.samples import NOW_MS, SAMPLE_EVENT, Sample, contract_of

PARTITIONS = 4


@pytest.fixture
def kafka(stack: Stack) -> str:
    return KafkaAccess(bootstrap=stack.environment()["PENSTOCK_KAFKA_BOOTSTRAP"])


@pytest.fixture
def topic(create_topic: Callable[..., str]) -> str:
    return create_topic(f"events.producer.{uuid.uuid4().hex[:8]}", partitions=PARTITIONS)


def messages(kafka: KafkaAccess, topic: str, expected: int, timeout_s: float = 20.0) -> list[Message]:
    """All records of the topic, once there are at least ``expected``, and nothing more for a moment."""
    consumer = Consumer(
        {**kafka.client(), "group.id": f"test-{topic}", "enable.auto.commit": False, "check.crcs": True}
    )
    found: list[Message] = []
    try:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            message = consumer.poll(0.5)
            if message is None:
                if len(found) >= expected:
                    break
                continue
            if message.error():
                raise KafkaException(message.error())
            found.append(message)
    finally:
        consumer.close()
    assert len(found) == expected
    return found


def events_in(found: list[Message], **options: Any) -> list[Any]:
    writers = Decoder(contract_schema(Sample))
    limits = {"kafka_timestamp_ms": NOW_MS, "max_future_ms": 0, "max_bytes": 1 << 20}
    return [decode_event(message.value(), Sample, writers, **limits, **options) for message in found]


@pytest.mark.parametrize("encoding", ["avro", "json"])
def test_events_arrive_as_they_were_sent_in_either_encoding(kafka: KafkaAccess, topic: str, encoding: Any) -> None:
    sent = [Sample(**{**SAMPLE_EVENT, "event_id": str(number), "items": None}) for number in range(20)]
    with EventProducer(Sample, topic, kafka=kafka, key="card", encoding=encoding) as producer:
        for event in sent:
            producer.send(event, timestamp_ms=NOW_MS + 5, headers=[("origin", b"test")])
    found = messages(kafka, topic, 20)
    assert events_in(found) == sent
    assert {m.key() for m in found} == {b"4111"}
    assert {m.timestamp()[1] for m in found} == {NOW_MS + 5}
    assert {tuple(m.headers()) for m in found} == {(("origin", b"test"),)}


# Hashes from Kafka's own UtilsTest.testMurmur2.
@pytest.mark.parametrize(("key", "murmur2"), [("21", -973932308), ("foobar", -790332482), ("abc", 479470107)])
def test_a_key_goes_to_the_partition_that_java_clients_choose(
    kafka: KafkaAccess, topic: str, key: str, murmur2: int
) -> None:
    with EventProducer(Sample, topic, kafka=kafka, key="card") as producer:
        producer.send({**SAMPLE_EVENT, "card": key})
    assert [m.partition() for m in messages(kafka, topic, 1)] == [(murmur2 & 0x7FFFFFFF) % PARTITIONS]


def test_an_event_that_does_not_fit_its_contract_names_the_field_and_harms_nothing(
    kafka: KafkaAccess, topic: str
) -> None:
    with EventProducer(Sample, topic, kafka=kafka, key="card") as producer:
        producer.send(SAMPLE_EVENT)
        with pytest.raises(InvalidEvent) as error:
            producer.send({**SAMPLE_EVENT, "card": "4999-SECRET", "amount": -1})
        producer.send(SAMPLE_EVENT)
    assert error.value.where == "field amount"
    assert "SECRET" not in str(error.value)
    messages(kafka, topic, 2)


def test_an_event_of_another_contract_is_refused(kafka: KafkaAccess, topic: str) -> None:
    other = contract_of(name="other")
    with (
        EventProducer(Sample, topic, kafka=kafka) as producer,
        pytest.raises(InvalidEvent, match="is a other, the topic takes sample"),
    ):
        producer.send(other(t=0))


def test_an_event_of_ten_megabytes_is_refused_and_the_next_one_is_sent(kafka: KafkaAccess, topic: str) -> None:
    with EventProducer(Sample, topic, kafka=kafka) as producer:
        with pytest.raises(InvalidEvent, match=r"10,000,0\d\d bytes, more than a message may have"):
            producer.send({**SAMPLE_EVENT, "card": "x" * 10_000_000})
        producer.send(SAMPLE_EVENT)
    messages(kafka, topic, 1)


def test_what_the_broker_refuses_is_raised_with_its_partition_and_the_events(
    kafka: KafkaAccess, create_topic: Callable[..., str]
) -> None:
    topic = create_topic(f"events.small.{uuid.uuid4().hex[:8]}", partitions=1, max_message_bytes="500")
    with EventProducer(Sample, topic, kafka=kafka, key="card", config={"batch.num.messages": 1}) as producer:
        producer.send({**SAMPLE_EVENT, "card": "x" * 1000})
        with pytest.raises(DeliveryFailed) as error:
            producer.flush()
        assert error.value.where == f"{topic}[0]"
        assert [event.model_dump()["card"] for event in error.value.events] == ["x" * 1000]
        producer.send(SAMPLE_EVENT)
    messages(kafka, topic, 1)


def test_an_event_that_failed_is_raised_by_the_next_send(kafka: KafkaAccess, create_topic: Callable[..., str]) -> None:
    topic = create_topic(f"events.small.{uuid.uuid4().hex[:8]}", partitions=1, max_message_bytes="500")
    producer = EventProducer(Sample, topic, kafka=kafka)
    producer.send({**SAMPLE_EVENT, "card": "x" * 1000})
    with pytest.raises(DeliveryFailed) as error:
        send_for(20, producer)
    # A broker refuses a batch as a whole: small events that shared one with the large event are among the failed.
    assert "x" * 1000 in {event.model_dump()["card"] for event in error.value.events}
    producer.flush()


def send_for(seconds: float, producer: EventProducer) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        producer.send(SAMPLE_EVENT)
        time.sleep(0.05)


def test_leaving_the_block_does_not_hide_that_events_were_lost(
    kafka: KafkaAccess, create_topic: Callable[..., str]
) -> None:
    topic = create_topic(f"events.small.{uuid.uuid4().hex[:8]}", partitions=1, max_message_bytes="500")
    with pytest.raises(DeliveryFailed), EventProducer(Sample, topic, kafka=kafka) as producer:
        producer.send({**SAMPLE_EVENT, "card": "x" * 1000})


def test_an_error_of_the_caller_is_kept_and_notes_the_events_lost(
    kafka: KafkaAccess, create_topic: Callable[..., str]
) -> None:
    topic = create_topic(f"events.small.{uuid.uuid4().hex[:8]}", partitions=1, max_message_bytes="500")
    with pytest.raises(KeyError, match="mine") as error:
        send_and_stumble(EventProducer(Sample, topic, kafka=kafka))
    assert "Kafka did not accept 1 event" in error.value.__notes__[0]


def send_and_stumble(producer: EventProducer) -> None:
    with producer:
        producer.send({**SAMPLE_EVENT, "card": "x" * 1000})
        raise KeyError("mine")


def test_a_full_buffer_slows_the_sender_and_loses_nothing(kafka: KafkaAccess, topic: str) -> None:
    config = {"queue.buffering.max.messages": 10}
    with EventProducer(Sample, topic, kafka=kafka, config=config) as producer:
        for number in range(500):
            producer.send({**SAMPLE_EVENT, "event_id": str(number)})
    found = events_in(messages(kafka, topic, 500))
    assert sorted(int(event.event_id) for event in found) == list(range(500))


def test_a_topic_that_does_not_exist_is_said_at_once(kafka: KafkaAccess) -> None:
    with pytest.raises(PenstockError, match=r"topic events\.nowhere cannot be written") as error:
        EventProducer(Sample, "events.nowhere", kafka=kafka)
    assert error.value.next == "create it: penstock topics create PIPELINE"


def test_a_kafka_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("schemas.producer._METADATA_TIMEOUT_S", 1.0)
    with pytest.raises(PenstockError, match="Kafka cannot be reached") as error:
        EventProducer(Sample, "events.any", kafka=KafkaAccess(bootstrap="127.0.0.1:1"))
    assert error.value.where == "127.0.0.1:1"


def test_with_a_registry_events_are_framed_as_confluents_clients_do(kafka: KafkaAccess, topic: str) -> None:
    """Real Kafka and confluent-kafka's own serializer; only the registry server is a fake of its protocol."""
    with fake_registry() as registry:
        with EventProducer(Sample, topic, kafka=kafka, registry_url=registry.url) as producer:
            producer.send(SAMPLE_EVENT)
        found = messages(kafka, topic, 1)
        assert found[0].value().startswith(b"\x00\x00\x00\x00\x01")
        assert events_in(found, registry=RegistrySchemas(registry.url)) == [Sample(**SAMPLE_EVENT)]
        assert f"POST /subjects/{topic}-value/versions?normalize=False" in registry.requests
