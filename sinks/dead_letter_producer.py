"""Publishes the records that a sink cannot decode to the dead-letter topic of their topic."""

from __future__ import annotations

from collections.abc import Sequence

from confluent_kafka import KafkaError, Producer

from penstock.kafka.access import QUIET, KafkaAccess
from penstock.kafka.names import dead_letters_of
from schemas.dead_letters import DeadLetter
from sinks.store_interface import StoreUnavailable


class DeadLetterProducer:
    """Publishes dead letters; creates its Kafka producer when the first one comes."""

    def __init__(self, kafka: KafkaAccess) -> None:
        self._kafka = kafka
        self._producer: Producer | None = None

    def publish(self, letters: Sequence[DeadLetter]) -> None:
        """Publish all; returns once Kafka has acknowledged them.

        Raises:
            StoreUnavailable: if Kafka does not acknowledge all of them.
        """
        if not letters:
            return
        if self._producer is None:
            self._producer = Producer(
                {
                    **self._kafka.client(),
                    **QUIET,
                    "enable.idempotence": True,
                    "message.max.bytes": 32 * 1024 * 1024,
                    "delivery.timeout.ms": 15_000,
                }
            )
        errors: list[KafkaError] = []
        for letter in letters:
            self._producer.produce(
                dead_letters_of(letter.topic),
                key=letter.key,
                value=letter.value,
                headers=letter.headers(),
                partition=letter.partition,
                on_delivery=lambda error, _: errors.append(error) if error is not None else None,
            )
        self._producer.flush(20)
        if errors or len(self._producer):
            self._producer.purge()
            self._producer = None
            raise StoreUnavailable(
                f"dead letters are not taken: {errors[0].str() if errors else 'no answer'}",
                where=f"{dead_letters_of(letters[0].topic)} at {self._kafka}",
                safe="the records are kept in their topic and tried again",
            )
