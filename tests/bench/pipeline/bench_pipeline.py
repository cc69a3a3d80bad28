"""The pipeline that is measured: three views of 14 features, each of another entity."""

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
    count,
    max_,
    mean,
    std,
    sum_,
)

NAME = "bench_sinks"
PARTITIONS = 2
ENTITIES = ("card", "shop", "device")


class Payment(Contract, name="payment", version=1):
    """A payment."""

    id: Annotated[str, EVENT_ID]
    time: Annotated[int, EVENT_TIME]
    card: Annotated[str, ENTITY]
    shop: Annotated[str, ENTITY]
    device: Annotated[str, ENTITY]
    amount: float


def _view(entity: str) -> View:
    windows = ("5m", "1h", "24h")
    return View(
        name=f"{entity}_spend",
        version=1,
        entity=Entity(name=entity, key=entity),
        aggregates=(
            count(over=windows[:2]),
            sum_("amount", over=windows),
            mean("amount", over=windows),
            max_("amount", over=windows),
            std("amount", over=windows),
        ),
    )


views = tuple(map(_view, ENTITIES))
pipeline = Pipeline(
    name=NAME,
    source=Source(topic=f"events.{NAME}", contract=Payment, key="card", partitions=PARTITIONS),
    entities=tuple(view.entity for view in views),
    views=views,
    model=Model(name="m", inputs=("event.amount",), threshold=0.5, positive="block", negative="approve"),
)
