"""The pipeline whose vectors are read: 42 features of a card as one view, and the same number as three views."""

from __future__ import annotations

from typing import Annotated

from penstock import (
    ENTITY,
    EVENT_ID,
    EVENT_TIME,
    Contract,
    Entity,
    Model,
    Pipeline,
    Source,
    View,
    approx_distinct,
    count,
    max_,
    mean,
    min_,
    std,
    sum_,
)

NAME = "bench_online"


class Payment(Contract, name="payment", version=1):
    """A payment."""

    id: Annotated[str, EVENT_ID]
    time: Annotated[int, EVENT_TIME]
    card: Annotated[str, ENTITY]
    shop: str
    amount: float


card = Entity(name="card", key="card")


def _view(name: str, *windows: str) -> View:
    return View(
        name=name,
        version=1,
        entity=card,
        aggregates=(
            count(over=windows),
            sum_("amount", over=windows),
            mean("amount", over=windows),
            max_("amount", over=windows),
            min_("amount", over=windows),
            std("amount", over=windows),
            approx_distinct("shop", over=windows),
        ),
    )


wide = _view("wide", "5m", "1h", "6h", "24h", "7d", "30d")
parts = (_view("minutes", "5m", "1h"), _view("hours", "6h", "24h"), _view("days", "7d", "30d"))
pipeline = Pipeline(
    name=NAME,
    source=Source(topic=f"events.{NAME}", contract=Payment, key="card", partitions=1),
    entities=(card,),
    views=(wide, *parts),
    model=Model(name="m", inputs=("event.amount",), threshold=0.5, positive="block", negative="approve"),
)
