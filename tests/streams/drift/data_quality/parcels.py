"""A small pipeline whose raw events tests write themselves: parcels."""

from __future__ import annotations

import json

DEFINITION = """
from typing import Annotated

from penstock import ENTITY, EVENT_ID, EVENT_TIME, Contract, DataQuality, Entity, Model, Monitors, Pipeline, Source
from penstock import View, count


class Parcel(Contract, name="parcel_{suffix}", version=1):
    parcel_id: Annotated[str, EVENT_ID]
    event_time: Annotated[int, EVENT_TIME]
    depot: Annotated[str, ENTITY]
    weight: float


depot = Entity(name="depot", key="depot")
pipeline = Pipeline(
    name="parcels_{suffix}",
    source=Source(topic="events.parcels_{suffix}", contract=Parcel, key="depot", partitions=2),
    entities=(depot,),
    views=(View(name="activity", version=1, entity=depot, aggregates=(count(over="1h"),)),),
    model=Model(
        name="parcels_{suffix}", inputs=("event.weight",), threshold=0.5, positive="slow", negative="fast"
    ),
    monitors=Monitors(window=100, false_alarm_every=10_000, data_quality=DataQuality(producer_header="version")),
)
"""


def parcel(number: int, at_ms: int, *, is_null: bool = False) -> bytes:
    """The record of a parcel; perhaps without its weight."""
    weight = None if is_null else 1.0 + number * 7 % 13
    return json.dumps(
        {"parcel_id": f"p{number}", "event_time": at_ms, "depot": f"d{number % 2}", "weight": weight}
    ).encode()
