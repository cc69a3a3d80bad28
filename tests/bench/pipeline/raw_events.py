"""Raw events of the pipeline that is measured: payments in the order of their times, some entities busier."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from confluent_kafka import Producer

from penstock.kafka.access import KafkaAccess
from tests.bench.pipeline.definition import PARTITIONS

DISTINCT = 5_000
"""Entities of each kind."""


def payments(number: int, until_ms: int, seed: int) -> Iterator[tuple[int, bytes, bytes]]:
    """Partition, key and JSON of payments half a millisecond apart, up to a time."""
    rng = np.random.default_rng(seed)
    # The busiest entity has one event in seventeen.
    chosen = (DISTINCT * rng.random((number, 3)) ** 3).astype(int).tolist()
    amounts = (rng.integers(100, 2_000_000, number) / 100).tolist()
    for place, ((card, shop, device), amount) in enumerate(zip(chosen, amounts, strict=True)):
        time_ms = until_ms - (number - place) // 2
        yield (
            card % PARTITIONS,
            b"card-%06d" % card,
            payment(f"{seed}-{place:012d}", time_ms, card, shop, device, amount),
        )


def payment(event_id: str, time_ms: int, card: int, shop: int, device: int, amount: float) -> bytes:
    """One payment as JSON."""
    return (
        f'{{"id":"{event_id}","time":{time_ms},"card":"card-{card:06d}","shop":"shop-{shop:06d}",'
        f'"device":"device-{device:06d}","amount":{amount}}}'
    ).encode()


def fill(kafka: KafkaAccess, topic: str, events: Iterator[tuple[int, bytes, bytes]]) -> None:
    """Publish the events."""
    bulk = {"linger.ms": 20, "batch.size": 1_000_000, "compression.type": "lz4"}
    producer = Producer({**kafka.client(), **bulk})
    for partition, key, value in events:
        while True:
            try:
                producer.produce(topic, value, key, partition)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    assert producer.flush(120) == 0, "the events could not be published"
