"""Fills the features topic of a pipeline: ``python -m tests.bench.scoring.features FILE EVENTS``.

``--before`` uses the names that the code had at the commit that is compared with (:mod:`tests.bench.pipeline.before`);
it runs with that code on the path.
"""

from __future__ import annotations

import argparse
import importlib
import random
import time
from collections.abc import Iterator
from typing import Any

from confluent_kafka import Producer

from penstock.settings import Settings

SEED = 17
PARTITIONS = 2


def records(pipeline: Any, plan: Any, events: int, start_ms: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Partition and feature record of each event, one after the other."""
    rng = random.Random(SEED)
    names = {view.name: [(feature.name, feature.type) for feature in view.outputs] for view in plan.views}
    for number in range(events):
        now, partition = start_ms + number // 20, number % PARTITIONS
        record: dict[str, Any] = {
            "event_id": f"payment-{number:012d}",
            "event_time": now,
            "trigger": "event",
            "attempt": start_ms,
            "source": {
                "topic": pipeline.source.topic,
                "partition": partition,
                "offset": number // PARTITIONS,
                "timestamp": now,
            },
            "event": {},
        }
        for view in plan.views:
            entity = f"{view.entity}-{min(int(rng.paretovariate(0.6)), 10**6):06d}"
            record[view.name] = {
                "entity": entity,
                "epoch": start_ms,
                "seq": number,
                "as_of": now,
                "late": False,
                **{
                    feature: rng.randrange(500) if kind == "long" else None if rng.random() < 0.05 else rng.random() * 9
                    for feature, kind in names[view.name]
                },
            }
        yield partition, record


def fill(path: str, events: int, *, before: bool) -> None:
    """Publish the feature records of events that follow each other up to now."""
    if before:
        pipeline: Any = importlib.import_module("streams.loading").load_pipeline(path)
        plan = importlib.import_module("streams.plan").plan(pipeline)
        schema = importlib.import_module("schemas.records").features_schema(plan)
        kafka: Any = Settings().kafka
    else:
        pipeline = importlib.import_module("streams.definitions.loading").load_pipeline(path)
        plan = importlib.import_module("streams.plan.compiler").compile_plan(pipeline)
        schema = importlib.import_module("streams.plan.feature_records").features_schema(plan)
        kafka = Settings().kafka.access
    encoder = importlib.import_module("schemas.codec").Encoder(schema)
    bulk = {"linger.ms": 20, "compression.type": "lz4", "queue.buffering.max.messages": 1_000_000}
    producer = Producer({**kafka.client(), **bulk})
    for partition, record in records(pipeline, plan, events, time.time_ns() // 1_000_000 - events):
        key = record[plan.views[0].name]["entity"].encode()
        producer.produce(pipeline.features_topic, encoder.encode(record), key, partition)
        producer.poll(0)
    assert producer.flush(120) == 0, "the features could not be published"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.bench.scoring.features")
    parser.add_argument("file")
    parser.add_argument("events", type=int)
    parser.add_argument("--before", action="store_true")
    options = parser.parse_args()
    fill(options.file, options.events, before=options.before)
