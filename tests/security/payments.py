"""A pipeline with personal data of both kinds, and its events: good ones, and garbage that names people too."""

from __future__ import annotations

import json

from confluent_kafka import Producer

from penstock.kafka.access import KafkaAccess
from schemas.producer import EventProducer
from scoring.repository import ModelRepository
from streams.definitions.pipeline import Pipeline
from tests.streams.drift import references

EVENTS, GARBAGE = 240, 12
HOLDER = "Theodora Quillfeather"
CARDS = [f"40000000000{number:05}" for number in range(20)]
START_MS = 1_760_000_000_000

DEFINITION = '''
"""Payments, with personal data of both kinds."""

from typing import Annotated

from pydantic import Field

from penstock import *  # noqa: F403


class Payment(Contract, name="{name}_payment", version=1):
    """A payment."""

    id: Annotated[str, EVENT_ID]
    time: Annotated[int, EVENT_TIME]
    card: Annotated[str, ENTITY, PII_HASH, Field(pattern="^[0-9]{{16}}$")]
    holder: Annotated[str | None, PII_DROP, Field(max_length=40)] = None
    shop: str
    amount: Annotated[float, Field(gt=0)]


card = Entity(name="card", key="card")
pipeline = Pipeline(
    name="{name}",
    source=Source(topic="events.{name}", contract=Payment, key="card", partitions=2),
    entities=(card,),
    views=(View(name="spending", version=1, entity=card, aggregates=(count(over="1h"), mean("amount", over="1h"))),),
    monitors=Monitors(inputs=("spending.count_1h",), window=100),
    model=Model(
        name="{name}",
        inputs=("event.amount", "spending.count_1h", "spending.amount_mean_1h"),
        threshold=0.5,
        positive="block",
        negative="pass",
    ),
    passthrough=("shop",),
)
'''


def produce(pipeline: Pipeline, kafka: KafkaAccess) -> None:
    """Send :data:`EVENTS` good events, and then the garbage."""
    source = pipeline.source
    with EventProducer(source.contract, source.topic, kafka=kafka, key="card", encoding="json") as producer:
        for number in range(EVENTS):
            producer.send(
                {
                    "id": f"p-{number}",
                    "time": START_MS + number * 1_000,
                    "card": CARDS[number % len(CARDS)],
                    "holder": HOLDER,
                    "shop": "corner",
                    "amount": 1.0 + number % 7,
                }
            )
    raw = Producer(kafka.client())
    for number in range(GARBAGE):
        faulty = {"id": f"g-{number}", "time": START_MS, "card": f"{CARDS[number]}-", "holder": HOLDER, "shop": "s"}
        # One field is missing, or one is of another type: the contract's complaint must not quote it.
        value = json.dumps(faulty if number % 2 else faulty | {"amount": CARDS[number]}).encode()
        raw.produce(source.topic, value, CARDS[number].encode())
    assert raw.flush(20) == 0


def add_reference(pipeline: Pipeline, repository: ModelRepository) -> None:
    """What training would have left: counts of another kind than those that come."""
    assert pipeline.monitors is not None
    of_this = {
        "pipeline": pipeline.name,
        "model": pipeline.model.name,
        "window": pipeline.monitors.window,
        "false_alarm_every": pipeline.monitors.false_alarm_every,
    }
    found = references.reference(*pipeline.monitors.names()).model_copy(update=of_this)
    references.add_reference(repository, found)
