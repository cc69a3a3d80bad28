"""Starts the one writer of what several processes change in turn: by reading, deciding, and writing.

All of them use one transactional id. Whoever starts a producer with it fences every other writer, and waits until what
that one was writing is committed or aborted. Only then it reads and decides. So changes are totally ordered, and nobody
replaces what he has not seen.
"""

from __future__ import annotations

import time

from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from penstock.kafka.transactions import Deadline, TransactionalProducer, producer_factory

# How long it waits for Kafka: whoever waits for a command should get an answer.
_START_S = 30.0


def start_writer(kafka: KafkaAccess, transactional_id: str) -> TransactionalProducer:
    """Fence all other writers, and wait until what they were writing is committed or aborted.

    Raises:
        PenstockError: if Kafka does not answer.
    """
    deadline = Deadline.after(_START_S, time.monotonic)

    def wait(seconds: float) -> None:
        if deadline.expired:
            raise PenstockError(
                "Kafka does not answer", where=str(kafka), safe="nothing was written", next="penstock status"
            )
        time.sleep(seconds)

    producer = TransactionalProducer(
        producer_factory(kafka, transactional_id, quiet=True),
        transactional_id,
        clock=time.monotonic,
        wait=wait,
        stopping=lambda: False,
    )
    producer.start()
    return producer
