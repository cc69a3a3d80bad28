"""A sink's dead letters against a real Kafka that refuses some of them as too large."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from penstock.kafka.reading import read_topic
from penstock.kafka.records import MAX_RECORD_BYTES
from penstock.settings import Settings
from schemas.dead_letters import DeadLetter
from sinks.dead_letter_producer import DeadLetterProducer


def test_letters_that_kafka_or_its_client_refuse_have_an_excerpt_and_the_others_are_whole(
    settings: Settings, suffix: str, create_topic: Callable[..., str]
) -> None:
    kafka, topic = settings.kafka.access, f"features.letters_{suffix}"
    create_topic(f"{topic}.dlq", max_message_bytes="100000")
    short = DeadLetter(
        topic=topic,
        partition=0,
        offset=0,
        pipeline="letters",
        stage="decode",
        component="penstock.sink.redis",
        reason="penstock.Undecodable",
        message="not Avro",
        key=b"k",
        value=b"short",
    )
    letters = [
        short,
        replace(short, offset=1, value=b"a" * 200_000),
        replace(short, offset=2, value=b"a" * MAX_RECORD_BYTES),
        replace(short, offset=3, key=b"k" * 200_000),
    ]
    producer = DeadLetterProducer(kafka)
    producer.publish(letters)
    producer.publish([replace(short, offset=4)])

    found = [DeadLetter.read(r.key, r.value, r.headers) for r in read_topic(kafka, f"{topic}.dlq")]
    assert sorted(found, key=lambda letter: letter.offset) == [
        short,
        letters[1].excerpt(),
        letters[2].excerpt(),
        letters[3].bare(),
        replace(short, offset=4),
    ]
