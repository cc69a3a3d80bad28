"""Publishes the records that a sink cannot decode to the dead-letter topic of their topic."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Producer

from penstock.kafka.access import QUIET, KafkaAccess
from penstock.kafka.fatal import run_callbacks
from penstock.kafka.names import dead_letters_of
from penstock.kafka.records import MAX_RECORD_BYTES
from schemas.dead_letters import DeadLetter
from sinks.store_interface import StoreUnavailable


class DeadLetterProducer:
    """Publishes dead letters; creates its Kafka producer when the first one comes."""

    def __init__(self, kafka: KafkaAccess) -> None:
        self._kafka = kafka
        self._producer: Producer | None = None

    def publish(self, letters: Sequence[DeadLetter]) -> None:
        """Publish all; returns once Kafka has acknowledged them.

        A letter that is too long for its topic or the producer is published with an excerpt of the value.

        Raises:
            StoreUnavailable: if Kafka does not acknowledge all of them.
        """
        # Kafka refuses a batch for one record in it, so the refused ones are sent one by one.
        for letter in self._send(letters):
            if all(self._send([form]) for form in letter.forms()):
                raise self._not_taken("too large", letter)

    def _send(self, letters: Sequence[DeadLetter]) -> list[DeadLetter]:
        """Publish letters; returns those that are too large."""
        if not letters:
            return []
        producer = self._producer = self._producer or self._connected()
        too_large: list[DeadLetter] = []
        errors: list[KafkaError] = []

        def on_delivery(error: KafkaError | None, letter: DeadLetter) -> None:
            if error is not None and error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
                too_large.append(letter)
            elif error is not None:
                errors.append(error)

        for letter in letters:
            try:
                producer.produce(
                    dead_letters_of(letter.topic),
                    key=letter.key,
                    value=letter.value,
                    headers=letter.headers(),
                    partition=letter.partition,
                    on_delivery=lambda error, _, letter=letter: on_delivery(error, letter),
                )
            except KafkaException as error:
                on_delivery(error.args[0], letter)
        _, fatal = run_callbacks(partial(producer.flush, 20))
        if fatal is not None:
            errors.insert(0, fatal)
        if errors or len(producer):
            producer.purge()
            self._producer = None
            raise self._not_taken(errors[0].str() if errors else "no answer", letters[0])
        return too_large

    def _connected(self) -> Producer:
        return Producer(
            {
                **self._kafka.client(),
                **QUIET,
                "enable.idempotence": True,
                "message.max.bytes": MAX_RECORD_BYTES,
                "delivery.timeout.ms": 15_000,
            }
        )

    def _not_taken(self, why: str, letter: DeadLetter) -> StoreUnavailable:
        return StoreUnavailable(
            f"dead letters are not taken: {why}",
            where=f"{dead_letters_of(letter.topic)} at {self._kafka}",
            safe="the records are kept in their topic and tried again",
        )
