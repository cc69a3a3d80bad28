"""Feature records as the job would publish them, of a few thousand entities, some of them busy."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from confluent_kafka import Producer

from penstock.kafka.access import KafkaAccess
from schemas.codec import Encoder
from streams.plan.compiler import compile_plan
from streams.plan.feature_records import features_schema
from tests.bench.pipeline.bench_pipeline import ENTITIES, PARTITIONS, pipeline

DISTINCT = 5_000
"""Entities of each kind."""
_NULLS = 0.05
# The values of features repeat after this many events.
_BLOCK = 10_000


def feature_records(number: int, seed: int) -> Iterator[bytes]:
    """Encoded feature records of events that follow each other by half a millisecond, up to now."""
    plan = compile_plan(pipeline)
    encode = Encoder(features_schema(plan)).encode
    rng = np.random.default_rng(seed)
    # The busiest entity has one event in twenty.
    entities = (DISTINCT * rng.random((number, len(ENTITIES))) ** 3).astype(int).tolist()
    values = rng.random((_BLOCK, sum(len(view.outputs) for view in plan.views))).tolist()
    epoch = time.time_ns() // 1_000_000
    for position, chosen in enumerate(entities):
        now = epoch - (number - position) // 2
        amount = float(rng.integers(1, 20_000)) / 100
        of_entity = dict(
            zip(ENTITIES, (f"{kind}-{n:06d}" for kind, n in zip(ENTITIES, chosen, strict=True)), strict=True)
        )
        event = of_entity | {"amount": amount}
        record: dict[str, Any] = {
            "event_id": f"{seed}-{position:012d}",
            "event_time": now,
            "trigger": "event",
            "attempt": epoch,
            "source": {"topic": plan.source.topic, "partition": 0, "offset": position, "timestamp": now},
            "event": {name: event.get(name) for name, _ in plan.passthrough},
        }
        drawn = iter(values[position % _BLOCK])
        for view in plan.views:
            record[view.name] = {
                "entity": of_entity[view.name.removesuffix("_spend")],
                "epoch": epoch,
                "seq": position,
                "as_of": now,
                "late": False,
            } | {feature.name: _value(feature.type, feature.empty, next(drawn)) for feature in view.outputs}
        yield encode(record)


def _value(kind: str, empty: Any, drawn: float) -> float | int | None:
    if kind == "long":
        return int(1 + 300 * drawn)
    return None if empty is None and drawn < _NULLS else 250 * drawn


def fill(kafka: KafkaAccess, topic: str, values: Iterator[bytes]) -> None:
    """Publish the records, alternating between partitions."""
    producer = Producer({**kafka.client(), "linger.ms": 20, "batch.size": 1_000_000})
    for position, value in enumerate(values):
        while True:
            try:
                producer.produce(topic, value, partition=position % PARTITIONS)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    assert producer.flush(120) == 0, "the records could not be published"
